use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use domain::{NewTask, Report, Staged, TaskId, Verdict};
use durable::memory::{Claimed, Settled};
use durable::{Journal, Lease, Outcome};
use serde_json::{Value, json};
use store::{Claim, Recorder, Served, Settle, Store, TaskJournal, WorkerRow};
use tokio::sync::Mutex;

use crate::backend::{Backend, Seen};
use crate::postgres::{Database, Session};

/// The real store, on a database of its own with a clock in the test's hands. Each claim is made by a worker
/// of its own, so that one's lease can end without another's.
#[derive(Clone)]
pub struct OnPostgres(Arc<Inner>);

struct Inner {
    database: Database,
    store: Store,
    /// For what a test does and looks at besides.
    session: Mutex<Session>,
    served: Vec<Served>,
    workers: AtomicU32,
}

const LEASE: Duration = Duration::from_secs(3_600);
const AGENT: &str = "devops";

impl OnPostgres {
    /// On a new database of the process's server. Tasks of other types than `serves` are other agents'.
    pub async fn new(serves: &[&str]) -> Self {
        let database = crate::postgres::database().await;
        database.manual_clock(chrono::DateTime::UNIX_EPOCH).await;
        let store = database.worker_store().await;
        let session = Mutex::new(database.session().await);
        let served = serves
            .iter()
            .map(|task_type| Served {
                task_type: (*task_type).to_owned(),
                version: 1,
                resumes: vec![1],
                deadline: None,
            })
            .collect();
        Self(Arc::new(Inner {
            database,
            store,
            session,
            served,
            workers: AtomicU32::new(0),
        }))
    }

    /// Takes everything out of the tables and sets the clock back: a new world without the cost of a new database.
    pub async fn fresh(&self) -> Self {
        self.sql(
            "DO $$ DECLARE t text; BEGIN
                 FOR t IN SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                           WHERE schemaname = 'longshore' AND tablename !~ 'migrations|test_clock' LOOP
                     EXECUTE 'DELETE FROM ' || t;
                 END LOOP;
                 DELETE FROM tasks;
                 UPDATE longshore.test_clock SET at = 'epoch';
             END $$",
        )
        .await;
        self.clone()
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn database(&self) -> &Database {
        &self.0.database
    }

    async fn sql(&self, text: &str) -> Vec<crate::postgres::Row> {
        self.0.session.lock().await.sql(text).await
    }

    /// One column of JSON.
    async fn json(&self, text: &str) -> Vec<Value> {
        let rows = self.sql(text).await;
        rows.into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .map(|text| serde_json::from_str(&text).expect("JSON from Postgres"))
            .collect()
    }

    /// What other agents do with theirs: the oldest such task is completed.
    async fn others_work(&self) -> bool {
        let ours: Vec<String> = self
            .0
            .served
            .iter()
            .map(|served| quoted(&served.task_type))
            .collect();
        let done = self
            .sql(&format!(
                "UPDATE tasks SET status = 'completed', completed_at = longshore.utc_now(), result = '{{}}'
                  WHERE id = (SELECT id FROM tasks WHERE status = 'pending'
                                 AND (assigned_to <> '{AGENT}' OR assigned_to IS NULL AND NOT task_type IN ({}))
                               ORDER BY created_at, id LIMIT 1) RETURNING id",
                ours.join(", ")
            ))
            .await;
        !done.is_empty()
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[async_trait]
impl Backend for OnPostgres {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(TaskJournal::new(
            self.0.store.clone(),
            Recorder::start(self.0.store.clone()),
            None,
        ))
    }

    async fn enqueue(&self, task: NewTask) -> TaskId {
        // One after another also for a clock that stands.
        self.advance(Duration::from_millis(1)).await;
        let payload = quoted(&task.payload.to_string());
        let text = |value: &Option<String>| value.as_deref().map_or("NULL".to_owned(), quoted);
        let rows = self
            .sql(&format!(
                "INSERT INTO tasks (repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id, run_at)
                 VALUES ({}, {}, {}, {payload}, {}, {}, {},
                         coalesce({}::timestamptz AT TIME ZONE 'UTC', longshore.utc_now())) RETURNING id",
                text(&task.repo_id),
                quoted(&task.task_type),
                task.priority.get(),
                text(&task.assigned_to),
                text(&task.created_by),
                text(&task.parent.map(|id| id.to_string())),
                text(&task.run_at.map(|at| at.to_rfc3339())),
            ))
            .await;
        let id = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next().flatten());
        TaskId::from(id.expect("the new task's id"))
    }

    async fn claim(&self, worker: &str) -> Option<Claimed> {
        let number = self.0.workers.fetch_add(1, Ordering::Relaxed);
        let worker = WorkerRow {
            id: format!("{worker}/{number}"),
            host: "test".to_owned(),
            pid: std::process::id(),
            agents: vec![AGENT.to_owned()],
            serves: self
                .0
                .served
                .iter()
                .map(|served| format!("{}/1", served.task_type))
                .collect(),
        };
        let store = &self.0.store;
        store
            .register_worker(&worker, LEASE)
            .await
            .expect("register a worker");
        loop {
            store.wake_waiters(&worker.agents).await.expect("wake waiters");
            let claim = Claim {
                worker: worker.id.clone(),
                agents: worker.agents.clone(),
                served: self.0.served.clone(),
                limit: 1,
                oldest: 0,
                max_depth: 64,
                over: Vec::new(),
            };
            if let Some(claimed) = store
                .claim(&claim, &store::Taken::default())
                .await
                .expect("claim")
                .pop()
            {
                assert!(claimed.refusal.is_none(), "refused: {:?}", claimed.refusal);
                return Some(Claimed {
                    info: claimed.info,
                    lease: claimed.lease,
                    failures: claimed.failures,
                    cancelled: claimed.cancelled,
                });
            }
            if !self.others_work().await {
                store.retire_worker(&worker.id).await.expect("retire the worker");
                return None;
            }
        }
    }

    async fn take_over(&self, task: &TaskId, worker: &str) -> Option<Claimed> {
        let owner = self.one(task).await.worker?;
        self.expire(&owner).await;
        // A worker that died in the middle of a write holds its row until the server has rolled that back, and
        // a claim passes over rows that are held.
        let id = quoted(task.as_str());
        self.sql(&format!("SELECT FROM tasks WHERE id = {id} FOR UPDATE"))
            .await;
        let claimed = self.claim(worker).await.expect("a task whose worker is dead");
        assert_eq!(claimed.info.id, *task, "the abandoned task is claimed first");
        Some(claimed)
    }

    async fn expire(&self, worker: &str) {
        let id = quoted(worker);
        self.sql(&format!(
            "UPDATE longshore.workers SET lease_until = clock_timestamp() - interval '1 second' WHERE id = {id}"
        ))
        .await;
    }

    async fn settle(&self, lease: &Lease, outcome: Outcome) -> Settled {
        let ends = matches!(outcome, Outcome::Ended { .. });
        let settle = Settle {
            lease: lease.clone(),
            parent: self.one(&lease.task).await.parent,
            ticket: None,
            outcome,
            delay: Duration::ZERO,
        };
        let settled = if ends {
            let written = self.0.store.finish(std::slice::from_ref(&settle)).await;
            written.map(|written| written.into_iter().next().unwrap_or(store::Settled::LeaseLost))
        } else {
            self.0.store.park(&settle).await
        };
        match settled.expect("settle") {
            store::Settled::Written => Settled::Written,
            store::Settled::CancelRequested => Settled::CancelRequested,
            store::Settled::LeaseLost => Settled::LeaseLost,
        }
    }

    async fn cancel(&self, task: &TaskId) {
        // As anybody may, in plain SQL; a row that is over stays so.
        let id = quoted(task.as_str());
        self.sql(&format!(
            "UPDATE tasks SET status = 'cancelled' WHERE id = {id} AND status NOT IN ('completed', 'failed', 'cancelled')"
        ))
        .await;
    }

    async fn signal(&self, task: &TaskId, name: &str, value: Value) {
        self.0
            .store
            .signal(task, name, &value)
            .await
            .expect("send a signal");
    }

    async fn resume(&self, task: &TaskId) {
        let id = quoted(task.as_str());
        self.sql(&format!(
            "UPDATE tasks SET run_at = longshore.utc_now(), wait = wait - 'held' WHERE id = {id} AND wait ? 'held'"
        ))
        .await;
    }

    async fn advance(&self, by: Duration) {
        // Over the open session: a connection for each step in time would cost more than the step.
        let micros = by.as_micros();
        self.sql(&format!(
            "UPDATE longshore.test_clock SET at = at + interval '1 microsecond' * {micros}"
        ))
        .await;
    }

    async fn until_next(&self) -> Option<Duration> {
        let seconds = self
            .json(
                "SELECT to_jsonb(extract(epoch FROM min(run_at) - longshore.utc_now())) FROM tasks
                  WHERE status IN ('waiting', 'pending') AND isfinite(run_at)",
            )
            .await;
        let seconds = seconds.first().and_then(Value::as_f64)?;
        // A microsecond more than the double may have lost.
        Some(Duration::from_secs_f64(seconds.max(0.0)) + Duration::from_micros(1))
    }

    async fn seen(&self) -> Vec<Seen> {
        let rows = self
            .json(
                "SELECT jsonb_build_object('id', id, 'parent', parent_task_id, 'type', task_type, 'payload', payload,
                     'status', status, 'wait', wait, 'worker', worker_id, 'result', result, 'error', error,
                     'done', (SELECT coalesce(jsonb_agg(scope || '/' || key ORDER BY scope, seq), '[]')
                                FROM longshore.task_steps s WHERE s.task_id = t.id AND outcome IS NOT NULL))
                   FROM tasks t ORDER BY created_at, id",
            )
            .await;
        rows.iter().map(seen).collect()
    }

    async fn staged(&self) -> Vec<Staged> {
        let rows = self
            .json("SELECT to_jsonb(v) - 'id' - 'at' FROM longshore.flake_verdicts v ORDER BY id")
            .await;
        rows.into_iter()
            .map(|record| Staged {
                memory: "flake".to_owned(),
                record,
            })
            .collect()
    }

    async fn told(&self, task: &TaskId) -> Vec<Report> {
        let id = quoted(task.as_str());
        let told = self
            .json(&format!(
                "SELECT to_jsonb(summary) FROM longshore.task_events WHERE task_id = {id} AND kind = 'told' ORDER BY id"
            ))
            .await;
        told.iter()
            .map(|summary| Report::new(Verdict::Running, summary.as_str().unwrap_or_default()))
            .collect()
    }

    async fn queue_of(&self, resource: &str) -> Vec<TaskId> {
        let resource = quoted(resource);
        let queue = self
            .json(&format!(
                "SELECT to_jsonb(task_id) FROM longshore.resource_locks WHERE resource = {resource} ORDER BY position"
            ))
            .await;
        queue.iter().filter_map(Value::as_str).map(TaskId::from).collect()
    }
}

fn seen(row: &Value) -> Seen {
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let read = |what: &str| -> String { text(what).unwrap_or_else(|| panic!("{what} of {row}")) };
    Seen {
        id: TaskId::from(read("id")),
        parent: text("parent").map(TaskId::from),
        task_type: read("type"),
        payload: row["payload"].clone(),
        status: read("status").parse().expect("a known status"),
        held: row["wait"]["held"].as_str().map(str::to_owned),
        waits_for: serde_json::from_value(row["wait"].clone()).expect("a wait"),
        worker: text("worker"),
        report: serde_json::from_value(row["result"].clone()).unwrap_or_default(),
        error: text("error"),
        done: serde_json::from_value(row["done"].clone())
            .unwrap_or_else(|_| panic!("steps of {}", json!(row))),
    }
}
