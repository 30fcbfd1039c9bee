//! Tasks for those who are not workers: made, read, cancelled, tried again.

mod change;
mod create;
mod payload;
mod read;
mod row;
mod stale;

pub(crate) use create::LOOKS;
pub use create::{MAX_DEDUPE_KEY, Made};
pub use payload::{MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, PayloadFault, check_payload};
pub use read::{Cursor, StepRow, TaskFilter};
pub use row::TaskRow;
pub(crate) use row::task_columns;
