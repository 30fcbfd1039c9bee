use std::time::Duration;

use domain::Result;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::engine::Claim;
use crate::error::SqlResult;
use crate::rules::running;

/// What a round of housekeeping mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Housekeeping {
    /// Locks whose task was over or gone.
    pub locks_freed: u64,
    /// Started tasks held because no worker serves their version.
    pub orphans_held: u64,
    /// Rows of workers long dead, with no task left to their name.
    pub workers_forgotten: u64,
}

impl Store {
    /// When something of ours is due next by time alone: a wait, a later start, the lease of another worker
    /// that runs tasks. A lease that ended some time ago tells nothing: whoever could go on has tried.
    pub async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>> {
        self.within("look for what is due next", self.next_due_unlimited(claim))
            .await
    }

    async fn next_due_unlimited(&self, claim: &Claim) -> Result<Option<Duration>> {
        let doing = "look for what is due next";
        // With statistics the planner may think little better of an index of few agents than of reading all that is pending.
        let mut session = self.pinned_session().await.doing(doing)?;
        let due = self.next_due_in(&mut session, claim).await?;
        session.end().await.doing(doing)?;
        Ok(due)
    }

    pub(super) async fn next_due_in(&self, db: &mut PgConnection, claim: &Claim) -> Result<Option<Duration>> {
        let row = self
            .query(
                concat!("SELECT extract(epoch FROM least(
                     (SELECT min(run_at) FROM tasks WHERE live = 'waiting' AND run_at < 'infinity'
                         AND run_at > longshore.utc_now() AND assigned_to = ANY ($2)),
                     (SELECT min(due.at) FROM unnest($2::text[]) AS agent CROSS JOIN LATERAL (
                         SELECT min(t.run_at) AS at FROM tasks t
                          WHERE t.live = 'later' AND t.assigned_to = agent
                            AND t.run_at < 'infinity' AND t.run_at > longshore.utc_now()) AS due),
                     (SELECT min(run_at) FROM tasks WHERE live = 'later' AND run_at < 'infinity'
                         AND run_at > longshore.utc_now() AND assigned_to IS NULL AND task_type = ANY ($3)),
                     -- Put off by less than what counts as later, and so made within the last minute.
                     (SELECT min(due.at) FROM unnest($2::text[]) AS agent CROSS JOIN generate_series(1, 10) AS level CROSS JOIN LATERAL (
                         SELECT min(t.run_at) AS at FROM tasks t
                          WHERE t.live = 'pending' AND t.assigned_to = agent AND t.priority = level
                            AND t.created_at >= longshore.utc_now() - interval '1 minute'
                            AND t.run_at < 'infinity' AND t.run_at > longshore.utc_now()) AS due),
                     (SELECT min(due.at) FROM unnest($3::text[]) AS served CROSS JOIN generate_series(1, 10) AS level CROSS JOIN LATERAL (
                         SELECT min(t.run_at) AS at FROM tasks t
                          WHERE t.live = 'pending' AND t.assigned_to IS NULL AND t.task_type = served AND t.priority = level
                            AND t.created_at >= longshore.utc_now() - interval '1 minute'
                            AND t.run_at < 'infinity' AND t.run_at > longshore.utc_now()) AS due)
                     ) - longshore.utc_now())::float8 AS by_time,
                     (SELECT extract(epoch FROM min(w.lease_until) - clock_timestamp())::float8
                        FROM longshore.workers w
                       WHERE w.id <> $1 AND w.lease_until > clock_timestamp() - interval '2 seconds'
                         AND (EXISTS (SELECT FROM ", running!(), " AS r
                                       WHERE r.worker_id = w.id AND r.assigned_to = ANY ($2))
                              OR EXISTS (SELECT FROM tasks t WHERE t.live = 'cancelling' AND t.worker_id = w.id
                                            AND t.assigned_to = ANY ($2)))) AS by_lease"),
            )
            .bind(&claim.worker)
            .bind(&claim.agents)
            .bind(claim.types())
            .fetch_one(db)
            .await
            .doing("look for what is due next")?;
        let seconds = |name| {
            row.get::<Option<f64>, _>(name)
                .map(|s| Duration::try_from_secs_f64(s).unwrap_or_default())
        };
        // A lease may be prolonged at any moment, so its end is worth a look but never a busy loop.
        let by_lease = seconds("by_lease").map(|due| due.max(Duration::from_millis(100)));
        Ok([seconds("by_time"), by_lease].into_iter().flatten().min())
    }

    /// Wakes tasks whose awaited child was ended or deleted by another program: no transaction of ours saw that.
    pub async fn wake_waiters(&self, agents: &[String]) -> Result<u64> {
        self.within("look for ended children", self.wake_waiters_unlimited(agents))
            .await
    }

    async fn wake_waiters_unlimited(&self, agents: &[String]) -> Result<u64> {
        let doing = "look for ended children";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let woken = self.wake_waiters_in(&mut tx, agents).await?;
        tx.commit().await.doing(doing)?;
        Ok(woken)
    }

    pub(super) async fn wake_waiters_in(&self, db: &mut PgConnection, agents: &[String]) -> Result<u64> {
        let woken = self
            .query(
                // One that somebody has is left for the next look: an idle worker claims only after this.
                "UPDATE tasks SET run_at = longshore.utc_now()
                  WHERE id = ANY (ARRAY (
                      SELECT t.id FROM tasks t
                       WHERE t.live = 'waiting' AND t.wait ? 'children' AND t.assigned_to = ANY ($1)
                         AND t.run_at > longshore.utc_now()
                         AND EXISTS (SELECT FROM jsonb_array_elements_text(
                                                CASE jsonb_typeof(t.wait->'children') WHEN 'array' THEN t.wait->'children' ELSE '[]' END)
                                                AS awaited(id)
                                       LEFT JOIN tasks c ON c.id = awaited.id
                                      WHERE c.id IS NULL OR c.status IN ('completed', 'failed')
                                         OR c.status = 'cancelled' AND c.worker_id IS NULL AND c.wait IS NULL)
                         FOR UPDATE OF t SKIP LOCKED))",
            )
            .bind(agents)
            .execute(db)
            .await
            .doing("look for ended children")?;
        Ok(woken.rows_affected())
    }

    /// Mends what nobody else will. Any worker may run it at any time.
    pub async fn housekeeping(&self, orphaned_after: Duration) -> Result<Housekeeping> {
        self.within("tidy up", self.housekeeping_unlimited(orphaned_after))
            .await
    }

    async fn housekeeping_unlimited(&self, orphaned_after: Duration) -> Result<Housekeeping> {
        let doing = "tidy up";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                // Their rows stay locked: one that is tried again at this moment may queue anew only after this.
                "WITH over AS MATERIALIZED (
                     SELECT t.id FROM tasks t
                      WHERE t.id IN (SELECT task_id FROM longshore.resource_locks)
                        AND (t.status IN ('completed', 'failed') OR t.status = 'cancelled' AND t.worker_id IS NULL AND t.wait IS NULL)
                      ORDER BY t.id FOR UPDATE SKIP LOCKED)
                 SELECT id AS task_id FROM over
                 UNION
                 SELECT l.task_id FROM longshore.resource_locks l
                  WHERE NOT EXISTS (SELECT FROM tasks t WHERE t.id = l.task_id)",
            )
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        let gone: Vec<String> = rows.iter().map(|row| row.get("task_id")).collect();
        let gone: Vec<&str> = gone.iter().map(String::as_str).collect();
        if self.release_locks(&mut tx, &gone).await.doing(doing)? {
            self.notify(&mut tx).await.doing(doing)?;
        }
        let held = self
            .query(
                // One that was cancelled is still to be undone when it goes on.
                concat!("WITH orphan AS MATERIALIZED (
                     SELECT t.id, t.status FROM tasks t
                      WHERE t.id = ANY (ARRAY (
                                SELECT id FROM tasks
                                 WHERE live = 'waiting' AND run_at <= longshore.utc_now() - make_interval(secs => $1)
                                UNION ALL SELECT id FROM tasks WHERE live = 'cancelling' AND worker_id IS NOT NULL
                                UNION ALL SELECT id FROM ", running!(), " AS running))
                        AND t.handler_version IS NOT NULL
                        AND (t.status = 'waiting' AND t.wait->>'held' IS NULL
                             AND t.run_at <= longshore.utc_now() - make_interval(secs => $1)
                          OR t.status IN ('in_progress', 'cancelled') AND t.worker_id IS NOT NULL
                             AND t.claimed_at <= longshore.utc_now() - make_interval(secs => $1)
                             AND NOT EXISTS (SELECT FROM longshore.workers w WHERE w.id = t.worker_id
                                                AND w.lease_until > clock_timestamp() - make_interval(secs => $1)))
                        AND EXISTS (SELECT FROM longshore.workers w
                                     WHERE w.lease_until > clock_timestamp() AND t.assigned_to = ANY (w.agents))
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.lease_until > clock_timestamp()
                                           AND t.task_type || '/' || t.handler_version = ANY (w.serves))
                        FOR UPDATE SKIP LOCKED),
                 held AS (
                     UPDATE tasks t
                        SET status = 'waiting', worker_id = NULL, run_at = 'infinity',
                            wait = jsonb_build_object('why', 'for a person', 'held', format(
                                'no worker that runs now can go on with version %s of %s; start one that lists this version',
                                t.handler_version, t.task_type))
                       FROM orphan WHERE t.id = orphan.id
                  RETURNING t.id, t.attempt, t.wait->>'held' AS why),
                 to_undo AS (
                     INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, outcome, attempt, done_at)
                     SELECT held.id, 'unwind', 0, 'cause', 'step', '{\"ok\": {\"cause\": \"cancelled\"}}', held.attempt, clock_timestamp()
                       FROM held JOIN orphan ON orphan.id = held.id AND orphan.status = 'cancelled'
                     ON CONFLICT DO NOTHING)
                 INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
                 SELECT id, 'held', attempt, why FROM held"),
            )
            .bind(orphaned_after.as_secs_f64())
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        // A worker whose row somebody deleted is dead, and its tasks are found like those of any dead one.
        self.query(
            "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
             SELECT DISTINCT c.worker_id, '', 0, '{}'::text[], '{}'::text[], '-infinity'::timestamptz FROM longshore.claims c
              WHERE NOT EXISTS (SELECT FROM longshore.workers w WHERE w.id = c.worker_id)
             ON CONFLICT DO NOTHING",
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        self.query(
            "DELETE FROM longshore.claims c USING longshore.workers w
              WHERE w.id = c.worker_id AND w.lease_until <= clock_timestamp()
                AND NOT EXISTS (SELECT FROM tasks t WHERE t.id = ANY (c.tasks) AND t.worker_id = w.id
                                   AND t.status IN ('in_progress', 'cancelled'))",
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let forgotten = self
            .query(
                "DELETE FROM longshore.workers w
                  WHERE w.lease_until < clock_timestamp() - interval '1 day'
                    AND NOT EXISTS (SELECT FROM longshore.claims c WHERE c.worker_id = w.id)
                    AND NOT EXISTS (SELECT FROM tasks t WHERE t.live = 'cancelling' AND t.worker_id = w.id)",
            )
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(Housekeeping {
            locks_freed: gone.len() as u64,
            orphans_held: held.rows_affected(),
            workers_forgotten: forgotten.rows_affected(),
        })
    }
}
