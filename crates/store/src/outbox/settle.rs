use std::time::Duration;

use domain::{Result, TaskId, TicketDelivery};
use sqlx::types::Json;
use sqlx::{PgConnection, Row};

use super::{Due, Outbox, number};
use crate::error::SqlResult;

impl Outbox {
    /// Nothing is left to do for `revision`: the row rests until something new is told, and when it was the last of
    /// its task's, the task's result says where the note is. A task of which a create was sent more than once is
    /// swept for duplicates `sweep_after` later.
    pub async fn settle(&self, due: &Due, revision: i64, sweep_after: Duration) -> Result<bool> {
        self.rest(due, revision, None, sweep_after).await
    }

    /// The note cannot be written, for a reason that no later try changes.
    pub async fn fail(&self, due: &Due, revision: i64, error: &str, sweep_after: Duration) -> Result<bool> {
        self.rest(due, revision, Some(error), sweep_after).await
    }

    async fn rest(
        &self,
        due: &Due,
        revision: i64,
        failed: Option<&str>,
        sweep_after: Duration,
    ) -> Result<bool> {
        const DOING: &str = "settle a comment";
        let mut tx = self.begin(DOING).await?;
        // The task first, as those who end it take it before they write to the outbox.
        sqlx::query("SELECT FROM tasks WHERE id = $1 FOR NO KEY UPDATE")
            .bind(due.task.as_str())
            .persistent(false)
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        let done = sqlx::query(
            "UPDATE longshore.ticket_outbox
                SET lease = NULL, lease_until = NULL,
                    due_at = CASE WHEN revision = $4 THEN NULL ELSE longshore.now() END,
                    failed = CASE WHEN revision = $4 THEN $5 END,
                    posting_since = NULL
              WHERE task_id = $1 AND moment = $2 AND lease = $3",
        )
        .bind(due.task.as_str())
        .bind(number(due.moment))
        .bind(due.lease)
        .bind(revision)
        .bind(failed)
        .persistent(false)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        tell_result(&mut tx, &due.task, sweep_after).await.doing(DOING)?;
        tx.commit().await.doing(DOING)?;
        Ok(true)
    }
}

/// Writes `result.ticket` of an ended task once none of its notes is under way. No other field changes after the end.
async fn tell_result(conn: &mut PgConnection, task: &TaskId, sweep_after: Duration) -> sqlx::Result<()> {
    let notes = sqlx::query(
        "SELECT bool_or(due_at IS NOT NULL) AS under_way, max(creates) AS creates,
                (array_agg(failed ORDER BY moment) FILTER (WHERE failed IS NOT NULL))[1] AS failed,
                (array_agg(note_url ORDER BY moment > 0, moment DESC) FILTER (WHERE note_url IS NOT NULL))[1] AS url
           FROM longshore.ticket_outbox WHERE task_id = $1",
    )
    .bind(task.as_str())
    .persistent(false)
    .fetch_one(&mut *conn)
    .await?;
    if notes.try_get("under_way")? {
        return Ok(());
    }
    let delivery = match notes.try_get("failed")? {
        Some(error) => TicketDelivery::Failed { error },
        None => TicketDelivery::Posted {
            url: notes.try_get("url")?,
        },
    };
    sqlx::query(
        "UPDATE tasks SET result = jsonb_set(result, '{ticket}', $2)
          WHERE id = $1 AND status IN ('completed', 'failed', 'cancelled') AND completed_at IS NOT NULL
            AND worker_id IS NULL AND wait IS NULL AND jsonb_typeof(result->'ticket') = 'object'
            AND result->'ticket' <> $2",
    )
    .bind(task.as_str())
    .bind(Json(delivery))
    .persistent(false)
    .execute(&mut *conn)
    .await?;
    if notes.try_get::<i32, _>("creates")? > 1 {
        sqlx::query(
            "UPDATE longshore.ticket_outbox
                SET sweep_at = longshore.now() + make_interval(secs => $2), attempts = 0
              WHERE task_id = $1 AND moment = 0",
        )
        .bind(task.as_str())
        .bind(sweep_after.as_secs_f64())
        .persistent(false)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
