//! Postgres: there, new enough, migrated, heard, of one time with us, and ours alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use store::{Server, Store};
use tokio::sync::Notify;

use super::Findings;
use crate::config::Settings;
use crate::wiring::{self, As};

/// The oldest that the tests run on.
const OLDEST: i32 = 150_000;
/// How long a notification may take.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Clocks that differ by more confuse people who compare logs with tickets; by the second more, programs that sign.
const SKEW_SEEN: TimeDelta = TimeDelta::seconds(2);
const SKEW_HARMS: TimeDelta = TimeDelta::seconds(60);

/// The store, where the database can be reached at all.
pub async fn look(settings: &Settings, found: &mut Findings) -> Option<Store> {
    let store = match wiring::store(settings, As::Command).await {
        Ok(store) => store,
        Err(failure) => {
            found.error(
                "postgres",
                &failure.0,
                "Is Postgres running, and is `database.url` right?",
            );
            return None;
        }
    };
    let before = Utc::now();
    let begun = Instant::now();
    match store.server().await {
        Ok(server) => {
            let took = begun.elapsed();
            version(&server, took, found);
            // Its clock was read somewhere between; the middle is the best guess, half the time the error.
            let took = TimeDelta::from_std(took).unwrap_or_default();
            clocks(server.clock - (before + took / 2), took / 2, found);
        }
        Err(error) => found.error("postgres", &error, "Look into Postgres's log"),
    }
    if !schema(&store, found).await {
        return Some(store);
    }
    listening(settings, &store, found).await;
    claimants(settings, &store, found).await;
    Some(store)
}

fn version(server: &Server, took: Duration, found: &mut Findings) {
    let version = server.version.split(' ').next().unwrap_or_default();
    let what = format!("Postgres {version} answers in {} ms", took.as_millis());
    if server.version_number >= OLDEST {
        found.ok("postgres", what);
    } else {
        found.warn("postgres", what, "longshore is tested with 15 and newer: upgrade");
    }
}

/// `skew`: how much the database's clock is ahead of ours, give or take `margin`.
fn clocks(skew: TimeDelta, margin: TimeDelta, found: &mut Findings) {
    let off = (skew.abs() - margin).max(TimeDelta::zero());
    let seconds = |length: TimeDelta| format!("{:.1} s", length.num_milliseconds() as f64 / 1000.0);
    if off < SKEW_SEEN {
        found.ok(
            "clocks",
            format!(
                "this host and Postgres agree to {}",
                seconds(skew.abs().max(margin))
            ),
        );
        return;
    }
    let (ahead, way) = (skew > TimeDelta::zero(), seconds(skew.abs()));
    let what = format!(
        "Postgres's clock is {way} {} this host's",
        if ahead { "ahead of" } else { "behind" }
    );
    let next = "longshore goes by Postgres's clock, so nothing breaks in it; synchronise both with NTP, as logs and signed requests go by the host's";
    if off < SKEW_HARMS {
        found.warn("clocks", what, next);
    } else {
        found.fail("clocks", what, next);
    }
}

async fn schema(store: &Store, found: &mut Findings) -> bool {
    match store.schema_state().await {
        Err(error) => {
            found.error("schema", &error, "May this user read the schema longshore?");
            false
        }
        Ok(state) => {
            let newest = state
                .applied
                .map_or_else(|| "none".to_owned(), |applied| applied.to_string());
            if !state.is_ready() {
                let missing: Vec<String> = state.missing.iter().map(ToString::to_string).collect();
                found.fail(
                    "schema",
                    format!(
                        "migrations are missing: {} (the newest there is {newest})",
                        missing.join(", ")
                    ),
                    store::NOT_MIGRATED,
                );
                return false;
            }
            if state.unknown.is_empty() {
                found.ok("schema", format!("migrated to {newest}, this program's newest"));
            } else {
                found.warn(
                    "schema",
                    format!("migrated to {newest} by a newer longshore, which this one can work beside"),
                    "Update this program when the rollout of the new one is done",
                );
            }
            true
        }
    }
}

/// Whether what is notified arrives, over the address that listens.
async fn listening(settings: &Settings, store: &Store, found: &mut Findings) {
    let poll = settings.worker.poll;
    let Some(listener) = store.listen(Arc::new(Notify::new())) else {
        found.warn(
            "listen",
            format!("`database.listen` is off, so a new task is seen after {poll} at the latest"),
            "Give `database.direct_url` an address past the pooler and switch it on, if that is too slow",
        );
        return;
    };
    let hearing = listener.hearing();
    let begun = Instant::now();
    while !hearing.now() && begun.elapsed() < HEARD_WITHIN {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    if hearing.now() {
        found.ok("listen", "notifications arrive, so a new task is taken at once");
    } else {
        found.fail(
            "listen",
            format!("no notification arrived within {} s", HEARD_WITHIN.as_secs()),
            "The address leads through a pooler in transaction mode or to another database: set `database.direct_url` to one past it, or `database.listen = false`",
        );
    }
}

async fn claimants(settings: &Settings, store: &Store, found: &mut Findings) {
    let agents = settings.worker.agents.join(", ");
    match store.claimants().await {
        Err(error) => found.error(
            "workers",
            &error,
            "May this user read tasks and the schema longshore?",
        ),
        Ok(claimants) => {
            match claimants.workers {
                0 => found.warn("workers", "no worker runs", "Start one: `longshore worker`"),
                1 => found.ok("workers", "1 worker runs"),
                workers => found.ok("workers", format!("{workers} workers run")),
            }
            match claimants.stranger {
                None => found.ok("claims", format!("no other program works as {agents}")),
                Some(one) => found.warn(
                    "claims",
                    format!("{} tasks of {agents} are claimed by another program, such as {one}", claimants.strangers),
                    "Each row is worked by whoever claimed it. If that program is dead, put its rows back: POST /api/tasks/reset-stale; if it lives, give one of the two another agent's name (`worker.agents`)",
                ),
            }
        }
    }
}

/// The same day, near enough, for a date that a forge names.
pub fn days_until(date: DateTime<Utc>) -> i64 {
    (date - Utc::now()).num_days()
}

#[cfg(test)]
mod tests {
    use super::super::Grade;
    use super::*;

    #[test]
    fn clocks_are_judged_with_the_time_that_the_answer_took() {
        let grade = |skew, margin| {
            let mut found = Findings::default();
            clocks(
                TimeDelta::milliseconds(skew),
                TimeDelta::milliseconds(margin),
                &mut found,
            );
            found.0[0].grade
        };
        assert_eq!(grade(300, 5), Grade::Ok);
        assert_eq!(grade(-2500, 1000), Grade::Ok, "the answer took 2 s");
        assert_eq!(grade(-2500, 5), Grade::Warn);
        assert_eq!(grade(61_000, 5), Grade::Fail);
    }

    #[test]
    fn an_old_server_is_a_warning() {
        let grade = |number| {
            let mut found = Findings::default();
            let server = Server {
                version: "x".to_owned(),
                version_number: number,
                clock: DateTime::UNIX_EPOCH,
            };
            version(&server, Duration::ZERO, &mut found);
            found.0[0].grade
        };
        assert_eq!((grade(150_014), grade(140_020)), (Grade::Ok, Grade::Warn));
    }
}
