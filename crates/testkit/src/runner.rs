//! Runs a scene to its end: claims, drives and settles as a worker does, while a plan of faults is carried out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use domain::{NewTask, Report, TaskId, Verdict};
use durable::memory::{Claimed, Settled};
use durable::{AnyHandler, Attempt, CancelFlag, Lease, Limits, Outcome, drive};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::backend::{Backend, Seen};
use crate::faulty::{Call, Event, Faults, Faulty, Plan};

/// Handlers, tasks for them, and a way to see what they did to the world outside.
pub struct Scene {
    handlers: Vec<Arc<AnyHandler>>,
    tasks: Vec<NewTask>,
    answers: Vec<(String, Value)>,
    outside: Box<dyn Fn() -> Value + Send + Sync>,
    limits: Limits,
}

impl Scene {
    pub fn new(handler: AnyHandler) -> Self {
        Self {
            handlers: vec![Arc::new(handler)],
            tasks: Vec::new(),
            answers: Vec::new(),
            outside: Box::new(|| Value::Null),
            limits: Limits::default(),
        }
    }

    /// Another handler, for tasks that the first one spawns.
    #[must_use]
    pub fn and(mut self, handler: AnyHandler) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// Tasks are enqueued in this order. A task that no handler serves is completed as by another agent.
    #[must_use]
    pub fn task(mut self, task: NewTask) -> Self {
        self.tasks.push(task);
        self
    }

    /// The signal that is sent once a task waits for that name.
    #[must_use]
    pub fn answer(mut self, signal: &str, value: Value) -> Self {
        self.answers.push((signal.to_owned(), value));
        self
    }

    /// What the handlers did outside: a value that is the same whenever the effects are the same.
    #[must_use]
    pub fn fingerprint(mut self, outside: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.outside = Box::new(outside);
        self
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// How a scene ended. Task ids are replaced by their place (`T0`, its first child `T0.0`), so that runs compare.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Of each task: status, why held, report, error, done steps, what was told.
    pub tasks: BTreeMap<String, Value>,
    pub staged: Vec<Value>,
    pub outside: Value,
    /// Every call of the journal, and of settling, that was made on the way.
    pub calls: Vec<Call>,
    /// How many of the planned faults came to pass.
    pub hits: usize,
    /// A cancel came in time to be obeyed.
    pub must_cancel: bool,
    /// Rules that were broken on the way, whatever the end.
    pub violations: Vec<String>,
}

impl Ending {
    /// The same without the steps of the tasks' runs: a run that was cancelled in the middle may or may not
    /// have recorded what it was at; only what it undid counts.
    #[must_use]
    pub fn without_run_steps(mut self) -> Self {
        for task in self.tasks.values_mut() {
            if let Some(steps) = task["steps"].as_array_mut() {
                steps.retain(|step| step.as_str().is_some_and(|step| !step.starts_with("run/")));
            }
        }
        self
    }

    /// What differs between two endings, in words; nothing when they are the same.
    pub fn difference(&self, other: &Ending) -> Option<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, a: &Value, b: &Value| {
            if a != b {
                found.push(format!("{what}:\n    expected {a}\n    found    {b}"));
            }
        };
        compare("effects outside", &self.outside, &other.outside);
        compare("records", &json!(self.staged), &json!(other.staged));
        let names: std::collections::BTreeSet<_> = self.tasks.keys().chain(other.tasks.keys()).collect();
        for name in names {
            let of = |ending: &Ending| ending.tasks.get(name).cloned().unwrap_or(Value::Null);
            compare(&format!("task {name}"), &of(self), &of(other));
        }
        (!found.is_empty()).then(|| found.join("\n  "))
    }

    pub fn status(&self, task: &str) -> &str {
        self.tasks
            .get(task)
            .and_then(|task| task["status"].as_str())
            .unwrap_or("missing")
    }
}

/// More attempts than any scene needs; beyond it two sides hand a task to and fro for ever.
const ATTEMPTS: usize = 2_000;

pub async fn run<B: Backend>(backend: B, scene: Scene, plan: Plan) -> Ending {
    let (faults, events) = Faults::new(backend.clone(), plan);
    let mut tasks = Vec::new();
    for task in &scene.tasks {
        tasks.push(backend.enqueue(task.clone()).await);
    }
    {
        let mut inner = faults.inner();
        inner.first = tasks.first().cloned();
        inner.early = scene.answers.clone();
    }
    let mut runner = Runner {
        backend,
        scene,
        faults,
        events,
        zombies: Vec::new(),
        answered: HashSet::new(),
        workers: 1,
    };
    runner.play().await;
    runner.ending(&tasks).await
}

struct Runner<B> {
    backend: B,
    scene: Scene,
    faults: Faults<B>,
    events: mpsc::UnboundedReceiver<Event>,
    zombies: Vec<(Lease, BoxFuture<'static, bool>)>,
    answered: HashSet<(TaskId, String)>,
    workers: u32,
}

impl<B: Backend> Runner<B> {
    async fn play(&mut self) {
        for _ in 0..ATTEMPTS {
            let taken_over = self.faults.inner().stash.pop();
            let claimed = match taken_over {
                Some(claimed) => Some(claimed),
                None => self.backend.claim(&self.worker()).await,
            };
            if let Some(claimed) = claimed {
                self.attempt(claimed).await;
            } else if self.answer().await {
            } else if let Some(by) = self.backend.until_next().await {
                self.backend.advance(by).await;
            } else if self.zombies.is_empty() {
                return;
            } else {
                self.wake_zombies().await;
            }
        }
        let mut inner = self.faults.inner();
        inner.violations.push(format!("no end after {ATTEMPTS} turns"));
    }

    fn worker(&self) -> String {
        format!("worker-{}", self.workers)
    }

    async fn attempt(&mut self, claimed: Claimed) {
        let lease = claimed.lease.clone();
        let handler = self
            .scene
            .handlers
            .iter()
            .find(|handler| handler.task_types().contains(&claimed.info.task_type.as_str()))
            .cloned();
        let Some(handler) = handler else {
            let report = Report::new(Verdict::Succeeded, "done by another agent");
            let outcome = Outcome::Ended {
                status: domain::TaskStatus::Completed,
                report: Box::new(report),
                error: None,
            };
            self.backend.settle(&lease, outcome).await;
            return;
        };
        let mut attempt = one_attempt(
            self.backend.clone(),
            self.faults.clone(),
            handler,
            claimed,
            &self.scene.limits,
        );
        loop {
            tokio::select! {
                biased;
                event = self.events.recv() => match event {
                    Some(Event::Crashed(dead)) => {
                        self.hand_over(&dead).await;
                        return;
                    }
                    Some(Event::Paused(paused)) => {
                        self.hand_over(&paused).await;
                        self.zombies.push((paused, attempt));
                        return;
                    }
                    None => {}
                },
                written = &mut attempt => {
                    self.check(&lease, written);
                    return;
                }
            }
        }
    }

    /// The lease of a worker that is dead, or looks so, ran out: the next one has the task.
    async fn hand_over(&mut self, lease: &Lease) {
        if self.faults.inner().lost.contains(lease) {
            return;
        }
        self.workers += 1;
        let had = self.backend.one(&lease.task).await;
        if had.is_over() {
            return;
        }
        // Nothing to take over when it had settled before it died.
        if let Some(claimed) = self.backend.take_over(&lease.task, &self.worker()).await {
            let mut inner = self.faults.inner();
            inner.lost.insert(lease.clone());
            inner.stash.push(claimed);
        }
    }

    async fn wake_zombies(&mut self) {
        self.faults.release();
        for (lease, mut zombie) in std::mem::take(&mut self.zombies) {
            tokio::select! {
                biased;
                // It may die, now that it goes on.
                _ = self.events.recv() => {}
                written = &mut zombie => self.check(&lease, written),
            }
        }
    }

    fn check(&self, lease: &Lease, written: bool) {
        let mut inner = self.faults.inner();
        let lost = inner.lost.contains(lease);
        if lost == written {
            inner.violations.push(if lost {
                format!(
                    "attempt {} of {} had lost its lease and settled all the same",
                    lease.attempt, lease.task
                )
            } else {
                format!(
                    "attempt {} of {} was told that its lease is lost, which it was not",
                    lease.attempt, lease.task
                )
            });
        }
    }

    /// Sends one signal that a task waits for.
    async fn answer(&mut self) -> bool {
        for seen in self.backend.seen().await {
            let Some(wake) = seen.waits_for.filter(|_| !seen.status.is_terminal()) else {
                continue;
            };
            for name in wake.signals {
                let answer = self.scene.answers.iter().find(|(signal, _)| *signal == name);
                if let Some((_, value)) = answer
                    && self.answered.insert((seen.id.clone(), name.clone()))
                {
                    self.backend.signal(&seen.id, &name, value.clone()).await;
                    return true;
                }
            }
        }
        false
    }

    async fn ending(&self, roots: &[TaskId]) -> Ending {
        let seen = self.backend.seen().await;
        let names = names(roots, &seen);
        let mut tasks = BTreeMap::new();
        for task in &seen {
            let mut done = task.done.clone();
            // Branches run side by side: only the order within each scope means something.
            done.sort_by_key(|step| step.rsplit_once('/').map(|(scope, _)| scope.to_owned()));
            let mut told: Vec<Value> = self
                .backend
                .told(&task.id)
                .await
                .iter()
                .map(|told| json!(told))
                .collect();
            told.sort_by_key(Value::to_string);
            let value = json!({
                "status": task.status,
                "held": task.held,
                "report": task.report,
                "error": task.error,
                "steps": done,
                "told": told,
            });
            let name = names
                .iter()
                .find(|(id, _)| *id == task.id)
                .map(|(_, name)| name.clone());
            tasks.insert(
                name.unwrap_or_else(|| format!("stray {}", task.id)),
                rename(&value, &names),
            );
        }
        let mut staged: Vec<Value> = self
            .backend
            .staged()
            .await
            .iter()
            .map(|staged| rename(&json!(staged), &names))
            .collect();
        staged.sort_by_key(Value::to_string);
        let inner = self.faults.inner();
        Ending {
            tasks,
            staged,
            outside: rename(&(self.scene.outside)(), &names),
            calls: inner.calls.clone(),
            hits: inner.hits,
            must_cancel: inner.must_cancel,
            violations: inner.violations.clone(),
        }
    }
}

/// What a worker does with a claimed task. True when it settled it, false when it found its lease lost.
fn one_attempt<B: Backend>(
    backend: B,
    faults: Faults<B>,
    handler: Arc<AnyHandler>,
    claimed: Claimed,
    limits: &Limits,
) -> BoxFuture<'static, bool> {
    let cancel = CancelFlag::default();
    if claimed.cancelled {
        cancel.raise();
    }
    let limits = Limits {
        failures: claimed.failures,
        ..limits.clone()
    };
    faults
        .inner()
        .flags
        .insert(claimed.info.id.clone(), cancel.clone());
    Box::pin(async move {
        let lease = claimed.lease;
        let journal = Arc::new(Faulty {
            journal: backend.journal(),
            faults: faults.clone(),
        });
        let mut first = lease.attempt == 1;
        loop {
            let attempt = Attempt {
                task: claimed.info.clone(),
                lease: lease.clone(),
                first: std::mem::take(&mut first),
                journal: journal.clone(),
                cancel: cancel.clone(),
                limits: limits.clone(),
            };
            let outcome = drive(&handler, attempt).await;
            if outcome == Outcome::LeaseLost {
                return false;
            }
            match settle(&backend, &faults, &lease, &outcome).await {
                Settled::Written => return true,
                Settled::CancelRequested => cancel.raise(),
                Settled::LeaseLost => return false,
            }
        }
    })
}

/// Tries until it is told an answer. That it was written by a try whose answer got lost shows as a lost lease.
async fn settle<B: Backend>(backend: &B, faults: &Faults<B>, lease: &Lease, outcome: &Outcome) -> Settled {
    let mut written = false;
    loop {
        let Ok(entered) = faults.enter("settle", lease, None).await else {
            continue;
        };
        let settled = backend.settle(lease, outcome.clone()).await;
        let left = faults.leave(entered, lease, settled == Settled::Written).await;
        match (settled, left) {
            (Settled::LeaseLost, _) if written => return Settled::Written,
            (settled, Ok(())) => return settled,
            (settled, Err(_)) => written |= settled == Settled::Written,
        }
    }
}

/// Names for ids: roots by their order, children by what they are asked to do.
fn names(roots: &[TaskId], seen: &[Seen]) -> Vec<(TaskId, String)> {
    let mut names: Vec<(TaskId, String)> = roots
        .iter()
        .enumerate()
        .map(|(place, id)| (id.clone(), format!("T{place}")))
        .collect();
    let mut next = 0;
    while let Some((parent, name)) = names.get(next).cloned() {
        let mut children: Vec<&Seen> = seen
            .iter()
            .filter(|task| task.parent.as_ref() == Some(&parent))
            .collect();
        children.sort_by_key(|task| (task.task_type.clone(), task.payload.to_string()));
        for (place, child) in children.into_iter().enumerate() {
            names.push((child.id.clone(), format!("{name}.{place}")));
        }
        next += 1;
    }
    names
}

fn rename(value: &Value, names: &[(TaskId, String)]) -> Value {
    let mut text = value.to_string();
    for (id, name) in names {
        text = text.replace(id.as_str(), name);
    }
    // A name is plain text, so what was JSON stays JSON.
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
