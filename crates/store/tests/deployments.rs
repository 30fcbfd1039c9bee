//! The log of deployments over Postgres passes the suite that its fake passes.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use domain::{Staged, TaskId};
use durable::{Journal, Lease, Recorded, StepKind, StepRef};
use ports::DeploymentLog;
use ports::conformance::deployments::DeploymentWorld;
use store::{Recorder, Store, TaskJournal};
use testkit::postgres::{self, Database, ManualClock};
use tokio::sync::Mutex;

struct Real {
    store: Store,
    journal: TaskJournal,
    clock: ManualClock,
    steps: Mutex<i32>,
    _db: Database,
}

impl Real {
    async fn start() -> Self {
        let db = postgres::database().await;
        db.sql(
            "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
             VALUES ('w', 'h', 1, '{devops}', '{}', clock_timestamp() + interval '1 hour');
             INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, attempt)
             VALUES ('task', 'deploy', 'devops', 'in_progress', 'w', 1)",
        )
        .await;
        let clock = db.manual_clock(Utc::now()).await;
        let store = db.store().await;
        let journal = TaskJournal::new(store.clone(), Recorder::start(store.clone()), None);
        Self {
            store,
            journal,
            clock,
            steps: Mutex::new(0),
            _db: db,
        }
    }
}

#[async_trait]
impl DeploymentWorld for Real {
    fn log(&self) -> &dyn DeploymentLog {
        &self.store
    }
    async fn commit(&self, staged: Vec<Staged>) {
        let mut seq = self.steps.lock().await;
        let lease = Lease {
            task: TaskId::from("task"),
            worker: "w".into(),
            attempt: 1,
        };
        let at = StepRef {
            scope: "run".to_owned(),
            seq: *seq,
            key: format!("step {seq}"),
        };
        *seq += 1;
        let done = Recorded::Ok(serde_json::Value::Null);
        self.journal
            .done(&lease, &at, StepKind::Step, &done, staged)
            .await
            .expect("record a step");
    }
    async fn advance(&self, by: Duration) {
        self.clock.advance(by).await;
    }
}

ports::deployments_conformance!(Real::start().await);
