use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use sqlx::Row;
use sqlx::postgres::PgRow;

/// How far each priority's pending tasks have been taken: what was created before that is not looked for again. Only
/// while whole claims follow each other, so that the dead rows of a long drain are not walked through in every one, and
/// for a second at most: what was passed by meanwhile, such as a row that somebody had locked, is found then.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    since: Option<Instant>,
    /// The last task of each priority.
    pub(super) last: BTreeMap<i32, (NaiveDateTime, String)>,
}

impl Taken {
    const FOR: Duration = Duration::from_secs(1);

    pub(super) fn note(&mut self, rows: &[PgRow], full: bool) -> Result<(), sqlx::Error> {
        if !full || self.since.is_some_and(|since| since.elapsed() > Self::FOR) {
            *self = Self::default();
            return Ok(());
        }
        self.since.get_or_insert_with(Instant::now);
        for row in rows {
            // Others may have come from anywhere in the order.
            if let Some(created_at) = row.try_get::<Option<NaiveDateTime>, _>("in_turn")? {
                let last = (created_at, row.try_get("id")?);
                let taken = self.last.entry(row.try_get("priority")?);
                let taken = taken.or_insert_with(|| last.clone());
                if *taken < last {
                    *taken = last;
                }
            }
        }
        Ok(())
    }
}
