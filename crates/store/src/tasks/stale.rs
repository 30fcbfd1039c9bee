use std::time::Duration;

use domain::{Result, TaskId};
use sqlx::Row;

use crate::Store;
use crate::error::SqlResult;
use crate::rules::running;

impl Store {
    /// Puts back to `pending` what was claimed longer than `older` ago and has no live worker of ours, whoever
    /// claimed it: the caller says that those are dead. Waiting tasks and running ones are left alone.
    pub async fn reset_stale(&self, older: Duration) -> Result<Vec<TaskId>> {
        let doing = "reset stale tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                concat!("WITH stale AS (
                     SELECT t.id, EXISTS (SELECT FROM longshore.task_steps s WHERE s.task_id = t.id) AS begun
                       FROM tasks t
                      WHERE t.id = ANY (ARRAY (SELECT id FROM tasks WHERE live = 'taken'
                                               UNION ALL SELECT id FROM ", running!(), " AS running))
                        AND t.status IN ('claimed', 'in_progress')
                        AND coalesce(t.claimed_at, t.started_at, t.created_at)
                            <= longshore.utc_now() - make_interval(secs => $1)
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                      ORDER BY t.id FOR UPDATE OF t SKIP LOCKED),
                 reset AS (
                     UPDATE tasks t
                        SET status = 'pending', worker_id = NULL, claimed_at = NULL, run_at = longshore.utc_now(),
                            -- So that a cancel of what was begun is a request to undo it.
                            wait = CASE WHEN stale.begun THEN '{\"why\": \"for a worker\"}'::jsonb END,
                            -- What was not begun may be started in any version.
                            handler_version = CASE WHEN stale.begun THEN t.handler_version END
                       FROM stale WHERE t.id = stale.id
                  RETURNING t.id, t.attempt),
                 told AS (
                     INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
                     SELECT id, 'reset', attempt, $2 FROM reset)
                 SELECT id FROM reset ORDER BY id"),
            )
            .bind(older.as_secs_f64())
            .bind(format!("{}: its claim was stale", self.told("Put back")))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter()
            .map(|row| row.try_get::<String, _>("id").map(TaskId::from))
            .collect::<Result<_, sqlx::Error>>()
            .doing(doing)
    }
}
