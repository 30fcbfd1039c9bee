use std::time::Duration;

use domain::{Error, NewTask, Report, TaskId, Verdict};
use durable::{Cause, Handler, Reconciled, Stop, TaskCx, join_all};
use futures_util::future::BoxFuture;
use ports::FlakeVerdict;
use serde_json::{Value, json};

use super::{Node, Outside, Program};

/// Does what its payload, a [`Program`], says.
#[derive(Clone, Default)]
pub struct Scripted {
    pub outside: Outside,
}

impl Handler for Scripted {
    const TASK_TYPES: &'static [&'static str] = &["scripted"];
    type Params = Program;

    async fn run(&self, cx: &TaskCx, program: &Program) -> Result<Report, Stop> {
        let task = &cx.task().id;
        self.outside.born(task, cx.task().parent.as_ref());
        let saw = self.all(cx, &program.run).await?;
        self.leave(cx).await?;
        let mut report = Report::new(Verdict::Succeeded, "done");
        report.data = json!(saw);
        Ok(report)
    }

    /// Undoes what the run did, last first: what may be repeated blindly, what may not only where the journal
    /// says that it was begun.
    async fn unwind(&self, cx: &TaskCx, program: &Program, cause: &Cause) -> Result<Report, Stop> {
        let saw = self.all(cx, &program.unwind).await?;
        self.undo(cx, &program.run).await?;
        self.leave(cx).await?;
        let mut report = cause.report();
        report.data = json!(saw);
        Ok(report)
    }
}

type Saw = Vec<Value>;

impl Scripted {
    async fn leave(&self, cx: &TaskCx) -> Result<(), Stop> {
        cx.step("leave", |_| async {
            self.outside.leave(&cx.task().id);
            Ok(())
        })
        .await
    }

    fn all<'a>(&'a self, cx: &'a TaskCx, nodes: &'a [Node]) -> BoxFuture<'a, Result<Saw, Stop>> {
        Box::pin(async move {
            let mut saw = Vec::new();
            for node in nodes {
                saw.push(self.one(cx, node).await?);
            }
            Ok(saw)
        })
    }

    async fn one(&self, cx: &TaskCx, node: &Node) -> Result<Value, Stop> {
        let thing = |key: &str| thing(&cx.task().id, key);
        match node {
            Node::Step { key, flaky } => {
                let wanted = thing(key);
                cx.step(key.as_str(), |_| async {
                    self.outside.refuse(&wanted, *flaky)?;
                    self.outside.put(&wanted);
                    Ok(json!({"put": key}))
                })
                .await
            }
            Node::Effect { key, flaky, cut } => self.effect(cx, key, *flaky, *cut).await,
            Node::Fail { key, caught } => {
                let failed = cx
                    .step(key.as_str(), |_| async {
                        Err::<(), _>(Error::rejected(format!("{key} is bad")))
                    })
                    .await;
                match failed {
                    Err(Stop::Fail(error)) if *caught => Ok(json!(error)),
                    other => other.map(|()| Value::Null),
                }
            }
            Node::GiveUp { key } => {
                cx.step(key.as_str(), |_| async {
                    Err(Error::unavailable(format!("{key} is down")))
                })
                .await
            }
            Node::Panic { key } => {
                cx.step(key.as_str(), |_| async {
                    if !key.is_empty() {
                        // Quietly: the place and message are caught, and thousands of traces help nobody.
                        std::panic::resume_unwind(Box::new(format!("{key} panicked")));
                    }
                    Ok(Value::Null)
                })
                .await
            }
            Node::Sleep { key, seconds } => cx
                .sleep(key.as_str(), Duration::from_secs(*seconds))
                .await
                .map(|()| Value::Null),
            Node::Wait { key, limit } => {
                let limit = limit.map(Duration::from_secs);
                cx.wait_for::<Value>(key.as_str(), limit)
                    .await
                    .map(|signal| json!(signal))
            }
            Node::Lock { resource } => {
                cx.lock(resource).await?;
                cx.step(("use", resource), |_| async {
                    self.outside.r#use(resource, &cx.task().id);
                    Ok(Value::Null)
                })
                .await
            }
            Node::Spawn { key, child, awaited } => {
                let id = cx
                    .spawn(key.as_str(), NewTask::new("scripted", json!(child)))
                    .await?;
                if !awaited {
                    return Ok(json!({"child": id}));
                }
                let outcome = cx.await_child(&id).await?;
                Ok(json!({"child": id, "ended": outcome.status, "result": outcome.result["data"]}))
            }
            Node::Branches { name, of } => {
                let branches = of.iter().enumerate().map(|(place, nodes)| async move {
                    let cx = cx.branch(&format!("{name}-{place}"))?;
                    self.all(&cx, nodes).await
                });
                join_all(branches).await.map(|saw| json!(saw))
            }
            Node::Tell { key } => cx
                .tell(key.as_str(), &Report::new(Verdict::Running, key.as_str()))
                .await
                .map(|()| Value::Null),
            Node::Remember { key } => {
                cx.step(key.as_str(), |idem| async move {
                    let verdict = FlakeVerdict {
                        repo_id: "repo".into(),
                        job: key.clone(),
                        git_ref: "main".into(),
                        sha: "0".into(),
                        class: "scripted".into(),
                        retried: false,
                        task_id: cx.task().id.clone(),
                        at: None,
                    };
                    idem.stage("flake", json!(verdict));
                    Ok(Value::Null)
                })
                .await
            }
        }
    }

    async fn effect(&self, cx: &TaskCx, key: &str, flaky: u32, cut: bool) -> Result<Value, Stop> {
        let wanted = thing(&cx.task().id, key);
        let gave = json!({"added": key});
        cx.effect(key)
            .reconcile(|_| async {
                Ok(if self.outside.was_added(&wanted) {
                    Reconciled::Found(gave.clone())
                } else {
                    Reconciled::Absent
                })
            })
            .run(|_| async {
                self.outside.refuse(&wanted, flaky)?;
                self.outside.add(&wanted);
                if cut {
                    return Err(Error::timeout("the connection was cut"));
                }
                Ok(gave.clone())
            })
            .await
    }

    fn undo<'a>(&'a self, cx: &'a TaskCx, nodes: &'a [Node]) -> BoxFuture<'a, Result<(), Stop>> {
        Box::pin(async move {
            for node in nodes.iter().rev() {
                match node {
                    Node::Effect { key, .. } if !was_begun(cx, key)? => {}
                    Node::Step { key, .. } | Node::Effect { key, .. } => self.remove(cx, key).await?,
                    Node::Branches { name, of } => {
                        for (place, nodes) in of.iter().enumerate() {
                            let cx = cx.branch(&format!("{name}-{place}"))?;
                            self.undo(&cx, nodes).await?;
                        }
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }

    async fn remove(&self, cx: &TaskCx, key: &str) -> Result<(), Stop> {
        let unwanted = thing(&cx.task().id, key);
        cx.step(("undo", key), |_| async {
            self.outside.remove(&unwanted);
            Ok(())
        })
        .await
    }
}

fn was_begun(cx: &TaskCx, key: &str) -> Result<bool, Stop> {
    Ok(cx.recorded::<Value>(key)?.is_some() || cx.is_in_doubt(key))
}

/// What a step of a task is called outside.
pub(super) fn thing(task: &TaskId, key: &str) -> String {
    format!("{task}:{key}")
}
