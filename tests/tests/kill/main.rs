//! The release binary as a process, killed, paused and stopped at every boundary of `fix_build`, over real
//! Postgres and a GitLab that speaks HTTP: one retry, one follow-on task, one note for each ticket, whatever
//! happens.

mod bench;
mod canary;
mod cluster;
mod kills;
mod pauses;
mod points;
mod previous;
mod stage;
mod stops;
mod takeover;
mod worker;
