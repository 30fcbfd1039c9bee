//! Tasks for those who are not workers: made, read, cancelled, tried again.

mod bulk;
mod candidates;
mod change;
mod counts;
mod create;
mod create_many;
mod cursor;
mod dead;
mod list;
mod ours;
mod payload;
mod read;
mod references;
mod row;
mod rows;
mod stale;

pub use bulk::{Bulk, BulkDone, BulkFilter, Skipped};
pub use candidates::State;
pub use counts::Counts;
pub(crate) use create::LOOKS;
pub use create::{MAX_DEDUPE_KEY, Made};
pub use create_many::{MAX_TASKS, NotMade};
pub(crate) use create_many::{TRIES, Tried, check as check_one_of_many};
pub use cursor::Cursor;
pub use dead::{DeadFilter, DeadGroup, DeadLetters};
pub use list::{Page, TaskFilter};
pub use payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, PayloadFault, check_payload};
pub use read::StepRow;
pub use row::TaskRow;
pub(crate) use row::{large, plain_columns, task_columns};
pub(crate) use rows::Payload;
