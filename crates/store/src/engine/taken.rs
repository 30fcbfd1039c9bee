use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// How far each priority's pending tasks have been taken: what was created before that is not looked for again. Only
/// while whole claims follow each other, so that the dead rows of a long drain are not walked through in every one, and
/// for a second at most: what was passed by meanwhile, such as a row that somebody had locked, is found then.
#[derive(Debug, Default)]
pub struct Taken(Mutex<Passed>);

#[derive(Debug, Default)]
struct Passed {
    since: Option<Instant>,
    /// The last task of each priority.
    last: BTreeMap<i32, (NaiveDateTime, String)>,
}

impl Taken {
    const FOR: Duration = Duration::from_secs(1);

    fn passed(&self) -> MutexGuard<'_, Passed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self) {
        *self.passed() = Passed::default();
    }

    /// Where to go on in each of these priorities: when the last task of it was created, and its id.
    pub(super) fn places(&self, priorities: impl Iterator<Item = i32>) -> (Vec<String>, Vec<String>) {
        let passed = self.passed();
        priorities
            .map(|priority| match passed.last.get(&priority) {
                Some((at, id)) => (at.to_string(), id.clone()),
                None => ("-infinity".to_owned(), String::new()),
            })
            .unzip()
    }

    pub(super) fn note(&self, rows: &[PgRow], full: bool) -> Result<(), sqlx::Error> {
        let mut passed = self.passed();
        if !full || passed.since.is_some_and(|since| since.elapsed() > Self::FOR) {
            *passed = Passed::default();
            return Ok(());
        }
        passed.since.get_or_insert_with(Instant::now);
        for row in rows {
            // Others may have come from anywhere in the order.
            if let Some(created_at) = row.try_get::<Option<NaiveDateTime>, _>("in_turn")? {
                let last = (created_at, row.try_get("id")?);
                let taken = passed.last.entry(row.try_get("priority")?);
                let taken = taken.or_insert_with(|| last.clone());
                if *taken < last {
                    *taken = last;
                }
            }
        }
        Ok(())
    }
}
