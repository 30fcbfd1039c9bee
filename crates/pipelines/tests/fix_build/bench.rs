//! A forge, a table and a handler between them.

use std::sync::Arc;

use domain::{Autonomy, NewTask, Repo, RepoRef, RepoStatus, Report, TaskStatus};
use durable::memory::World;
use durable::{AnyHandler, Attempt, CancelFlag, Limits, drive};
use pipelines::{FixBuild, FixBuildConfig};
use ports::fake::{FakeBudget, FakeFlakes, FakeForge};
use ports::{Job, JobRef, JobStatus, Pipeline};
use serde_json::{Value, json};

pub const COMPILE_ERROR: &str = "\
$ cargo build --locked
   Compiling app v0.1.0 (/builds/group/app)
error[E0425]: cannot find value `totl` in this scope
 --> src/main.rs:12:20
  |
12 |     println!(\"{}\", totl);
  |                    ^^^^ help: a local variable with a similar name exists: `total`

error: could not compile `app` (bin \"app\") due to 1 previous error
Cleaning up project directory and file based variables
ERROR: Job failed: exit code 101
";

pub const NETWORK: &str = "\
$ npm ci
npm ERR! code ECONNRESET
npm ERR! network request to https://registry.npmjs.org/left-pad failed, reason: read ECONNRESET
npm ERR! network This is a problem related to network connectivity.
Cleaning up project directory and file based variables
ERROR: Job failed: exit code 1
";

pub fn repo() -> Repo {
    Repo {
        id: "app".to_owned(),
        name: "app".to_owned(),
        slug: None,
        at: at(),
        default_branch: "main".to_owned(),
        autonomy_mode: Autonomy::Full,
        settings: Value::Null,
        status: RepoStatus::Active,
    }
}

pub fn at() -> RepoRef {
    RepoRef {
        provider: "fake".to_owned(),
        url: String::new(),
        project: "group/app".to_owned(),
    }
}

pub fn job(id: u64, name: &str) -> Job {
    Job {
        at: JobRef { repo: at(), id },
        name: name.to_owned(),
        stage: "test".to_owned(),
        status: JobStatus::Failed,
        pipeline: 10,
        attempt: 1,
        git_ref: "main".to_owned(),
        sha: "0123456789abcdef".to_owned(),
        url: format!("https://forge.example/group/app/jobs/{id}"),
        allow_failure: false,
        failure_reason: Some("script_failure".to_owned()),
        exit_code: None,
        started_at: None,
        finished_at: None,
        duration: None,
    }
}

pub fn pipeline() -> Pipeline {
    Pipeline {
        id: 10,
        status: JobStatus::Failed,
        git_ref: "main".to_owned(),
        sha: "0123456789abcdef".to_owned(),
        url: "https://forge.example/group/app/pipelines/10".to_owned(),
    }
}

/// A pipeline whose failed jobs wrote these logs.
pub fn forge(logs: &[(&str, &str)]) -> FakeForge {
    let forge = FakeForge::new();
    forge.add_pipeline(&at(), pipeline());
    for (id, (name, log)) in (1..).zip(logs) {
        let job = job(id, name);
        forge.set_log(&job.at, (*log).to_owned());
        forge.add_job(job);
    }
    forge
}

#[derive(Clone)]
pub struct Bench {
    pub world: World,
    pub forge: FakeForge,
    pub flakes: FakeFlakes,
    pub budget: FakeBudget,
    pub config: FixBuildConfig,
}

impl Bench {
    pub fn of(forge: FakeForge) -> Self {
        let world = World::new();
        world.register(repo());
        Self {
            world,
            forge,
            flakes: FakeFlakes::default(),
            budget: FakeBudget::default(),
            config: FixBuildConfig::default(),
        }
    }

    pub fn handler(&self) -> AnyHandler {
        AnyHandler::new(FixBuild::new(
            Arc::new(self.forge.clone()),
            Arc::new(self.flakes.clone()),
            Arc::new(self.budget.clone()),
            self.config.clone(),
        ))
    }

    /// Runs one task to its end and answers its status and report.
    pub async fn run(&self, payload: Value) -> (TaskStatus, Report) {
        let id = self
            .world
            .enqueue(NewTask::new("fix_build", payload).repo(Some("app".to_owned())));
        while let Some(claimed) = self.world.claim("w") {
            if claimed.info.task_type != "fix_build" {
                continue;
            }
            let attempt = Attempt {
                task: claimed.info,
                lease: claimed.lease.clone(),
                first: false,
                journal: Arc::new(self.world.clone()),
                cancel: CancelFlag::default(),
                limits: Limits::default(),
            };
            let outcome = drive(&self.handler(), attempt).await;
            self.world.settle(&claimed.lease, outcome);
        }
        self.world
            .staged()
            .iter()
            .for_each(|staged| self.flakes.apply(staged));
        let view = self.world.view(&id).expect("the task");
        let report = view
            .report
            .clone()
            .unwrap_or_else(|| panic!("no report: {view:?}"));
        (view.status, report)
    }

    pub fn follow_ons(&self) -> Vec<String> {
        let tasks = self.world.tasks();
        tasks
            .iter()
            .filter(|(_, view)| view.task_type == "implement_fix")
            .map(|(id, _)| id.to_string())
            .collect()
    }
}

pub fn fix_pipeline() -> Value {
    json!({"pipeline": {"id": 10}})
}
