//! The fakes of the ports for deployments pass the suites that the real adapters pass.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, RepoRef, Staged, TaskId, TaskStatus};
use ports::conformance::Breakage;
use ports::conformance::cancels::CancelWorld;
use ports::conformance::deployments::DeploymentWorld;
use ports::conformance::environments::EnvironmentWorld;
use ports::conformance::flags::FlagWorld;
use ports::conformance::fleet::{FleetWorld, Versions};
use ports::conformance::metrics::MetricWorld;
use ports::conformance::probe::ProbeWorld;
use ports::conformance::repos::RepoWorld;
use ports::conformance::traffic::RouterWorld;
use ports::fake::{
    Answer, Behaviour, EnvironmentOp, FakeCancels, FakeDeployments, FakeEnvironments, FakeFlags, FakeFleet,
    FakeMetrics, FakeProbe, FakeRepos, FakeRouter, Fault, FlagOp, FleetOp, MetricOp, RouterOp,
};
use ports::{
    Cancels, Commit, DeploymentLog, Environments, FlagRef, FlagStore, Fleet, Granularity, MetricQuery,
    MetricQuestion, PAUSE_CHANGED, Paused, Probe, RecordStatus, RouteRef, Sample, Series, Share, Side,
    TrafficRouter, WorkloadRef,
};

fn fault(breakage: Breakage) -> Fault {
    match breakage {
        Breakage::RateLimited(wait) => Fault::Fail(Error::rate_limited("too fast", Some(wait))),
        Breakage::OutOfOrder => Fault::Fail(Error::unavailable("out of order")),
        Breakage::DoneThenCut => Fault::DoThenTimeout,
        Breakage::NoAnswer => Fault::Fail(Error::timeout("no answer")),
    }
}

#[derive(Default)]
struct Runs {
    fake: FakeFleet,
    last: AtomicU64,
}

impl Runs {
    fn at(&self) -> WorkloadRef {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        workload(&format!("shop/checkout-{number}"))
    }
}

fn workload(name: &str) -> WorkloadRef {
    WorkloadRef {
        target: "fake".to_owned(),
        name: name.to_owned(),
        container: None,
    }
}

#[async_trait]
impl FleetWorld for Runs {
    fn port(&self) -> &dyn Fleet {
        &self.fake
    }
    fn versions(&self) -> Versions {
        for version in ["v1", "v2", "v3"] {
            self.fake.add_version(version, Behaviour::Slow(1));
        }
        self.fake.add_version("v4", Behaviour::Crashing);
        Versions {
            first: "v1".to_owned(),
            second: "v2".to_owned(),
            third: "v3".to_owned(),
            crashing: "v4".to_owned(),
            missing: "v9".to_owned(),
        }
    }
    async fn running(&self, versions: &[&str], replicas: u32) -> WorkloadRef {
        let at = self.at();
        self.fake.add_running(&at, versions, replicas);
        self.settle(&at).await;
        at
    }
    async fn empty(&self) -> WorkloadRef {
        let at = self.at();
        self.fake.add_empty(&at);
        at
    }
    fn missing(&self) -> WorkloadRef {
        workload("shop/nowhere")
    }
    async fn settle(&self, at: &WorkloadRef) {
        for side in [Side::Stable, Side::Candidate] {
            self.fake.observe(at, side).await.expect("looks");
        }
    }
    async fn meddle(&self, at: &WorkloadRef, side: Side, version: &str) {
        self.fake.meddle(at, side, version);
    }
    async fn changes(&self) -> usize {
        self.fake.effects().len()
    }
    async fn foreign(&self) -> String {
        String::new()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        self.fake.faults().next(FleetOp::Launch, fault(breakage));
    }
}

mod fleet {
    ports::fleet_conformance!(super::Runs::default());
}

struct Routes {
    fake: FakeRouter,
    granularity: Granularity,
    last: AtomicU64,
}

impl Routes {
    fn of(granularity: Granularity) -> Self {
        Self {
            fake: FakeRouter::new(),
            granularity,
            last: AtomicU64::default(),
        }
    }
}

#[async_trait]
impl RouterWorld for Routes {
    fn port(&self) -> &dyn TrafficRouter {
        &self.fake
    }
    async fn route(&self) -> RouteRef {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let at = RouteRef {
            target: "fake".to_owned(),
            name: format!("shop/route-{number}"),
        };
        self.fake.add_route(&at, self.granularity);
        at
    }
    fn missing(&self) -> RouteRef {
        RouteRef {
            target: "fake".to_owned(),
            name: "shop/nowhere".to_owned(),
        }
    }
    async fn foreign(&self, at: &RouteRef) -> String {
        self.fake.foreign(at).expect("a route")
    }
    async fn carried_out(&self, at: &RouteRef) -> f64 {
        self.fake.share(at).expect("a route").percent()
    }
    async fn meddle(&self, at: &RouteRef) {
        let all = self.fake.share(at).expect("a route").percent() >= 50.0;
        let other = Share {
            part: u32::from(!all),
            of: 1,
        };
        self.fake.meddle(at, other);
    }
    async fn changes(&self) -> usize {
        self.fake.effects().len()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        self.fake.faults().next(RouterOp::Set, fault(breakage));
    }
}

mod router_of_percents {
    ports::router_conformance!(super::Routes::of(ports::Granularity::Parts(100)));
}
mod router_of_256_parts {
    ports::router_conformance!(super::Routes::of(ports::Granularity::Parts(256)));
}
mod router_that_switches {
    ports::router_conformance!(super::Routes::of(ports::Granularity::AllOrNothing));
}
mod router_by_replicas {
    ports::router_conformance!(fixed super::Routes::of(ports::Granularity::Replicas));
}

#[derive(Default)]
struct Flags {
    fake: FakeFlags,
    last: AtomicU64,
}

fn flag(key: &str) -> FlagRef {
    FlagRef {
        store: "fake".to_owned(),
        key: key.to_owned(),
        scope: Some("staging".to_owned()),
    }
}

#[async_trait]
impl FlagWorld for Flags {
    fn port(&self) -> &dyn FlagStore {
        &self.fake
    }
    async fn flag(&self, percent: u32) -> FlagRef {
        let at = flag(&format!("flag-{}", self.last.fetch_add(1, Ordering::Relaxed)));
        self.fake.put(&at, percent);
        self.fake.put(&flag("foreign"), 42);
        at
    }
    fn missing(&self) -> FlagRef {
        flag("nowhere")
    }
    async fn meddle(&self, at: &FlagRef, percent: u32) {
        self.fake.put(at, percent);
    }
    async fn foreign(&self, _: &FlagRef) -> String {
        format!("{:?}", self.fake.percent(&flag("foreign")))
    }
    async fn changes(&self) -> usize {
        self.fake.effects().len()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        self.fake.faults().next(FlagOp::Set, fault(breakage));
    }
}

mod flags {
    ports::flags_conformance!(super::Flags::default());
}

#[derive(Default)]
struct Measured {
    fake: FakeMetrics,
    last: AtomicU64,
}

fn question(query: &str) -> MetricQuestion {
    MetricQuestion {
        source: "fake".to_owned(),
        query: query.to_owned(),
    }
}

#[async_trait]
impl MetricWorld for Measured {
    fn port(&self) -> &dyn MetricQuery {
        &self.fake
    }
    async fn measured(
        &self,
        every: Duration,
        series: &[(&str, Vec<f64>)],
    ) -> (DateTime<Utc>, MetricQuestion) {
        let start = DateTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let question = question(&format!("query-{}", self.last.fetch_add(1, Ordering::Relaxed)));
        let series = series.iter().map(|(side, values)| Series {
            labels: BTreeMap::from([("side".to_owned(), (*side).to_owned())]),
            samples: (0..)
                .zip(values)
                .map(|(n, &value)| Sample {
                    at: start + every * n,
                    value,
                })
                .collect(),
        });
        self.fake.set_series(&question.query, series.collect());
        self.fake.set("unmeasured", &[]);
        (start, question)
    }
    fn unmeasured(&self) -> MetricQuestion {
        question("unmeasured")
    }
    fn nonsense(&self) -> MetricQuestion {
        question("nonsense(")
    }
    async fn stop(&self) {
        let gone = Fault::Fail(Error::unavailable("connection refused"));
        self.fake.faults().times(10, MetricOp::Range, gone);
    }
}

mod metrics {
    ports::metrics_conformance!(super::Measured::default());
}

#[derive(Default)]
struct Answers {
    fake: FakeProbe,
    last: AtomicU64,
}

#[async_trait]
impl ProbeWorld for Answers {
    fn port(&self) -> &dyn Probe {
        &self.fake
    }
    async fn answers(&self, status: u16, body: &str) -> String {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let url = format!("http://app-{number}.example/health");
        self.fake.set(&url, Answer::Says(status, body.to_owned()));
        url
    }
    async fn listens(&self) -> String {
        self.fake
            .set("app.example:5432", Answer::Says(200, String::new()));
        "app.example:5432".to_owned()
    }
    async fn refuses(&self) -> String {
        "app.example:1".to_owned()
    }
    async fn hangs(&self) -> String {
        self.fake.set("http://slow.example/", Answer::Hangs);
        "http://slow.example/".to_owned()
    }
    async fn runs(&self, code: u8, says: &str) -> String {
        let answer = Answer::Says(code.into(), says.to_owned());
        self.fake.set("check", answer);
        "check".to_owned()
    }
    async fn runs_on(&self) -> String {
        self.fake.set("slow-check", Answer::Hangs);
        "slow-check".to_owned()
    }
}

mod probe {
    ports::probe_conformance!(super::Answers::default());
}

#[derive(Default)]
struct Forge {
    fake: FakeEnvironments,
}

#[async_trait]
impl EnvironmentWorld for Forge {
    fn port(&self) -> &dyn Environments {
        &self.fake
    }
    async fn tagged(&self, tag: &str) -> (RepoRef, Commit) {
        let repo = RepoRef {
            provider: "fake".to_owned(),
            url: String::new(),
            project: "group/app".to_owned(),
        };
        let commit = Commit {
            sha: "a".repeat(40),
            at: DateTime::UNIX_EPOCH,
            git_ref: tag.to_owned(),
            is_tag: true,
        };
        self.fake.add_commit(&repo, commit.clone());
        (repo, commit)
    }
    async fn records(&self) -> Vec<Vec<RecordStatus>> {
        self.fake
            .records()
            .into_iter()
            .map(|(_, _, statuses)| statuses)
            .collect()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        self.fake.faults().next(EnvironmentOp::Create, fault(breakage));
    }
}

mod environments {
    ports::environments_conformance!(super::Forge::default());
}

#[async_trait]
impl DeploymentWorld for FakeLog {
    fn log(&self) -> &dyn DeploymentLog {
        &self.0
    }
    async fn commit(&self, staged: Vec<Staged>) {
        staged.iter().for_each(|staged| self.0.apply(staged));
    }
    async fn advance(&self, by: Duration) {
        self.0.advance(by);
    }
}

#[derive(Default)]
struct FakeLog(FakeDeployments);

mod deployments {
    ports::deployments_conformance!(super::FakeLog::default());
}

type Table = Arc<Mutex<BTreeMap<TaskId, (TaskStatus, Vec<String>)>>>;

struct Tasks {
    fake: FakeCancels,
    table: Table,
    paused: Arc<Mutex<HashMap<TaskId, Paused>>>,
}

impl Tasks {
    fn new() -> Self {
        let table = Table::default();
        let (cancelled, told) = (Arc::clone(&table), Arc::clone(&table));
        let cancel = move |task: &TaskId| {
            let mut table = cancelled.lock().expect("no panic");
            if let Some((status, _)) = table.get_mut(task).filter(|(status, _)| !status.is_terminal()) {
                *status = TaskStatus::Cancelled;
            }
        };
        let signal = move |task: &TaskId, name: &str| {
            let mut table = told.lock().expect("no panic");
            if let Some((_, signals)) = table.get_mut(task).filter(|(status, _)| !status.is_terminal()) {
                signals.push(name.to_owned());
            }
        };
        let paused = Arc::new(Mutex::new(HashMap::<TaskId, Paused>::new()));
        let wishes = Arc::clone(&paused);
        let look = move |task: &TaskId| wishes.lock().expect("no panic").get(task).cloned();
        let fake = FakeCancels::over(cancel, signal, look);
        Self { fake, table, paused }
    }

    fn add(&self, status: TaskStatus) -> TaskId {
        let mut table = self.table.lock().expect("no panic");
        let id = TaskId::from(format!("task-{}", table.len()));
        table.insert(id.clone(), (status, Vec::new()));
        id
    }
}

#[async_trait]
impl CancelWorld for Tasks {
    fn port(&self) -> &dyn Cancels {
        &self.fake
    }
    async fn waiting(&self) -> TaskId {
        self.add(TaskStatus::Waiting)
    }
    async fn completed(&self) -> TaskId {
        self.add(TaskStatus::Completed)
    }
    async fn status(&self, task: &TaskId) -> Option<TaskStatus> {
        let table = self.table.lock().expect("no panic");
        table.get(task).map(|(status, _)| *status)
    }
    async fn signals(&self, task: &TaskId) -> Vec<String> {
        let table = self.table.lock().expect("no panic");
        table
            .get(task)
            .map(|(_, signals)| signals.clone())
            .unwrap_or_default()
    }
    async fn pause(&self, task: &TaskId, why: Option<&str>) {
        let wish = why.map(|why| Paused {
            by: "ada".to_owned(),
            why: Some(why.to_owned()),
            at: DateTime::UNIX_EPOCH,
        });
        match wish {
            None => _ = self.paused.lock().expect("no panic").remove(task),
            Some(wish) => _ = self.paused.lock().expect("no panic").insert(task.clone(), wish),
        }
        self.fake.signal(task, PAUSE_CHANGED).await.expect("sends it");
    }
}

mod cancels {
    ports::cancels_conformance!(super::Tasks::new());
}

#[derive(Default)]
struct Registered(FakeRepos);

#[async_trait]
impl RepoWorld for Registered {
    fn port(&self) -> &dyn ports::Repos {
        &self.0
    }
    async fn add(&self, id: &str, project: &str, slug: &str, name: &str) {
        self.0.put(domain::Repo {
            id: id.to_owned(),
            name: name.to_owned(),
            slug: Some(slug.to_owned()),
            at: RepoRef {
                provider: "fake".to_owned(),
                url: String::new(),
                project: project.to_owned(),
            },
            default_branch: "main".to_owned(),
            autonomy_mode: domain::Autonomy::Full,
            settings: serde_json::json!({}),
            status: domain::RepoStatus::Active,
        });
    }
}

mod repos {
    ports::repos_conformance!(super::Registered::default());
}
