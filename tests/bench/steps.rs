//! How many journaled steps a second tasks make that run side by side.

use domain::{Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use worker::Registry;

use crate::Result;
use crate::crew::{Anything, Countdown, Crew};
use crate::server::Database;

/// Makes steps that do nothing but be recorded.
struct Stepper {
    steps: u64,
    tasks: Countdown,
}

impl Handler for Stepper {
    const TASK_TYPES: &'static [&'static str] = &["deploy"];
    type Params = Anything;

    async fn run(&self, cx: &TaskCx, _params: &Anything) -> std::result::Result<Report, Stop> {
        for i in 0..self.steps {
            cx.step(("step", i), async |_| Ok(i)).await?;
        }
        self.tasks.tick();
        Ok(Report::new(Verdict::Succeeded, "every step is recorded"))
    }

    async fn unwind(
        &self,
        _cx: &TaskCx,
        _params: &Anything,
        cause: &Cause,
    ) -> std::result::Result<Report, Stop> {
        Ok(cause.report())
    }
}

/// Steps a second over all tasks, claims and finishes included.
pub async fn measure(database: &Database, tasks: u32, steps: u64) -> Result<f64> {
    let done = Countdown::new(u64::from(tasks));
    let handler = Stepper {
        steps,
        tasks: done.clone(),
    };
    let mut crew = Crew::start(&database.url, Registry::new().register(handler), tasks).await?;
    let started = crew.started();
    tokio::select! {
        () = done.over() => {}
        broke = crew.broke() => broke?,
    }
    crew.finish().await?;
    let took = started.elapsed();
    let wanted = u64::from(tasks) * steps;
    let recorded = database
        .number("SELECT count(*) FROM longshore.task_steps WHERE kind = 'step' AND outcome IS NOT NULL")
        .await?;
    if u64::try_from(recorded) != Ok(wanted) {
        return Err(format!("{recorded} steps were recorded instead of {wanted}").into());
    }
    Ok(wanted as f64 / took.as_secs_f64())
}
