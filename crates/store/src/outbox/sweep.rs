use std::time::Duration;

use domain::{Result, TaskId, TicketRef};
use ports::NoteId;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use super::{Outbox, number};
use crate::error::SqlResult;

/// A task whose notes have to be looked through for duplicates.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub task: TaskId,
    pub ticket: TicketRef,
    pub host: String,
    /// The note that is known for each moment, 0 for the living note.
    pub notes: Vec<(u32, NoteId)>,
    /// Tries that failed.
    pub attempts: u32,
    lease: Uuid,
}

impl Outbox {
    pub async fn take_sweeps(&self, limit: u32, lease: Duration) -> Result<Vec<Sweep>> {
        const DOING: &str = "take tickets to be swept";
        let mut tx = self.begin(DOING).await?;
        let rows = sqlx::query(
            "WITH mine AS MATERIALIZED (
                 SELECT o.task_id FROM longshore.ticket_outbox o LEFT JOIN longshore.ticket_hosts p USING (host)
                  WHERE o.sweep_at <= longshore.now() AND o.due_at IS NULL
                    AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
                    AND (p.paused_until IS NULL OR p.paused_until <= longshore.now())
                  ORDER BY o.sweep_at LIMIT $1 FOR UPDATE OF o SKIP LOCKED)
             UPDATE longshore.ticket_outbox o
                SET lease = $2, lease_until = clock_timestamp() + make_interval(secs => $3)
               FROM mine WHERE o.task_id = mine.task_id AND o.moment = 0
             RETURNING o.task_id, o.ticket, o.host, o.attempts, o.lease,
                 (SELECT coalesce(jsonb_agg(jsonb_build_array(n.moment, n.note_id)), '[]') FROM longshore.ticket_outbox n
                   WHERE n.task_id = o.task_id AND n.note_id IS NOT NULL) AS notes",
        )
        .bind(i64::from(limit))
        .bind(Uuid::new_v4())
        .bind(lease.as_secs_f64())
        .persistent(false)
        .fetch_all(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        let read = |row: &sqlx::postgres::PgRow| -> sqlx::Result<Sweep> {
            let Json(ticket) = row.try_get("ticket")?;
            let Json(notes) = row.try_get("notes")?;
            Ok(Sweep {
                task: row.try_get::<String, _>("task_id")?.into(),
                ticket,
                host: row.try_get("host")?,
                notes,
                attempts: row.try_get::<i32, _>("attempts")?.max(0) as u32,
                lease: row.try_get("lease")?,
            })
        };
        rows.iter()
            .map(read)
            .collect::<sqlx::Result<_>>()
            .doing("read the outbox")
    }

    /// Of several notes for one moment `keep` stays: it becomes the one that is known, and is made current.
    pub async fn adopt(&self, sweep: &Sweep, moment: u32, keep: NoteId, url: Option<&str>) -> Result<()> {
        const DOING: &str = "adopt a comment";
        let mut tx = self.begin(DOING).await?;
        sqlx::query(
            "UPDATE longshore.ticket_outbox o
                SET note_id = $3, note_url = $4, posted_revision = 0, due_at = longshore.now()
              WHERE o.task_id = $1 AND o.moment = $2
                AND EXISTS (SELECT FROM longshore.ticket_outbox l WHERE l.task_id = $1 AND l.moment = 0 AND l.lease = $5)",
        )
        .bind(sweep.task.as_str())
        .bind(number(moment))
        .bind(keep.0 as i64)
        .bind(url)
        .bind(sweep.lease)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        tx.commit().await.doing(DOING)
    }

    /// One note stands for each moment.
    pub async fn swept(&self, sweep: &Sweep) -> Result<()> {
        self.end_sweep(sweep, None).await
    }

    /// Tried in vain; again after `delay`.
    pub async fn put_off_sweep(&self, sweep: &Sweep, delay: Duration) -> Result<()> {
        self.end_sweep(sweep, Some(delay)).await
    }

    async fn end_sweep(&self, sweep: &Sweep, again: Option<Duration>) -> Result<()> {
        const DOING: &str = "end the sweep of a ticket";
        let mut tx = self.begin(DOING).await?;
        let ours = sqlx::query(
            "UPDATE longshore.ticket_outbox
                SET lease = NULL, lease_until = NULL, attempts = attempts + ($3 IS NOT NULL)::int,
                    creates = CASE WHEN $3 IS NULL THEN 1 ELSE creates END,
                    sweep_at = longshore.now() + make_interval(secs => $3)
              WHERE task_id = $1 AND moment = 0 AND lease = $2",
        )
        .bind(sweep.task.as_str())
        .bind(sweep.lease)
        .bind(again.map(|delay| delay.as_secs_f64()))
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        if again.is_none() && ours.rows_affected() == 1 {
            sqlx::query("UPDATE longshore.ticket_outbox SET creates = 1 WHERE task_id = $1 AND moment > 0 AND creates > 1")
                .bind(sweep.task.as_str())
                .persistent(false)
                .execute(&mut *tx)
                .await
                .doing(DOING)?;
        }
        tx.commit().await.doing(DOING)
    }
}
