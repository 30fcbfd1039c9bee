//! The log of deployments over Postgres, and its way to stop other tasks, pass the suites that their fakes pass.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use domain::{Staged, TaskId, TaskStatus};
use durable::{Journal, Lease, Recorded, StepKind, StepRef};
use ports::conformance::cancels::CancelWorld;
use ports::conformance::deployments::DeploymentWorld;
use ports::{Cancels, DeploymentLog};
use store::{Recorder, Store, TaskJournal};
use testkit::postgres::{self, Database, ManualClock};
use tokio::sync::Mutex;

struct Real {
    store: Store,
    journal: TaskJournal,
    clock: ManualClock,
    steps: Mutex<i32>,
    db: Database,
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
            db,
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

impl Real {
    async fn task(&self, status: TaskStatus) -> TaskId {
        let mut made = self.steps.lock().await;
        *made += 1;
        let id = format!("other-{made}");
        let wait = match status {
            TaskStatus::Waiting => "'{\"why\": \"until noon\"}'",
            _ => "NULL",
        };
        self.db
            .sql(&format!(
                "INSERT INTO tasks (id, task_type, assigned_to, status, wait)
                 VALUES ('{id}', 'deploy', 'devops', '{status}', {wait})"
            ))
            .await;
        TaskId::from(id)
    }
}

#[async_trait]
impl CancelWorld for Real {
    fn port(&self) -> &dyn Cancels {
        &self.store
    }
    async fn waiting(&self) -> TaskId {
        self.task(TaskStatus::Waiting).await
    }
    async fn completed(&self) -> TaskId {
        self.task(TaskStatus::Completed).await
    }
    async fn status(&self, task: &TaskId) -> Option<TaskStatus> {
        self.store.task(task).await.ok().map(|row| row.status)
    }
    async fn signals(&self, task: &TaskId) -> Vec<String> {
        let names = format!("SELECT string_agg(name, ',') FROM longshore.signals WHERE task_id = '{task}'");
        let names = self.db.value(&names).await.unwrap_or_default();
        let names = names.split(',').filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }
    async fn pause(&self, task: &TaskId, why: Option<&str>) {
        let done = match why {
            Some(_) => self.store.by("ada").pause_task(task, why).await,
            None => self.store.by("ada").resume_task(task).await,
        };
        done.expect("is changed");
    }
}

mod cancels {
    ports::cancels_conformance!(super::Real::start().await);
}
