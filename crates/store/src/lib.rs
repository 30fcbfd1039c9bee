//! All the SQL of the house, over one Postgres: the public tables and the schema `longshore`.
//!
//! Everything returns [`domain::Error`]; a lost connection or an exhausted pool is `Unavailable` and worth
//! another try, a refused value is `Invalid` and names the rule it broke.

mod approvals;
pub mod cluster;
mod config;
mod deployments;
mod doctor;
mod engine;
mod error;
mod figures;
mod inbox;
mod json;
mod limit;
mod listen;
mod memory;
mod migrate;
mod news;
pub mod outbox;
mod pauses;
mod pool;
mod repos;
mod retention;
mod rules;
mod schedules;
mod tasks;
mod tokens;

pub use approvals::{Decided, Verdict};
pub use config::{Config, Listen};
pub use doctor::{Claimants, Server};
pub use engine::{
    Beat, Claim, Claimed, Housekeeping, IdleLook, LeaseClock, Recorder, Served, Settle, Settled, Taken,
    TaskEvent, TaskJournal, WorkerRow,
};
pub use error::NOT_MIGRATED;
pub use figures::{Figures, Live, NoteFigures};
pub use inbox::{Arrival, Delivery, Received};
pub use listen::{Hearing, Listener};
pub use migrate::{SchemaState, schema_fingerprint};
pub use news::{Horizon, News, Past, Progress};
pub use pool::Store;
pub use repos::NewRepo;
pub use retention::Swept;
pub use rules::{HeldBack, HeldBy, Pause, Queue, QueueRule, Resting, RuleChange, Scope};
pub use schedules::{Fired, Missed, NewSchedule, Overlap, Schedule, ScheduleChange, Timetable, UnknownWord};
pub use tasks::{
    Bulk, BulkDone, BulkFilter, Counts, Cursor, DeadFilter, DeadGroup, DeadLetters, MAX_DEDUPE_KEY,
    MAX_PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH, MAX_TASKS, Made, NotMade, Page, PayloadFault, Skipped, State,
    StepRow, TaskFilter, TaskRow, check_payload,
};
pub use tokens::{NewToken, StoredToken, TokenRow};
