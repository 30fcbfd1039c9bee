//! The crash matrix over a handler that uses everything the SDK has.

use domain::NewTask;
use durable::AnyHandler;
use durable::memory::World;
use serde_json::json;
use testkit::scripted::{Node, Program, Scripted};
use testkit::{Matrix, Scene};

fn scene(program: &Program) -> impl Fn() -> Scene + use<> {
    let program = program.clone();
    move || {
        let handler = Scripted::default();
        let outside = handler.outside.clone();
        let mut scene = Scene::new(AnyHandler::new(handler))
            .task(NewTask::new("scripted", json!(program)))
            .fingerprint(move || outside.fingerprint());
        for name in program.signals() {
            scene = scene.answer(&name, json!({"by": "ada"}));
        }
        scene
    }
}

fn step(key: &str) -> Node {
    Node::Step {
        key: key.into(),
        flaky: 0,
    }
}

fn effect(key: &str) -> Node {
    Node::Effect {
        key: key.into(),
        flaky: 0,
        cut: false,
    }
}

/// Every kind of step once.
fn everything() -> Vec<Node> {
    let child = Program {
        run: vec![
            step("inner"),
            Node::Lock {
                resource: "staging".into(),
            },
        ],
        unwind: vec![],
    };
    vec![
        step("plan"),
        Node::Lock {
            resource: "staging".into(),
        },
        effect("launch"),
        Node::Sleep {
            key: "bake".into(),
            seconds: 60,
        },
        Node::Wait {
            key: "approval".into(),
            limit: None,
        },
        Node::Wait {
            key: "veto".into(),
            limit: Some(5),
        },
        Node::Tell { key: "half".into() },
        Node::Remember { key: "note".into() },
        Node::Spawn {
            key: "child".into(),
            child,
            awaited: true,
        },
        Node::Fail {
            key: "smoke".into(),
            caught: true,
        },
        Node::Effect {
            key: "notify".into(),
            flaky: 1,
            cut: true,
        },
    ]
}

#[tokio::test]
async fn a_run_survives_everything_at_every_point() {
    let program = Program {
        run: everything(),
        unwind: vec![],
    };
    let findings = Matrix::of(scene(&program)).run(async || World::new()).await;
    println!("{findings}");
    findings.assert_clean();
}

#[tokio::test]
async fn an_unwinding_survives_everything_at_every_point() {
    let run = vec![
        step("plan"),
        effect("launch"),
        Node::Fail {
            key: "judge".into(),
            caught: false,
        },
    ];
    let unwind = vec![
        Node::Sleep {
            key: "drain".into(),
            seconds: 30,
        },
        Node::Effect {
            key: "page".into(),
            flaky: 0,
            cut: true,
        },
    ];
    let findings = Matrix::of(scene(&Program { run, unwind }))
        .run(async || World::new())
        .await;
    println!("{findings}");
    findings.assert_clean();
}

#[tokio::test]
async fn branches_survive_everything_at_every_point() {
    let of = vec![
        vec![
            effect("left"),
            Node::Sleep {
                key: "rest".into(),
                seconds: 5,
            },
            step("more"),
        ],
        vec![
            step("right"),
            Node::Wait {
                key: "go".into(),
                limit: None,
            },
            effect("went"),
        ],
    ];
    let run = vec![
        Node::Branches {
            name: "both".into(),
            of,
        },
        step("after"),
    ];
    let findings = Matrix::of(scene(&Program { run, unwind: vec![] }))
        .run(async || World::new())
        .await;
    println!("{findings}");
    findings.assert_clean();
}
