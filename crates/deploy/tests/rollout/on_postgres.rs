//! The same over the real table, journal and log: what steps record comes back from them as it was.

use std::sync::{Arc, Mutex};

use deploy::{Deploy, Outside};
use durable::AnyHandler;
use serde_json::json;
use testkit::{Matrix, OnPostgres, Scene};

use crate::bench::{Bench, task};

#[tokio::test]
async fn a_canary_that_fails_ends_the_same_on_postgres() {
    let backend = OnPostgres::new(&["deploy"]).await;
    let settings = Bench::new().settings.to_string().replace('\'', "''");
    backend
        .database()
        .sql(&format!(
            "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode, settings)
             VALUES ('shop', 'shop', 'https://forge.example', 'group/shop', 'full', '{settings}')"
        ))
        .await;
    let current = Mutex::new(None::<Bench>);
    let scene = || {
        let bench = current
            .lock()
            .expect("no panic")
            .clone()
            .expect("made with its table");
        let store = Arc::new(backend.store().clone());
        let outside = Outside {
            log: store.clone(),
            cancels: store,
            ..bench.outside()
        };
        let canary = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
            "steps": [{"set_weight": 20}, {"pause": "30s"}, {"analyse": {}}]}});
        Scene::new(AnyHandler::new(Deploy::new(outside)))
            .task(task("deploy", canary))
            .fingerprint(move || bench.fingerprint())
    };
    let fresh = async || {
        *current.lock().expect("no panic") = Some(Bench::new().bad());
        backend.fresh().await
    };
    let undisturbed = testkit::run(fresh().await, scene(), Vec::new()).await;
    assert_eq!(
        undisturbed.tasks["T0"]["report"]["verdict"], "rolled_back",
        "{:#}",
        undisturbed.tasks["T0"]
    );
    let findings = Matrix::of(scene).single().every(5).run(fresh).await;
    findings.assert_clean();
    assert!(findings.cases > 50, "only {} cases", findings.cases);
    let bench = current.lock().expect("no panic").clone().expect("a bench");
    assert_eq!(bench.shares().last(), Some(&0.0));
}
