//! A worker as the store sees it.

use std::time::Duration;

use store::{Claim, Served, Store, WorkerRow};

pub const LONG: Duration = Duration::from_secs(60);

/// A claim in the name of a worker that serves two types.
pub fn claim(worker: &str, limit: u32) -> Claim {
    let served = ["deploy", "fix_build"].map(|task_type| Served {
        task_type: task_type.to_owned(),
        version: 1,
        resumes: vec![1],
        deadline: None,
    });
    Claim {
        worker: worker.to_owned(),
        agents: vec!["devops".to_owned()],
        served: served.into(),
        limit,
        oldest: 0,
        max_depth: 64,
        over: Vec::new(),
    }
}

pub async fn register(store: &Store, worker: &str, lease: Duration) {
    store
        .register_worker(&worker_row(worker), lease)
        .await
        .expect("register");
}

pub fn worker_row(id: &str) -> WorkerRow {
    WorkerRow {
        id: id.to_owned(),
        host: "here".to_owned(),
        pid: 1,
        agents: vec!["devops".to_owned()],
        serves: vec!["deploy/1".to_owned(), "fix_build/1".to_owned()],
    }
}
