//! Tasks that are made at set times.

mod changes;
mod fire;
mod table;
mod timetable;

pub use changes::ScheduleChange;
pub use fire::Fired;
pub use table::{Missed, NewSchedule, Overlap, Schedule, UnknownWord};
pub use timetable::Timetable;
