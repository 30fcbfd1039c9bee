//! The same over the real table, journal and log: what steps record comes back from them as it was.

use std::sync::{Arc, Mutex};

use deploy::{Deploy, Outside};
use durable::AnyHandler;
use ports::fake::Answer;
use serde_json::{Value, json};
use testkit::{Findings, Matrix, OnPostgres, Scene};

use crate::bench::{Bench, task};

/// Runs it undisturbed, which must end with this verdict, then with something going wrong at every fifth point.
async fn ends_the_same(
    make: impl Fn() -> Bench,
    payload: Value,
    answer: Option<(String, &str)>,
    verdict: &str,
) -> (Findings, Bench) {
    let backend = OnPostgres::new(&["deploy"]).await;
    let settings = make().settings.to_string().replace('\'', "''");
    backend
        .database()
        .sql(&format!(
            "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode, settings)
             VALUES ('shop', 'shop', 'https://forge.example', 'group/shop', 'full', '{settings}')"
        ))
        .await;
    let current = Mutex::new(None::<Bench>);
    let bench = || {
        let current = current.lock().expect("no panic").clone();
        current.expect("made with its table")
    };
    let scene = || {
        let bench = bench();
        let store = Arc::new(backend.store().clone());
        let outside = Outside {
            log: store.clone(),
            cancels: store.clone(),
            repos: store,
            ..bench.outside()
        };
        let scene = Scene::new(AnyHandler::new(Deploy::new(outside)));
        let scene = match &answer {
            Some((question, decision)) => scene.answer(question, crate::bench::answer(decision)),
            None => scene,
        };
        scene
            .task(task("deploy", payload.clone()))
            .fingerprint(move || bench.fingerprint())
    };
    let fresh = async || {
        *current.lock().expect("no panic") = Some(make());
        backend.fresh().await
    };
    let undisturbed = testkit::run(fresh().await, scene(), Vec::new()).await;
    assert_eq!(
        undisturbed.tasks["T0"]["report"]["verdict"], verdict,
        "{:#}",
        undisturbed.tasks["T0"]
    );
    let findings = Matrix::of(scene).single().every(5).run(fresh).await;
    findings.assert_clean();
    assert!(findings.cases > 50, "only {} cases", findings.cases);
    (findings, bench())
}

#[tokio::test]
async fn a_canary_that_fails_ends_the_same_on_postgres() {
    let canary = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 20}, {"pause": "30s"}, {"analyse": {}}]}});
    let (_, bench) = ends_the_same(|| Bench::new().bad(), canary, None, "rolled_back").await;
    assert_eq!(bench.shares().last(), Some(&0.0));
}

#[tokio::test]
async fn a_group_whose_last_service_fails_ends_the_same_on_postgres() {
    let unwell = || {
        let bench = crate::group::shop();
        bench.answers_with(&crate::group::health("web"), "shop/web", "v0", Answer::Refuses);
        bench
    };
    let (findings, _) = ends_the_same(unwell, crate::group::all(), None, "rolled_back").await;
    println!("{} cases over {} calls", findings.cases, findings.calls);
}

/// It takes its lock, lets it go while it asks, and takes it again.
#[tokio::test]
async fn an_approved_deployment_ends_the_same_on_postgres() {
    let asks = || Bench::new().with(|staging| staging["approval"] = json!({"required": true}));
    let payload = || crate::bench::to("v2", "rolling");
    let bench = asks();
    let id = bench.enqueue("deploy", payload());
    bench.settle().await;
    let question = bench.waits_for(&id).remove(0);
    let answer = Some((question, "approved"));
    let (_, bench) = ends_the_same(asks, payload(), answer, "succeeded").await;
    assert_eq!(bench.stands(), crate::bench::runs("v2"));
}
