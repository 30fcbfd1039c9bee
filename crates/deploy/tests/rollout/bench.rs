//! A table, a shop that runs v1 with four replicas, and everything around it, in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::DateTime;
use deploy::{Deploy, Outside, Rollback, Target};
use domain::{Autonomy, NewTask, Repo, RepoRef, RepoStatus, Report, TaskId, TaskStatus};
use durable::memory::World;
use durable::{AnyHandler, Attempt, CancelFlag, Limits, drive};
use ports::fake::{
    Answer, Behaviour, FakeCancels, FakeDeployments, FakeEnvironments, FakeFlags, FakeFleet, FakeForge,
    FakeMetrics, FakeProbe, FakeRepos, FakeRouter,
};
use ports::{
    Commit, FlagRef, Granularity, JobStatus, PAUSE_CHANGED, Paused, Pipeline, RouteRef, Side, WorkloadRef,
};
use serde_json::{Value, json};

use crate::follows::{Before, Follows};

pub const HEALTH: &str = "http://shop.example/health";
pub const PREVIEW: &str = "http://candidate.shop.example/health";

pub fn at() -> RepoRef {
    RepoRef {
        provider: "fake".to_owned(),
        url: String::new(),
        project: "group/shop".to_owned(),
    }
}

pub fn workload() -> WorkloadRef {
    at_workload("shop/checkout")
}

pub fn at_workload(name: &str) -> WorkloadRef {
    WorkloadRef {
        target: "cluster".to_owned(),
        name: name.to_owned(),
        container: None,
    }
}

pub fn route() -> RouteRef {
    RouteRef {
        target: "cluster".to_owned(),
        name: "shop/checkout".to_owned(),
    }
}

pub fn flag() -> FlagRef {
    FlagRef {
        store: "flags".to_owned(),
        key: "new-checkout".to_owned(),
        scope: None,
    }
}

/// The settings of staging, which tests change before they begin.
pub fn staging() -> Value {
    json!({
        "target": "cluster", "workload": "shop/checkout", "router": "shop/checkout",
        "flag": {"store": "flags", "key": "new-checkout"},
        "health": [{"name": "health", "url": HEALTH}],
        "smoke": [{"name": "preview", "url": PREVIEW}],
        // A window of half a minute has seven points.
        "analysis": {"scrape_interval": "1s", "min_points": 5, "at_least": "30s", "metrics": [
            {"name": "error_rate", "query": "errors ${side}", "max": 0.02},
            {"name": "latency_p95", "query": "latency ${side}"},
        ]},
        "freeze": {"windows": []},
        "approval": {"required": false},
        "canary": {"initial_percentage": 10, "increment": 40, "interval": "5m"},
        "feature_flag": {"initial_percentage": 10, "increment": 40, "interval": "5m"},
    })
}

#[derive(Clone)]
pub struct Bench {
    /// The table in use: the log reads what was committed to it.
    table: Arc<Mutex<World>>,
    pub settings: Value,
    pub autonomy: Autonomy,
    pub fleet: FakeFleet,
    pub router: FakeRouter,
    pub metrics: FakeMetrics,
    pub probe: FakeProbe,
    pub flags: FakeFlags,
    pub forge: FakeForge,
    pub environments: FakeEnvironments,
    pub log: FakeDeployments,
    /// Other repositories than the shop's own.
    pub repos: FakeRepos,
    paused: Arc<Mutex<Box<Pauses>>>,
    /// What is looked at follows what runs.
    pub before: Before,
    /// Whether a second passes whenever somebody asks what time it is.
    ticks: Arc<AtomicBool>,
}

/// Whether ada wants a task to stand still that has done these steps.
type Pauses = dyn Fn(&[String]) -> bool + Send + Sync;

impl Bench {
    pub fn new() -> Self {
        let table = Arc::new(Mutex::new(World::new()));
        let source = Arc::clone(&table);
        let ticks = Arc::new(AtomicBool::new(false));
        let ticking = Arc::clone(&ticks);
        let bench = Self {
            settings: json!({"environments": {"staging": staging()}}),
            autonomy: Autonomy::Full,
            fleet: FakeFleet::new(),
            router: FakeRouter::new(),
            metrics: FakeMetrics::new(),
            probe: FakeProbe::new(),
            flags: FakeFlags::new(),
            forge: FakeForge::new(),
            environments: FakeEnvironments::new(),
            log: FakeDeployments::over(move || {
                let world = source.lock().expect("no panic").clone();
                if ticking.load(Ordering::SeqCst) {
                    world.advance(Duration::from_secs(1));
                }
                (world.staged(), world.now())
            }),
            repos: FakeRepos::new(),
            paused: Arc::new(Mutex::new(Box::new(|_| false))),
            before: Before::default(),
            ticks,
            table,
        };
        for version in ["v0", "v1", "v2", "v3"] {
            bench.fleet.add_version(version, Behaviour::Healthy);
            bench.environments.add_commit(&at(), commit(version));
        }
        bench.fleet.add_version("broken", Behaviour::Crashing);
        bench.fleet.add_running(&workload(), &["v0", "v1"], 4);
        bench.router.add_route(&route(), Granularity::Parts(100));
        bench.flags.put(&flag(), 0);
        bench.probe.set(HEALTH, Answer::Says(200, "ok".to_owned()));
        bench.probe.set(PREVIEW, Answer::Says(200, "ok".to_owned()));
        for side in ["stable", "candidate"] {
            bench.metrics.set(&format!("errors {side}"), &[0.01]);
            bench.metrics.set(&format!("latency {side}"), &[0.1, 0.11]);
        }
        bench
    }

    /// The candidate answers every twentieth request with an error.
    pub fn bad(self) -> Self {
        self.metrics.set("errors candidate", &[0.05]);
        self
    }

    /// It is Monday morning, and time goes by.
    pub fn ticking(self) -> Self {
        let monday = "2026-01-05T09:00:00Z"
            .parse::<DateTime<chrono::Utc>>()
            .expect("a time");
        let since = monday - self.world().now();
        self.world().advance(since.to_std().expect("it is to come"));
        self.ticks.store(true, Ordering::SeqCst);
        self
    }

    /// The version's pipeline has been run, and those that are started from now on end so.
    pub fn built(self, version: &str, ends: JobStatus) -> Self {
        let pipeline = Pipeline {
            id: 7,
            status: JobStatus::Succeeded,
            git_ref: version.to_owned(),
            sha: commit(version).sha,
            url: "https://forge.example/7".to_owned(),
        };
        self.forge.add_pipeline(&at(), pipeline);
        self.forge.pipelines_end(ends, 1);
        self
    }

    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.settings["environments"]["staging"]);
        self
    }

    pub fn world(&self) -> World {
        let world = self.table.lock().expect("no panic").clone();
        world.register(self.repo());
        world
    }

    /// A new, empty table in the place of the one before.
    pub fn fresh(&self) -> World {
        *self.table.lock().expect("no panic") = World::new();
        self.world()
    }

    fn repo(&self) -> Repo {
        Repo {
            id: "shop".to_owned(),
            name: "shop".to_owned(),
            slug: None,
            at: at(),
            default_branch: "main".to_owned(),
            autonomy_mode: self.autonomy,
            settings: self.settings.clone(),
            status: RepoStatus::Active,
        }
    }

    pub fn outside(&self) -> Outside {
        let (table, told) = (Arc::clone(&self.table), Arc::clone(&self.table));
        let cancel = move |task: &TaskId| table.lock().expect("no panic").cancel(task);
        let signal = move |task: &TaskId, name: &str| {
            let world = told.lock().expect("no panic").clone();
            world.send_signal(task, name, Value::Null);
        };
        let (asked, by) = (Arc::clone(&self.table), Arc::clone(&self.paused));
        let paused = move |task: &TaskId| {
            let world = asked.lock().expect("no panic").clone();
            let paused = by.lock().expect("no panic");
            (*paused)(&world.view(task)?.done).then(|| Paused {
                by: "ada".to_owned(),
                why: Some("the stock is counted".to_owned()),
                at: DateTime::UNIX_EPOCH,
            })
        };
        let target = Target {
            fleet: Arc::new(self.fleet.clone()),
            router: Some(Arc::new(self.router.clone())),
        };
        Outside {
            targets: BTreeMap::from([("cluster".to_owned(), target)]),
            metrics: Arc::new(Follows {
                of: self.metrics.clone(),
                before: self.before.clone(),
            }),
            probe: Arc::new(Follows {
                of: self.probe.clone(),
                before: self.before.clone(),
            }),
            flags: Arc::new(self.flags.clone()),
            forge: Arc::new(self.forge.clone()),
            environments: Arc::new(self.environments.clone()),
            log: Arc::new(self.log.clone()),
            cancels: Arc::new(FakeCancels::over(cancel, signal, paused)),
            repos: Arc::new(self.repos.clone()),
        }
    }

    /// Ada pauses tasks once they are that far, and lets them go on.
    pub fn pause(&self, when: impl Fn(&[String]) -> bool + Send + Sync + 'static) {
        *self.paused.lock().expect("no panic") = Box::new(when);
    }

    /// Ada pauses a task, or lets it go on, and it hears of that.
    pub fn pause_now(&self, task: &TaskId, paused: bool) {
        self.pause(move |_| paused);
        self.world().send_signal(task, PAUSE_CHANGED, Value::Null);
    }

    pub fn handlers(&self) -> Vec<AnyHandler> {
        vec![
            AnyHandler::new(Deploy::new(self.outside())),
            AnyHandler::new(Rollback::new(self.outside())),
        ]
    }

    pub fn enqueue(&self, task_type: &str, payload: Value) -> TaskId {
        self.world().enqueue(task(task_type, payload))
    }

    /// Runs one claimed task, if there is one.
    pub async fn turn(&self) -> bool {
        let world = self.world();
        let Some(claimed) = world.claim("w") else {
            return false;
        };
        let handlers = self.handlers();
        let serves = |handler: &&AnyHandler| handler.task_types().contains(&claimed.info.task_type.as_str());
        let handler = handlers.iter().find(serves).expect("a handler");
        let cancel = CancelFlag::default();
        if claimed.cancelled {
            cancel.raise();
        }
        let attempt = Attempt {
            task: claimed.info,
            lease: claimed.lease.clone(),
            first: false,
            journal: Arc::new(world.clone()),
            cancel,
            limits: Limits::default(),
        };
        let outcome = drive(handler, attempt).await;
        world.settle(&claimed.lease, outcome);
        true
    }

    /// Runs whatever can be run, and lets time pass in between, until every task is over or waits for a person.
    pub async fn settle(&self) {
        for _ in 0..2000 {
            if self.turn().await {
                continue;
            }
            let world = self.world();
            let Some(due) = world.next_due() else { return };
            // A question's time limit is not waited for: a test lets it pass by itself.
            let asks = |wake: &durable::Wake| wake.at == Some(due) && !questions(wake).is_empty();
            if world
                .tasks()
                .iter()
                .any(|(_, view)| view.waits_for.as_ref().is_some_and(asks))
            {
                return;
            }
            world.advance((due - world.now()).to_std().unwrap_or_default());
        }
        panic!("no end: {:?}", self.world().tasks());
    }

    pub fn report(&self, id: &TaskId) -> (TaskStatus, Report) {
        let view = self.world().view(id).expect("the task");
        let report = view.report.clone();
        (
            view.status,
            report.unwrap_or_else(|| panic!("no report: {view:#?}")),
        )
    }

    pub async fn run(&self, task_type: &str, payload: Value) -> (TaskStatus, Report) {
        let id = self.enqueue(task_type, payload);
        self.settle().await;
        self.report(&id)
    }

    pub async fn deploy(&self, payload: Value) -> (TaskStatus, Report) {
        self.run("deploy", payload).await
    }

    /// The names of the answers that a task waits for.
    pub fn waits_for(&self, id: &TaskId) -> Vec<String> {
        let view = self.world().view(id).expect("the task");
        view.waits_for.map(|wake| questions(&wake)).unwrap_or_default()
    }

    /// Answers the question that a task asks.
    pub async fn answer(&self, id: &TaskId, decision: &str) {
        let asked = self.waits_for(id);
        let asked = asked.first().expect("the task asks something");
        self.world().send_signal(id, asked, answer(decision));
        self.settle().await;
    }

    /// What the outside was made to do, and how it stands.
    pub fn fingerprint(&self) -> Value {
        json!({
            "fleet": self.fleet.effects(),
            "stable": self.fleet.stands(&workload(), Side::Stable),
            "candidate": self.fleet.stands(&workload(), Side::Candidate),
            "shares": self.router.effects().iter().map(|share| share.percent()).collect::<Vec<_>>(),
            "foreign": self.router.foreign(&route()),
            "flag": self.flags.effects(),
            "begun": self.forge.begun().iter().map(|begun| json!(begun.wanted)).collect::<Vec<_>>(),
            "reverts": self.forge.reverts(),
            "others": self.others(),
            "records": self.environments.records().iter()
                .map(|(environment, sha, statuses)| json!([environment, sha, statuses])).collect::<Vec<_>>(),
        })
    }

    /// What else the settings name, and how it stands.
    fn others(&self) -> Value {
        let Some(environments) = self.settings["environments"].as_object() else {
            return Value::Null;
        };
        let stands = environments.iter().map(|(name, environment)| {
            let at = at_workload(environment["workload"].as_str().unwrap_or_default());
            let sides = [Side::Stable, Side::Candidate].map(|side| self.fleet.stands(&at, side));
            (name.clone(), json!(sides))
        });
        Value::Object(stands.collect())
    }

    /// The shares of the traffic that the candidate got, in percent.
    pub fn shares(&self) -> Vec<f64> {
        self.router
            .effects()
            .iter()
            .map(|share| share.percent())
            .collect()
    }

    /// Version and replicas of both sides.
    pub fn stands(&self) -> [Option<(String, u32)>; 2] {
        [Side::Stable, Side::Candidate].map(|side| self.fleet.stands(&workload(), side))
    }
}

fn questions(wake: &durable::Wake) -> Vec<String> {
    let asked = wake.signals.iter().filter(|name| name.starts_with("approval/"));
    asked.cloned().collect()
}

pub fn answer(decision: &str) -> Value {
    json!({"decision": decision, "by": "ada", "at": DateTime::UNIX_EPOCH})
}

pub fn runs(version: &str) -> [Option<(String, u32)>; 2] {
    [Some((version.to_owned(), 4)), None]
}

pub fn commit(version: &str) -> Commit {
    Commit {
        sha: format!("{version:0>40}"),
        at: DateTime::UNIX_EPOCH,
        git_ref: version.to_owned(),
        is_tag: true,
    }
}

pub fn task(task_type: &str, payload: Value) -> NewTask {
    NewTask::new(task_type, payload).repo(Some("shop".to_owned()))
}

pub fn to(version: &str, strategy: &str) -> Value {
    json!({"version": version, "environment": "staging", "strategy": strategy})
}

/// Another's task takes a lock, as a worker of its own.
pub async fn hold(world: &World, task: &TaskId, resource: &str) {
    use durable::{Journal, LockPlace, LockState, StepRef};
    let claimed = world.claim("another").expect("it is there to be claimed");
    assert_eq!(claimed.info.id, *task);
    let at = StepRef {
        scope: "run".to_owned(),
        seq: 0,
        key: "lock".to_owned(),
    };
    let held = world.lock(&claimed.lease, &at, resource, LockPlace::Last).await;
    assert_eq!(held, Ok(LockState::Held));
}

/// It ends, and what it held is free.
pub fn end(world: &World, task: &TaskId) {
    let lease = durable::Lease {
        task: task.clone(),
        worker: "another".into(),
        attempt: 1,
    };
    let outcome = durable::Outcome::Ended {
        status: TaskStatus::Completed,
        report: Box::new(Report::new(domain::Verdict::Succeeded, "over")),
        error: None,
    };
    assert_eq!(world.settle(&lease, outcome), durable::memory::Settled::Written);
}
