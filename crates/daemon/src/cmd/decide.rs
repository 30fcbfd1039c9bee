//! `longshore tasks approve|reject`: a person's answer to what a task asks.

use api::DecisionView;
use domain::{Decision, TaskId};
use store::{Store, Verdict};

use crate::cli::Decide;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, harmless};

pub async fn run(store: &Store, decision: Decision, said: &Decide, who: &str, out: Output) -> Outcome {
    let id = TaskId::from(said.id.as_str());
    let verdict = Verdict {
        decision,
        what: said.what.as_deref(),
        by: said.by.as_deref().unwrap_or(who),
        comment: said.comment.as_deref(),
    };
    let decided = store.decide(&id, &verdict).await?;
    let view = DecisionView::new(id, decided);
    out.answer(&view, |_| {
        let (what, by) = (&view.what, &view.by);
        harmless(&match view.is_new {
            true => format!(
                "{what} of {} is {} by {by}; the task goes on.",
                view.task_id, view.decision
            ),
            false => format!(
                "{what} of {} was {} already, by {by} at {}; that stands.",
                view.task_id, view.decision, view.at
            ),
        })
    })?;
    Ok(Exit::Done)
}
