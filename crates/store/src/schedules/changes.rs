//! Who changed a schedule, for those who wonder later.

use chrono::{DateTime, Utc};
use domain::{Error, Result, redact};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// Changes kept of one schedule; the oldest go.
const KEPT: i64 = 100;

/// What somebody did to a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ScheduleChange {
    pub at: DateTime<Utc>,
    /// `made`, `changed`, `enabled`, `disabled`, `run`, `deleted`.
    pub what: String,
    /// A token's name, or a user at a command line.
    pub by: String,
}

impl Store {
    /// The newest changes of a schedule of that name, the newest first; also where it is gone.
    pub async fn schedule_changes(&self, name: &str) -> Result<Vec<ScheduleChange>> {
        let doing = "read the schedule's changes";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let changes = self.changes_in(&mut tx, name, KEPT).await?;
        tx.commit().await.doing(doing)?;
        Ok(changes)
    }

    async fn changes_in(&self, tx: &mut PgConnection, name: &str, most: i64) -> Result<Vec<ScheduleChange>> {
        let doing = "read the schedule's changes";
        let rows = self
            .query("SELECT at, what, by FROM longshore.schedule_changes WHERE name = $1 ORDER BY id DESC LIMIT $2")
            .bind(name)
            .bind(most)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                Ok(ScheduleChange {
                    at: row.try_get("at")?,
                    what: row.try_get("what")?,
                    by: row.try_get("by")?,
                })
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }

    /// Notes a change in the transaction that makes it.
    pub(super) async fn note_change(&self, tx: &mut PgConnection, name: &str, what: &str) -> Result<()> {
        let doing = "note the schedule's change";
        self.query("INSERT INTO longshore.schedule_changes (name, what, by) VALUES ($1, $2, $3)")
            .bind(name)
            .bind(what)
            .bind(redact(self.actor().unwrap_or("somebody")).as_ref())
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.query(
            "DELETE FROM longshore.schedule_changes
              WHERE name = $1 AND id <= (SELECT id FROM longshore.schedule_changes WHERE name = $1
                                          ORDER BY id DESC OFFSET $2 LIMIT 1)",
        )
        .bind(name)
        .bind(KEPT)
        .execute(tx)
        .await
        .doing(doing)?;
        Ok(())
    }

    /// That there is none of that name; where there was, who deleted it.
    pub(super) async fn no_schedule(&self, tx: &mut PgConnection, name: &str) -> Error {
        let error = Error::not_found(format!("there is no schedule {name:?}"))
            .next("`longshore schedules list` shows those that there are");
        match self.changes_in(tx, name, 1).await.as_deref() {
            Ok([last]) if last.what == "deleted" => error.context(format!(
                "the schedule {name:?} was deleted by {} on {}",
                last.by,
                last.at.format("%Y-%m-%d at %H:%M UTC")
            )),
            _ => error,
        }
    }
}
