//! The property that durable steps have: whatever handler, whatever goes wrong, the end is the same as if
//! nothing had, with the same effects outside; no step lost, none doubled.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::NewTask;
use durable::{AnyHandler, Limits};
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::faulty::{Fault, Plan};
use crate::runner::{Ending, Scene, run};
use crate::scripted::{Generator, Program, Rng, Scripted, faults, smaller};

/// What a seed stands for.
#[derive(Clone, Debug)]
pub struct Case {
    /// One task each; the second competes for locks with the first.
    pub programs: Vec<Program>,
    pub plan: Plan,
}

impl Case {
    /// Draws programs and, over the length of their undisturbed run, faults. Answers how that run ended too.
    pub async fn draw<B: Backend>(seed: u64, fresh: &impl AsyncFn() -> B) -> (Self, Ending) {
        let mut rng = Rng::new(seed);
        let alone = !rng.one_in(3);
        let programs: Vec<_> = (0..if alone { 1 } else { 2 })
            .map(|_| Generator::new(&mut rng).program(alone))
            .collect();
        let expected = run(fresh().await, scene(&programs), Vec::new()).await;
        let plan = faults(&mut rng, expected.calls.len());
        (Self { programs, plan }, expected)
    }

    /// What is wrong with how it ends; nothing when all is well.
    pub async fn fault<B: Backend>(&self, fresh: &impl AsyncFn() -> B) -> Option<String> {
        let expected = run(fresh().await, scene(&self.programs), Vec::new()).await;
        self.differs(&expected, fresh).await
    }

    async fn differs<B: Backend>(&self, expected: &Ending, fresh: &impl AsyncFn() -> B) -> Option<String> {
        let ending = run(fresh().await, scene(&self.programs), self.plan.clone()).await;
        let mut wrong = expected.violations.clone();
        wrong.extend(ending.violations.clone());
        wrong.extend(self.against_rules(&ending));
        if !self.cancels() {
            wrong.extend(expected.difference(&ending));
        }
        (!wrong.is_empty()).then(|| wrong.join("\n  "))
    }

    fn cancels(&self) -> bool {
        self.plan
            .iter()
            .any(|(_, fault)| matches!(fault, Fault::Cancel { .. }))
    }

    /// What must be so however it ended.
    fn against_rules(&self, ending: &Ending) -> Vec<String> {
        let mut wrong = Vec::new();
        let first = &ending.tasks["T0"];
        let status = ending.status("T0");
        let failed_first = self.programs[0].fails() && status == "failed";
        if ending.must_cancel && status != "cancelled" && first["held"].is_null() && !failed_first {
            wrong.push(format!("the first task was cancelled and ended as {first}"));
        }
        let things = ending.outside["wrong"].as_array().cloned().unwrap_or_default();
        wrong.extend(things.iter().map(|thing| format!("outside: {thing}")));
        for (place, program) in self.programs.iter().enumerate() {
            against_rules(&format!("T{place}"), program, ending, &mut wrong);
        }
        wrong
    }

    /// The smallest case found that still goes wrong.
    pub async fn shrink<B: Backend>(mut self, fresh: &impl AsyncFn() -> B) -> Self {
        'again: loop {
            for candidate in self.smaller() {
                if candidate.fault(fresh).await.is_some() {
                    self = candidate;
                    continue 'again;
                }
            }
            return self;
        }
    }

    fn smaller(&self) -> Vec<Self> {
        let mut all = Vec::new();
        for place in 0..self.plan.len() {
            let mut less = self.clone();
            less.plan.remove(place);
            all.push(less);
        }
        for place in 0..self.programs.len() {
            if self.programs.len() > 1 {
                let mut less = self.clone();
                less.programs.remove(place);
                all.push(less);
            }
            for program in smaller(&self.programs[place]) {
                let mut less = self.clone();
                less.programs[place] = program;
                all.push(less);
            }
        }
        for place in 0..self.plan.len() {
            if self.plan[place].0.call > 0 {
                let mut less = self.clone();
                less.plan[place].0.call -= 1;
                all.push(less);
            }
        }
        all
    }
}

fn scene(programs: &[Program]) -> Scene {
    let handler = Scripted::default();
    let outside = handler.outside.clone();
    let mut scene = Scene::new(AnyHandler::new(handler))
        .fingerprint(move || outside.fingerprint())
        // Enough for all the transient failures that a program and its faults have; what never works gives up.
        .limits(Limits {
            max_attempts: 60,
            ..Limits::default()
        });
    for program in programs {
        scene = scene.task(NewTask::new("scripted", json!(program)));
        for name in program.signals() {
            scene = scene.answer(&name, json!({ "answer": name }));
        }
    }
    scene
}

/// A task that completed left everything that it was to do; one that was unwound left nothing.
fn against_rules(name: &str, program: &Program, ending: &Ending, wrong: &mut Vec<String>) {
    let Some(task) = ending.tasks.get(name) else {
        wrong.push(format!("task {name} is missing"));
        return;
    };
    let stands = |key: &str| ending.outside["stands"].get(format!("{name}:{key}")).is_some();
    let held = !task["held"].is_null();
    let mut say = |what: String| wrong.push(format!("{what}: {task}"));
    match task["status"].as_str() {
        Some("completed") => {
            if program.fails() {
                say(format!("{name} completed and cannot"));
            }
            for key in program.leaves().iter().filter(|key| !stands(key)) {
                say(format!("{name} completed and {key} does not stand"));
            }
        }
        Some("failed" | "cancelled") => {
            for key in program.leaves().iter().filter(|key| stands(key)) {
                say(format!("{name} was unwound and {key} stands"));
            }
        }
        Some("waiting") if held && program.unwinding_fails() => {}
        other => say(format!("{name} ended as {other:?}")),
    }
}

/// Runs the seeds and reports the first one that goes wrong, made small.
///
/// # Panics
/// When a seed goes wrong. `LONGSHORE_SEED=N` in the test's environment runs that one alone, if the test hands
/// it here as `only`.
pub async fn hold<B: Backend>(
    seeds: std::ops::Range<u64>,
    only: Option<u64>,
    fresh: impl AsyncFn() -> B,
) -> Tally {
    let mut tally = Tally::default();
    for seed in only.map_or(seeds, |only| only..only + 1) {
        let (case, expected) = Case::draw(seed, &fresh).await;
        tally.count(&case);
        if let Some(wrong) = case.differs(&expected, &fresh).await {
            let small = case.clone().shrink(&fresh).await;
            let still = small.fault(&fresh).await.unwrap_or_default();
            let ending = run(fresh().await, scene(&small.programs), small.plan.clone()).await;
            let mut calls = String::new();
            for (place, call) in ending.calls.iter().enumerate() {
                let _ = writeln!(calls, "  {place}: {call}");
            }
            panic!(
                "seed {seed} goes wrong (run it alone with LONGSHORE_SEED={seed}):\n  {wrong}\n\nsmallest:\n  plan {:?}\n  \
                 programs {}\n  {still}\ncalls:\n{calls}",
                small.plan,
                json!(small.programs)
            );
        }
    }
    tally
}

/// What the seeds drew, so that a generator that draws nothing is seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub cases: u32,
    pub drawn: BTreeMap<String, u32>,
}

impl Tally {
    fn count(&mut self, case: &Case) {
        self.cases += 1;
        for (_, fault) in &case.plan {
            let name = format!("{fault:?}");
            let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
            *self.drawn.entry(name).or_default() += 1;
        }
        fn nodes(value: &Value, drawn: &mut BTreeMap<String, u32>) {
            match value {
                Value::Array(items) => items.iter().for_each(|item| nodes(item, drawn)),
                Value::Object(map) => {
                    for (key, value) in map {
                        if value.is_object() {
                            *drawn.entry(key.clone()).or_default() += 1;
                        }
                        nodes(value, drawn);
                    }
                }
                _ => {}
            }
        }
        nodes(&json!(case.programs), &mut self.drawn);
    }
}
