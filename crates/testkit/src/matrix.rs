//! The crash matrix: a scene is run once undisturbed, then again with something going wrong at every point
//! of it, and must end in the same state with the same effects outside.
//!
//! ```
//! # use durable::{AnyHandler, Cause, Handler, Stop, TaskCx, memory::World};
//! # use domain::{NewTask, Report, Verdict};
//! # struct Tidy;
//! # impl Handler for Tidy {
//! #     const TASK_TYPES: &'static [&'static str] = &["tidy"];
//! #     type Params = serde_json::Value;
//! #     async fn run(&self, cx: &TaskCx, _: &serde_json::Value) -> Result<Report, Stop> {
//! #         cx.step("tidy", |_| async { Ok(()) }).await?;
//! #         Ok(Report::new(Verdict::Succeeded, "tidied"))
//! #     }
//! #     async fn unwind(&self, _: &TaskCx, _: &serde_json::Value, cause: &Cause) -> Result<Report, Stop> {
//! #         Ok(cause.report())
//! #     }
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use testkit::{Matrix, Scene};
//! let scene = || {
//!     Scene::new(AnyHandler::new(Tidy))
//!         .task(NewTask::new("tidy", serde_json::json!({})))
//!         .fingerprint(|| serde_json::json!("what the fakes saw"))
//! };
//! Matrix::of(scene).run(async || World::new()).await.assert_clean();
//! # });
//! ```

use std::fmt;

use crate::backend::Backend;
use crate::faulty::{Fault, Plan, Point, Side};
use crate::runner::{Ending, Scene, run};

pub struct Matrix<S> {
    scene: S,
    pairs: bool,
    cancels: bool,
    stride: usize,
}

/// What a matrix found.
#[derive(Debug, Default)]
pub struct Findings {
    pub cases: usize,
    /// Calls of the journal in the undisturbed run: its points are twice as many.
    pub calls: usize,
    pub wrong: Vec<Finding>,
}

#[derive(Debug)]
pub struct Finding {
    /// What went wrong, and at which call.
    pub case: String,
    pub plan: Plan,
    pub what: String,
}

impl<S: Fn() -> Scene> Matrix<S> {
    /// `scene` makes a fresh scene, with a fresh world outside, for every case.
    pub fn of(scene: S) -> Self {
        Self {
            scene,
            pairs: true,
            cancels: true,
            stride: 1,
        }
    }

    /// One crash a run only: for slow backends.
    #[must_use]
    pub fn single(mut self) -> Self {
        self.pairs = false;
        self
    }

    /// Without cancels: for a handler whose scene ends before a cancel could tell.
    #[must_use]
    pub fn without_cancels(mut self) -> Self {
        self.cancels = false;
        self
    }

    /// Tries every n-th point only: for slow backends.
    #[must_use]
    pub fn every(mut self, stride: usize) -> Self {
        self.stride = stride.max(1);
        self
    }

    pub async fn run<B: Backend>(&self, fresh: impl AsyncFn() -> B) -> Findings {
        let mut findings = Findings::default();
        let expected = run(fresh().await, (self.scene)(), Vec::new()).await;
        findings.check("undisturbed", &Vec::new(), &expected, &expected);
        findings.calls = expected.calls.len();
        self.once(&fresh, &expected, &mut findings).await;
        if self.pairs {
            self.twice(&fresh, &expected, &mut findings).await;
        }
        if self.cancels {
            self.cancelled(&fresh, &expected, &mut findings).await;
        }
        findings
    }

    fn points(&self, calls: usize) -> impl Iterator<Item = Point> + use<S> {
        let stride = self.stride;
        (0..calls)
            .flat_map(|call| [Side::Before, Side::After].map(|side| Point { call, side }))
            .step_by(stride)
    }

    async fn once<B: Backend>(
        &self,
        fresh: &impl AsyncFn() -> B,
        expected: &Ending,
        findings: &mut Findings,
    ) {
        for point in self.points(expected.calls.len()) {
            for fault in [Fault::Crash, Fault::Broken, Fault::LeaseLoss, Fault::Pause] {
                // A worker that wakes after another ended the task does outside what it was about to do: no
                // lease can fence that. Before a call it has nothing to do but the call, which is refused.
                if fault == Fault::Pause && point.side == Side::After {
                    continue;
                }
                let plan = vec![(point, fault)];
                let ending = run(fresh().await, (self.scene)(), plan.clone()).await;
                findings.check(&describe(&plan, expected), &plan, expected, &ending);
            }
        }
    }

    async fn twice<B: Backend>(
        &self,
        fresh: &impl AsyncFn() -> B,
        expected: &Ending,
        findings: &mut Findings,
    ) {
        for first in self.points(expected.calls.len()) {
            // The calls after the first crash are others than in the undisturbed run, and their number too.
            for call in first.call + 1.. {
                let mut reached = false;
                for side in [Side::Before, Side::After] {
                    let plan = vec![(first, Fault::Crash), (Point { call, side }, Fault::Crash)];
                    let ending = run(fresh().await, (self.scene)(), plan.clone()).await;
                    reached |= ending.hits == 2;
                    findings.check(&describe(&plan, &ending), &plan, expected, &ending);
                }
                if !reached {
                    break;
                }
            }
        }
    }

    /// A cancel at every point, and for each a crash at every later point: the unwinding's matrix.
    async fn cancelled<B: Backend>(
        &self,
        fresh: &impl AsyncFn() -> B,
        expected: &Ending,
        findings: &mut Findings,
    ) {
        for at in self.points(expected.calls.len()) {
            let untold = vec![(at, Fault::Cancel { told: false })];
            let ending = run(fresh().await, (self.scene)(), untold.clone()).await;
            // It may fail by itself before it hears of the cancel; then it failed.
            let failed = ending.status("T0") == "failed" && expected.status("T0") == "failed";
            let ending = Ending {
                must_cancel: ending.must_cancel && !failed,
                ..ending
            };
            findings.check(&describe(&untold, expected), &untold, &ending, &ending);

            let told = vec![(at, Fault::Cancel { told: true })];
            let cancelled = run(fresh().await, (self.scene)(), told.clone())
                .await
                .without_run_steps();
            findings.check(&describe(&told, expected), &told, &cancelled, &cancelled);
            if !self.pairs {
                continue;
            }
            for call in at.call + 1..cancelled.calls.len() {
                for side in [Side::Before, Side::After] {
                    for fault in [Fault::Crash, Fault::LeaseLoss] {
                        let plan = vec![told[0], (Point { call, side }, fault)];
                        let ending = run(fresh().await, (self.scene)(), plan.clone())
                            .await
                            .without_run_steps();
                        findings.check(&describe(&plan, &cancelled), &plan, &cancelled, &ending);
                    }
                }
            }
        }
    }
}

/// `crash before call 3 (done run/launch of T0)`.
fn describe(plan: &Plan, calls: &Ending) -> String {
    let one = |(point, fault): &(Point, Fault)| {
        let side = match point.side {
            Side::Before => "before",
            Side::After => "after",
        };
        let call = calls.calls.get(point.call).map(|call| format!(" ({call})"));
        format!("{fault:?} {side} call {}{}", point.call, call.unwrap_or_default())
    };
    plan.iter().map(one).collect::<Vec<_>>().join(", then ")
}

impl Findings {
    fn check(&mut self, case: &str, plan: &Plan, expected: &Ending, ending: &Ending) {
        self.cases += 1;
        let mut wrong = ending.violations.clone();
        for (name, task) in &ending.tasks {
            if !matches!(
                task["status"].as_str(),
                Some("completed" | "failed" | "cancelled")
            ) && task["held"].is_null()
            {
                wrong.push(format!("task {name} never ended: {task}"));
            }
        }
        if ending.must_cancel && ending.status("T0") != "cancelled" {
            wrong.push(format!("the cancelled task ended as {}", ending.tasks["T0"]));
        }
        wrong.extend(expected.difference(ending));
        if !wrong.is_empty() {
            self.wrong.push(Finding {
                case: case.to_owned(),
                plan: plan.clone(),
                what: wrong.join("\n  "),
            });
        }
    }

    /// # Panics
    /// When a case ended otherwise than the undisturbed run; names the first ones.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.wrong.is_empty(), "{self}");
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} cases over {} calls, {} went wrong",
            self.cases,
            self.calls,
            self.wrong.len()
        )?;
        for finding in self.wrong.iter().take(5) {
            writeln!(f, "- {}\n  {}", finding.case, finding.what)?;
        }
        Ok(())
    }
}
