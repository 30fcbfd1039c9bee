use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::{Result, TaskId};
use durable::Lease;
use sqlx::Row;

use crate::Store;
use crate::error::SqlResult;
use crate::rules::running;

/// How a worker presents itself.
#[derive(Clone, Debug)]
pub struct WorkerRow {
    pub id: String,
    pub host: String,
    pub pid: u32,
    /// Agent names that it claims for, its own first.
    pub agents: Vec<String>,
    /// `TYPE/VERSION` of all that it can run or resume.
    pub serves: Vec<String>,
}

/// Until when a lease holds at most, by its holder's own clock; shared by all that happens under it. Without an end until it
/// is prolonged for the first time.
#[derive(Clone, Debug, Default)]
pub struct LeaseClock(Arc<Mutex<Option<Instant>>>);

impl LeaseClock {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `asked` is before Postgres was, so that the lease is over here at the latest when it is there.
    pub fn prolong(&self, asked: Instant, lease: Duration) {
        *self.until() = asked.checked_add(lease);
    }

    pub fn end(&self) {
        *self.until() = Some(Instant::now());
    }

    /// Zero when it is over.
    pub fn left(&self) -> Duration {
        self.until().map_or(Duration::MAX, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }
}

/// What a heartbeat learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    Alive {
        /// Running tasks that somebody cancelled.
        cancelled: Vec<TaskId>,
        /// Leases that are over: somebody took the task or changed its row.
        lost: Vec<Lease>,
    },
    /// The worker's own lease ran out: all its tasks are lost, and it must present itself anew.
    Expired,
}

impl Store {
    /// Can be repeated after an answer that was lost.
    pub async fn register_worker(&self, worker: &WorkerRow, lease: Duration) -> Result<()> {
        self.within(
            "register the worker",
            self.register_worker_unlimited(worker, lease),
        )
        .await
    }

    async fn register_worker_unlimited(&self, worker: &WorkerRow, lease: Duration) -> Result<()> {
        let mut tx = self.pool().begin().await.doing("register the worker")?;
        self.query(
            "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
             VALUES ($1, $2, $3, $4, $5, clock_timestamp() + make_interval(secs => $6))
             ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, agents = excluded.agents,
                 serves = excluded.serves, lease_until = excluded.lease_until",
        )
        .bind(&worker.id)
        .bind(&worker.host)
        .bind(i32::try_from(worker.pid).unwrap_or_default())
        .bind(&worker.agents)
        .bind(&worker.serves)
        .bind(lease.as_secs_f64())
        .execute(&mut *tx)
        .await
        .doing("register the worker")?;
        tx.commit().await.doing("register the worker")
    }

    /// Prolongs the worker's lease, and with it all its tasks', in one statement. A lease that has run out is
    /// not prolonged: somebody may have acted on its end.
    pub async fn heartbeat(&self, worker: &str, lease: Duration, running: &[Lease]) -> Result<Beat> {
        self.within(
            "prolong the worker's lease",
            self.heartbeat_unlimited(worker, lease, running),
        )
        .await
    }

    async fn heartbeat_unlimited(&self, worker: &str, lease: Duration, running: &[Lease]) -> Result<Beat> {
        let ids: Vec<&str> = running.iter().map(|lease| lease.task.as_str()).collect();
        let attempts: Vec<i64> = running.iter().map(|lease| lease.attempt).collect();
        let mut tx = self.pool().begin().await.doing("prolong the worker's lease")?;
        let row = self
            .query(
                "WITH beat AS (
                     UPDATE longshore.workers
                        SET lease_until = clock_timestamp() + make_interval(secs => $2)
                      WHERE id = $1 AND lease_until > clock_timestamp()
                  RETURNING id, agents)
                 SELECT (SELECT count(*) FROM beat) AS alive,
                        ARRAY(SELECT t.id FROM tasks t WHERE t.live = 'cancelling' AND t.worker_id = $1) AS cancelled,
                        ARRAY(SELECT r.id FROM unnest($3::text[], $4::bigint[]) AS r(id, attempt)
                               WHERE NOT EXISTS (
                                   SELECT FROM tasks t, beat
                                    WHERE t.id = r.id AND t.worker_id = beat.id AND t.attempt = r.attempt
                                      AND t.status IN ('in_progress', 'cancelled')
                                      AND t.assigned_to = ANY (beat.agents))) AS lost",
            )
            .bind(worker)
            .bind(lease.as_secs_f64())
            .bind(&ids)
            .bind(&attempts)
            .fetch_one(&mut *tx)
            .await
            .doing("prolong the worker's lease")?;
        tx.commit().await.doing("prolong the worker's lease")?;
        let read = "read the worker's lease";
        if row.try_get::<i64, _>("alive").doing(read)? == 0 {
            return Ok(Beat::Expired);
        }
        let cancelled: Vec<String> = row.try_get("cancelled").doing(read)?;
        let lost: Vec<String> = row.try_get("lost").doing(read)?;
        Ok(Beat::Alive {
            cancelled: cancelled.into_iter().map(TaskId::from).collect(),
            lost: running
                .iter()
                .filter(|lease| lost.iter().any(|id| id == lease.task.as_str()))
                .cloned()
                .collect(),
        })
    }

    /// Ends the worker's lease for good. Tasks that still name it are then free to be taken over.
    pub async fn retire_worker(&self, worker: &str) -> Result<()> {
        self.within("retire the worker", self.retire_worker_unlimited(worker))
            .await
    }

    async fn retire_worker_unlimited(&self, worker: &str) -> Result<()> {
        let mut tx = self.pool().begin().await.doing("retire the worker")?;
        self.query(
            concat!("WITH idle AS (
                 DELETE FROM longshore.workers w
                  WHERE w.id = $1 AND NOT EXISTS (SELECT FROM ", running!(), " AS r WHERE r.worker_id = w.id)
              RETURNING id),
             over AS (DELETE FROM longshore.claims WHERE worker_id IN (SELECT id FROM idle))
             UPDATE longshore.workers SET lease_until = '-infinity' WHERE id = $1 AND id NOT IN (SELECT id FROM idle)"),
        )
        .bind(worker)
            .execute(&mut *tx)
            .await
            .doing("retire the worker")?;
        tx.commit().await.doing("retire the worker")
    }

    /// Hands running tasks back at once, as if their worker had died but without counting as a crash.
    pub async fn release(&self, leases: &[Lease]) -> Result<()> {
        self.within("release tasks", self.release_unlimited(leases)).await
    }

    async fn release_unlimited(&self, leases: &[Lease]) -> Result<()> {
        let ids: Vec<&str> = leases.iter().map(|lease| lease.task.as_str()).collect();
        let attempts: Vec<i64> = leases.iter().map(|lease| lease.attempt).collect();
        let workers: Vec<&str> = leases.iter().map(|lease| &*lease.worker).collect();
        let mut tx = self.pool().begin().await.doing("release tasks")?;
        self.query(
            "WITH mine AS (
                 SELECT t.id FROM tasks t
                   JOIN unnest($1::text[], $2::bigint[], $3::text[]) AS r(id, attempt, worker)
                     ON t.id = r.id AND t.attempt = r.attempt AND t.worker_id = r.worker
                   JOIN longshore.workers w ON w.id = r.worker
                  WHERE t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                  ORDER BY t.id FOR UPDATE OF t)
             UPDATE tasks t
                SET status = CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'waiting' END,
                    worker_id = NULL, run_at = longshore.utc_now(),
                    wait = '{\"why\": \"for a worker; the last one was shut down\"}'
               FROM mine WHERE t.id = mine.id",
        )
        .bind(&ids)
        .bind(&attempts)
        .bind(&workers)
        .execute(&mut *tx)
        .await
        .doing("release tasks")?;
        self.query("SELECT pg_notify('longshore', '')")
            .execute(&mut *tx)
            .await
            .doing("release tasks")?;
        tx.commit().await.doing("release tasks")
    }

    /// Hands back tasks of claims that are not among the known ones: the answer to those was lost. To be called while
    /// no claim is under way. Answers how many there were.
    pub async fn release_strays(&self, worker: &str, known: &[i64], running: &[Lease]) -> Result<u64> {
        self.within(
            "look for tasks whose claim was not answered",
            self.release_strays_unlimited(worker, known, running),
        )
        .await
    }

    async fn release_strays_unlimited(&self, worker: &str, known: &[i64], running: &[Lease]) -> Result<u64> {
        let doing = "look for tasks whose claim was not answered";
        let ids: Vec<&str> = running.iter().map(|lease| lease.task.as_str()).collect();
        let attempts: Vec<i64> = running.iter().map(|lease| lease.attempt).collect();
        let mut tx = self.pool().begin().await.doing(doing)?;
        let released = self
            .query(
                "WITH unknown AS (
                     DELETE FROM longshore.claims WHERE worker_id = $1 AND id <> ALL ($2) RETURNING tasks),
                 stray AS (
                     SELECT t.id FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id
                      WHERE t.id = ANY (ARRAY (SELECT unnest(tasks) FROM unknown)) AND t.worker_id = $1
                        AND NOT EXISTS (SELECT FROM unnest($3::text[], $4::bigint[]) AS r(id, attempt)
                                         WHERE r.id = t.id AND r.attempt = t.attempt)
                        AND t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                      ORDER BY t.id FOR UPDATE OF t)
                 UPDATE tasks t
                    SET status = CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'waiting' END,
                        worker_id = NULL, run_at = longshore.utc_now(),
                        wait = '{\"why\": \"for a worker; the answer to the last claim was lost\"}'
                   FROM stray WHERE t.id = stray.id",
            )
            .bind(worker)
            .bind(known)
            .bind(&ids)
            .bind(&attempts)
            .execute(&mut *tx)
            .await
            .doing(doing)?
            .rows_affected();
        if released > 0 {
            self.notify(&mut tx).await.doing(doing)?;
        }
        tx.commit().await.doing(doing)?;
        Ok(released)
    }
}
