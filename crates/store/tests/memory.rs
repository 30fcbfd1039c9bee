//! The memory ports over Postgres pass the suite that their fakes pass.

use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use domain::{Staged, TaskId};
use durable::{Journal, Lease, Recorded, StepKind, StepRef};
use ports::conformance::memory::{self, MemoryWorld};
use ports::{BudgetLedger, FlakeHistory};
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
             VALUES ('task', 'fix_build', 'devops', 'in_progress', 'w', 1)",
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
impl MemoryWorld for Real {
    fn flakes(&self) -> &dyn FlakeHistory {
        &self.store
    }
    fn budget(&self) -> &dyn BudgetLedger {
        &self.store
    }
    async fn commit(&self, task: &TaskId, staged: Vec<Staged>) {
        let mut seq = self.steps.lock().await;
        let lease = Lease {
            task: task.clone(),
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

#[tokio::test]
async fn verdicts_are_remembered_with_their_step() {
    memory::verdicts_are_remembered_with_their_step(&Real::start().await).await;
}

#[tokio::test]
async fn a_budget_is_spent_once_a_step_and_no_further() {
    memory::a_budget_is_spent_once_a_step_and_no_further(&Real::start().await).await;
}

#[tokio::test]
async fn the_last_one_is_given_once() {
    memory::the_last_one_is_given_once(&Real::start().await).await;
}
