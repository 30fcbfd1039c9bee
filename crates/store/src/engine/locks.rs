use domain::TaskId;
use durable::{LockPlace, LockState};
use sqlx::{PgConnection, Row};

use crate::Store;

type Sql<T> = std::result::Result<T, sqlx::Error>;

impl Store {
    pub(crate) async fn notify(&self, tx: &mut PgConnection) -> Sql<()> {
        self.query("SELECT pg_notify('longshore', '')")
            .execute(tx)
            .await?;
        Ok(())
    }

    /// Queues the task for a resource, or finds its place; call [`Store::one_at_a_time`] first. It is held by the head of the queue, and by that
    /// task's descendants.
    pub(crate) async fn queue_for(
        &self,
        tx: &mut PgConnection,
        task: &TaskId,
        resource: &str,
        place: LockPlace,
    ) -> Sql<LockState> {
        let head: Option<String> = self
            .query(
                "WITH RECURSIVE family AS (
                     SELECT $2::text AS id, 0 AS depth
                     UNION ALL
                     SELECT t.parent_task_id, f.depth + 1 FROM family f JOIN tasks t ON t.id = f.id
                      WHERE t.parent_task_id IS NOT NULL AND f.depth < 64)
                 SELECT task_id FROM longshore.resource_locks
                  WHERE resource = $1 AND task_id IN (SELECT id FROM family WHERE depth > 0)
                    AND position = (SELECT min(position) FROM longshore.resource_locks WHERE resource = $1)",
            )
            .bind(resource)
            .bind(task.as_str())
            .fetch_optional(&mut *tx)
            .await?
            .map(|row| row.get("task_id"));
        if head.is_some() {
            return Ok(LockState::Held);
        }
        match place {
            LockPlace::Last => {
                self.query("INSERT INTO longshore.resource_locks (resource, task_id) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                    .bind(resource)
                    .bind(task.as_str())
                    .execute(&mut *tx)
                    .await?;
            }
            LockPlace::First => self.go_first(&mut *tx, task, resource).await?,
        }
        let before = self
            .query(
                "SELECT b.task_id FROM longshore.resource_locks b, longshore.resource_locks mine
                  WHERE mine.resource = $1 AND mine.task_id = $2 AND b.resource = $1 AND b.position < mine.position
                  ORDER BY b.position DESC LIMIT 1",
            )
            .bind(resource)
            .bind(task.as_str())
            .fetch_optional(tx)
            .await?;
        Ok(match before {
            None => LockState::Held,
            Some(row) => LockState::Behind(TaskId::from(row.get::<String, _>("task_id"))),
        })
    }

    /// Takes a place behind the holder and those who went first before it: they move up by one, and their last place is
    /// free. Who is in the queue keeps its place. The order stays that of positions, which earlier versions go by too.
    async fn go_first(&self, tx: &mut PgConnection, task: &TaskId, resource: &str) -> Sql<()> {
        let row = self
            .query(
                "SELECT coalesce(bool_or(task_id = $2), false) AS known, max(position) FILTER (WHERE ahead) AS free
                   FROM (SELECT task_id, position, goes_first OR position = min(position) OVER () AS ahead
                           FROM longshore.resource_locks WHERE resource = $1) AS queue",
            )
            .bind(resource)
            .bind(task.as_str())
            .fetch_one(&mut *tx)
            .await?;
        if row.get("known") {
            return Ok(());
        }
        let Some(free) = row.get::<Option<i64>, _>("free") else {
            self.query(
                "INSERT INTO longshore.resource_locks (resource, task_id, goes_first) VALUES ($1, $2, true)",
            )
            .bind(resource)
            .bind(task.as_str())
            .execute(tx)
            .await?;
            return Ok(());
        };
        self.query(
            "WITH moved AS (
                 UPDATE longshore.resource_locks SET position = position - 1 WHERE resource = $1 AND position <= $3)
             INSERT INTO longshore.resource_locks (resource, task_id, goes_first, position) VALUES ($1, $2, true, $3)",
        )
        .bind(resource)
        .bind(task.as_str())
        .bind(free)
        .execute(tx)
        .await?;
        Ok(())
    }

    /// Takes tasks that are over out of all queues and wakes those who come next, with their descendants that
    /// queue behind them: the next may be waiting for such a child. True when somebody was woken.
    pub(crate) async fn release_locks(&self, tx: &mut PgConnection, tasks: &[&str]) -> Sql<bool> {
        let rows = self
            .query("SELECT DISTINCT resource FROM longshore.resource_locks WHERE task_id = ANY ($1) ORDER BY resource")
            .bind(tasks)
            .fetch_all(&mut *tx)
            .await?;
        let resources: Vec<String> = rows.iter().map(|row| row.get("resource")).collect();
        if resources.is_empty() {
            return Ok(false);
        }
        for resource in &resources {
            self.one_at_a_time(tx, resource).await?;
        }
        self.leave_queues(tx, &resources, tasks).await
    }

    /// Takes tasks out of the queues for these resources; call [`Store::one_at_a_time`] for each of them first. True when
    /// somebody was woken.
    pub(super) async fn leave_queues(
        &self,
        tx: &mut PgConnection,
        resources: &[String],
        tasks: &[&str],
    ) -> Sql<bool> {
        // Locked before the queue changes: a waiter that is parking right now either parked and is woken, or
        // parks after this commit and finds itself at the head.
        self.query("SELECT id FROM tasks WHERE id IN (SELECT task_id FROM longshore.resource_locks WHERE resource = ANY ($1) AND NOT task_id = ANY ($2)) ORDER BY id FOR UPDATE")
            .bind(resources)
            .bind(tasks)
            .execute(&mut *tx)
            .await?;
        self.query("DELETE FROM longshore.resource_locks WHERE resource = ANY ($1) AND task_id = ANY ($2)")
            .bind(resources)
            .bind(tasks)
            .execute(&mut *tx)
            .await?;
        let woken = self
            .query(
                "WITH RECURSIVE heads AS (
                     SELECT DISTINCT ON (resource) resource, task_id FROM longshore.resource_locks
                      WHERE resource = ANY ($1) ORDER BY resource, position),
                 up AS (
                     SELECT resource, task_id AS waiter, task_id AS id, 0 AS depth FROM longshore.resource_locks
                      WHERE resource = ANY ($1)
                     UNION ALL
                     SELECT up.resource, up.waiter, t.parent_task_id, up.depth + 1 FROM up JOIN tasks t ON t.id = up.id
                      WHERE t.parent_task_id IS NOT NULL AND up.depth < 64)
                 UPDATE tasks SET run_at = longshore.utc_now()
                  WHERE status = 'waiting' AND wait->'locks' ?| $1
                    AND id IN (SELECT up.waiter FROM up JOIN heads h ON h.resource = up.resource AND h.task_id = up.id)",
            )
            .bind(resources)
            .execute(&mut *tx)
            .await?;
        Ok(woken.rows_affected() > 0)
    }

    /// Orders all who queue for or leave a resource, so that places are given in the order of commits. Who
    /// queues calls this before it locks its own row: who leaves locks the rows of the queue after this.
    pub(super) async fn one_at_a_time(&self, tx: &mut PgConnection, resource: &str) -> Sql<()> {
        self.query("SELECT pg_advisory_xact_lock(hashtextextended('longshore lock ' || $1, 0))")
            .bind(resource)
            .execute(tx)
            .await?;
        Ok(())
    }
}
