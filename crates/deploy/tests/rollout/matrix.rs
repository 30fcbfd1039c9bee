//! Every strategy, well and badly, through the crash matrix: killed at every step boundary and inside every effect,
//! once and twice, and cancelled at every point, it ends the same and does nothing twice.

use durable::memory::World;
use ports::JobStatus;
use ports::fake::{Answer, Behaviour};
use serde_json::{Value, json};
use testkit::{Findings, Matrix, Scene};

use crate::bench::{Bench, HEALTH, task, to, workload};

/// A scene over one bench, whose log reads the table that the case runs on.
struct Staged<F> {
    make: F,
    task_type: &'static str,
    payload: Value,
    answers: Vec<(String, &'static str)>,
    /// Every n-th point only, where there are very many.
    stride: usize,
}

impl<F: Fn() -> Bench> Staged<F> {
    fn of(make: F, payload: Value) -> Self {
        Self {
            make,
            task_type: "deploy",
            payload,
            answers: Vec::new(),
            stride: 1,
        }
    }

    async fn run(&self, pairs: bool) -> Findings {
        let current = std::sync::Mutex::new(None::<Bench>);
        let scene = || {
            let bench = current
                .lock()
                .expect("no panic")
                .clone()
                .expect("made with its table");
            let mut handlers = bench.handlers().into_iter();
            let mut scene = Scene::new(handlers.next().expect("a handler"));
            for handler in handlers {
                scene = scene.and(handler);
            }
            for (signal, decision) in &self.answers {
                scene = scene.answer(signal, crate::bench::answer(decision));
            }
            scene
                .task(task(self.task_type, self.payload.clone()))
                .fingerprint(move || bench.fingerprint())
        };
        // The table of a case is made first, then its scene.
        let fresh = async || -> World {
            let bench = (self.make)();
            let world = bench.fresh();
            *current.lock().expect("no panic") = Some(bench);
            world
        };
        let matrix = Matrix::of(scene).every(self.stride);
        let matrix = if pairs { matrix } else { matrix.single() };
        matrix.run(fresh).await
    }

    async fn assert_clean(&self) {
        let findings = self.run(true).await;
        findings.assert_clean();
        println!("{} cases over {} calls", findings.cases, findings.calls);
        assert!(findings.cases > 500, "only {} cases", findings.cases);
    }
}

/// Two weights are as good as five here, and the cases grow with the square.
fn canary() -> Value {
    json!({"version": "v2", "environment": "staging", "strategy": "canary",
        "steps": [{"set_weight": 20}, {"pause": "30s"}, {"analyse": {}}]})
}

fn blue_green() -> Value {
    json!({"version": "v2", "environment": "staging", "strategy": {"name": "blue_green", "keep_warm": "30s"}})
}

fn flag() -> Value {
    json!({"version": "v2", "environment": "staging", "strategy": "feature_flag",
        "steps": [{"set_weight": 20}, {"pause": "30s"}, {"analyse": {}}]})
}

fn by_replicas() -> Bench {
    Bench::new().with(|staging| {
        staging.as_object_mut().expect("an object").remove("router");
    })
}

#[tokio::test]
async fn a_rolling_deployment() {
    Staged::of(Bench::new, to("v2", "rolling")).assert_clean().await;
}

#[tokio::test]
async fn a_rolling_deployment_that_fails() {
    let unwell = || {
        let bench = Bench::new();
        let said = Answer::Says(503, "out of order".to_owned());
        bench.answers_with(HEALTH, "shop/checkout", "v2", said);
        bench
    };
    Staged::of(unwell, to("v2", "rolling")).assert_clean().await;
}

#[tokio::test]
async fn a_blue_green_deployment() {
    Staged::of(Bench::new, blue_green()).assert_clean().await;
}

#[tokio::test]
async fn a_blue_green_deployment_that_fails() {
    Staged::of(|| Bench::new().bad(), blue_green())
        .assert_clean()
        .await;
}

#[tokio::test]
async fn a_canary() {
    Staged::of(Bench::new, canary()).assert_clean().await;
}

#[tokio::test]
async fn a_canary_that_fails() {
    Staged::of(|| Bench::new().bad(), canary()).assert_clean().await;
}

#[tokio::test]
async fn a_canary_by_replicas() {
    Staged::of(by_replicas, canary()).assert_clean().await;
}

#[tokio::test]
async fn a_canary_by_replicas_that_fails() {
    Staged::of(|| by_replicas().bad(), canary()).assert_clean().await;
}

#[tokio::test]
async fn a_feature_flag() {
    Staged::of(Bench::new, flag()).assert_clean().await;
}

#[tokio::test]
async fn a_feature_flag_that_fails() {
    let bad = || {
        let bench = Bench::new();
        bench.errors_while_on(0.05);
        bench
    };
    Staged::of(bad, flag()).assert_clean().await;
}

/// The version that is rolled back was brought out by a task that nobody disturbed.
fn rolled_out() -> Bench {
    let bench = Bench::new();
    bench.fleet.add_running(&workload(), &["v0", "v1", "v2"], 4);
    bench
}

#[tokio::test]
async fn a_rollback() {
    let mut staged = Staged::of(rolled_out, json!({"environment": "staging", "reason": "slow"}));
    staged.task_type = "rollback";
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_first_deployment_that_fails() {
    let first = || {
        let bench = Bench::new();
        bench.fleet.add_empty(&workload());
        bench.probe.set(HEALTH, Answer::Refuses);
        bench
    };
    Staged::of(first, to("v2", "rolling")).assert_clean().await;
}

#[tokio::test]
async fn an_approved_deployment() {
    let asks = || Bench::new().with(|staging| staging["approval"] = json!({"required": true}));
    let bench = asks();
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    let question = bench.waits_for(&id).remove(0);
    let mut staged = Staged::of(asks, to("v2", "rolling"));
    staged.answers = vec![(question, "approved")];
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_canary_whose_smoke_test_is_a_job() {
    let smoke = || {
        let bench = Bench::new().built("v2", JobStatus::Succeeded);
        bench.with(|staging| staging["smoke"] = json!([{"job": {}}]))
    };
    let payload = json!({"version": "v2", "environment": "staging", "strategy": "canary",
        "steps": [{"set_weight": 20}]});
    Staged::of(smoke, payload).assert_clean().await;
}

#[tokio::test]
async fn a_canary_whose_smoke_job_fails() {
    let smoke = || {
        let bench = Bench::new().built("v2", JobStatus::Failed);
        bench.with(|staging| staging["smoke"] = json!([{"job": {}}]))
    };
    let payload = json!({"version": "v2", "environment": "staging", "strategy": "canary",
        "steps": [{"set_weight": 20}]});
    Staged::of(smoke, payload).assert_clean().await;
}

#[tokio::test]
async fn a_rollback_that_takes_the_code_back() {
    let revertible = || {
        let bench = rolled_out();
        bench
            .forge
            .add_change(&crate::bench::at(), &crate::bench::commit("v2").sha, false);
        bench
    };
    let payload = json!({"environment": "staging", "reason": "slow", "revert": true});
    let mut staged = Staged::of(revertible, payload);
    staged.task_type = "rollback";
    staged.assert_clean().await;
}

fn two() -> Value {
    json!({"strategy": "group", "services": {"api": {"version": "v3", "after": ["db"]}, "db": "v2"}})
}

#[tokio::test]
async fn a_group() {
    let mut staged = Staged::of(crate::group::shop, two());
    staged.stride = 2;
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_group_whose_second_service_fails() {
    let unwell = || {
        let bench = crate::group::shop();
        bench.answers_with(&crate::group::health("api"), "shop/api", "v3", Answer::Refuses);
        bench
    };
    let mut staged = Staged::of(unwell, two());
    staged.stride = 5;
    staged.assert_clean().await;
}

#[tokio::test]
async fn an_approved_group() {
    let asks = || {
        let mut bench = crate::group::shop();
        bench.settings["environments"]["api"]["approval"] = json!({"required": true});
        bench
    };
    let bench = asks();
    let id = bench.enqueue("deploy", two());
    bench.settle().await;
    let question = bench.waits_for(&id).remove(0);
    let mut staged = Staged::of(asks, two());
    staged.answers = vec![(question, "approved")];
    let findings = staged.run(false).await;
    findings.assert_clean();
    assert!(findings.cases > 300, "only {} cases", findings.cases);
}

#[tokio::test]
async fn a_canary_that_a_person_stops_in_its_pause() {
    let held = json!({"version": "v2", "environment": "staging", "strategy": "canary",
        "steps": [{"set_weight": 20}, {"pause": {}}, {"set_weight": 50}]});
    let mut staged = Staged::of(Bench::new, held);
    staged.answers = vec![("approval/go on (staging, step 3)".to_owned(), "rejected")];
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_pause_between_two_steps() {
    let paused = || {
        let bench = Bench::new();
        bench.pause(|done| !done.iter().any(|step| step.contains("stands-still")));
        bench
    };
    let mut staged = Staged::of(paused, to("v2", "rolling"));
    staged.answers = vec![("stands-still/start/0".to_owned(), "approved")];
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_pause_in_the_middle_of_a_rolling_update() {
    let paused = || {
        let bench = Bench::new();
        // Its replicas are not ready before it was let go on, however often they are looked at.
        let (fleet, slow) = (bench.fleet.clone(), Behaviour::Slow(u32::MAX));
        fleet.add_version("v2", slow);
        bench.pause(move |done| {
            let has = |word: &str| done.iter().any(|step| step.contains(word));
            if has("stands-still") {
                fleet.add_version("v2", Behaviour::Healthy);
            }
            has("roll-out/") && !has("stands-still")
        });
        bench
    };
    let mut staged = Staged::of(paused, to("v2", "rolling"));
    staged.answers = vec![
        ("pause-changed".to_owned(), "approved"),
        ("stands-still/0-ready-0/0".to_owned(), "approved"),
    ];
    staged.assert_clean().await;
}

#[tokio::test]
async fn a_canary_that_takes_itself_back_and_its_code() {
    let bad = || {
        let bench = Bench::new()
            .bad()
            .with(|staging| staging["rollback"] = json!({"revert": "merge_request"}));
        bench
            .forge
            .add_change(&crate::bench::at(), &crate::bench::commit("v2").sha, false);
        bench
    };
    let mut staged = Staged::of(bad, canary());
    staged.stride = 3;
    staged.assert_clean().await;
}
