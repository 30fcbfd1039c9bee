//! The same crash matrix and the same random handlers as in memory, on the real store.

use domain::NewTask;
use durable::AnyHandler;
use serde_json::json;
use testkit::property::hold;
use testkit::scripted::{Node, Program, Scripted};
use testkit::{Matrix, OnPostgres, Scene};

fn only() -> Option<u64> {
    let seed = std::env::var("LONGSHORE_SEED").ok()?;
    Some(seed.parse().expect("LONGSHORE_SEED is a number"))
}

#[tokio::test]
async fn whatever_goes_wrong_the_end_is_the_same_on_postgres() {
    let backend = OnPostgres::new(&["scripted"]).await;
    let tally = hold(10_000..10_060, only(), async || backend.fresh().await).await;
    println!("{tally:?}");
}

#[tokio::test]
async fn a_run_survives_everything_at_every_point_on_postgres() {
    let child = Program {
        run: vec![Node::Effect {
            key: "inner".into(),
            flaky: 0,
            cut: false,
        }],
        unwind: vec![],
    };
    let program = Program {
        run: vec![
            Node::Lock {
                resource: "staging".into(),
            },
            Node::Effect {
                key: "launch".into(),
                flaky: 0,
                cut: false,
            },
            Node::Sleep {
                key: "bake".into(),
                seconds: 60,
            },
            Node::Wait {
                key: "approval".into(),
                limit: None,
            },
            Node::Spawn {
                key: "child".into(),
                child,
                awaited: true,
            },
            Node::Tell { key: "half".into() },
        ],
        unwind: vec![],
    };
    let scene = || {
        let handler = Scripted::default();
        let outside = handler.outside.clone();
        Scene::new(AnyHandler::new(handler))
            .task(NewTask::new("scripted", json!(program)))
            .answer("approval", json!({"by": "ada"}))
            .fingerprint(move || outside.fingerprint())
    };
    let backend = OnPostgres::new(&["scripted"]).await;
    let findings = Matrix::of(scene)
        .single()
        .run(async || backend.fresh().await)
        .await;
    println!("{findings}");
    findings.assert_clean();
}
