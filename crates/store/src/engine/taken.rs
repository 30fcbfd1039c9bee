use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use sqlx::Row;
use sqlx::postgres::PgRow;

use super::claim::column;

/// How far each priority's pending tasks have been taken: what was created before that is not looked for again. Only
/// while whole claims follow each other, so that the dead rows of a long drain are not walked through in every one, and
/// for a second at most: what was passed by meanwhile, such as a row that somebody had locked, is found then.
#[derive(Debug, Default)]
pub struct Taken(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    /// How often it was forgotten: what a claim that began before has to say is of no use after.
    epoch: u64,
    since: Option<Instant>,
    /// The last task of each priority.
    last: BTreeMap<i32, (NaiveDateTime, String)>,
}

/// Where a claim goes on in each priority: when the last task of it was created, and its id.
pub(super) struct Places {
    epoch: u64,
    pub(super) since: Vec<String>,
    pub(super) after: Vec<String>,
}

impl Passed {
    fn forget(&mut self) {
        *self = Self {
            epoch: self.epoch + 1,
            ..Self::default()
        };
    }
}

impl Taken {
    const FOR: Duration = Duration::from_secs(1);

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next claim looks from the start.
    pub fn forget(&self) {
        self.passed().forget();
    }

    /// Whether a claim now would look from the start.
    pub fn is_empty(&self) -> bool {
        self.passed().last.is_empty()
    }

    pub(super) fn places(&self, priorities: impl Iterator<Item = i32>) -> Places {
        let passed = self.passed();
        let (since, after) = priorities
            .map(|priority| match passed.last.get(&priority) {
                Some((at, id)) => (at.to_string(), id.clone()),
                None => ("-infinity".to_owned(), String::new()),
            })
            .unzip();
        Places {
            epoch: passed.epoch,
            since,
            after,
        }
    }

    /// What a claim that began at `places` took.
    pub(super) fn note(&self, places: &Places, rows: &[PgRow], full: bool) -> Result<(), sqlx::Error> {
        let mut passed = self.passed();
        if passed.epoch != places.epoch {
            return Ok(());
        }
        if !full || passed.since.is_some_and(|since| since.elapsed() > Self::FOR) {
            passed.forget();
            return Ok(());
        }
        passed.since.get_or_insert_with(Instant::now);
        for row in rows {
            // Others may have come from anywhere in the order.
            if let Some(created_at) = row.try_get::<Option<NaiveDateTime>, _>(column::IN_TURN)? {
                let last = (created_at, row.try_get(column::ID)?);
                let taken = passed.last.entry(row.try_get(column::PRIORITY)?);
                let taken = taken.or_insert_with(|| last.clone());
                if *taken < last {
                    *taken = last;
                }
            }
        }
        Ok(())
    }
}
