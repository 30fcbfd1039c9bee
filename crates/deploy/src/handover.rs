//! A rollback that has nowhere to go: the failure is laid to what caused it, and whoever mends code gets the rest.

use domain::{FollowOn, NewTask, Report};
use durable::{Stop, TaskCx};
use serde_json::{Value, json};

use crate::goal::{Goal, Settled};
use crate::look::Look;
use crate::rollback::Rollback;
use crate::{report, target};

/// Who mends what cannot be rolled back, and by which type of task.
const BUILDER: &str = "builder";
const BUILDER_TASK: &str = "implement_fix";

impl Rollback {
    /// What is known of the version that has to be mended, for whoever mends it.
    async fn evidence(&self, cx: &TaskCx, settled: &Settled, bad: Option<&str>) -> Result<Value, Stop> {
        cx.step("evidence", |idem| async move {
            let place = &settled.place;
            let newest = self.newest(place).await?;
            let brought = target::blamed(bad, &newest);
            // It lasts until a version that does well is out.
            if let Some(failure) = brought.and_then(|bad| settled.failure_of(bad)) {
                self.outside.log.write(&failure, &idem);
            }
            let failures = brought.map(|known| {
                known
                    .failures
                    .iter()
                    .map(|failure| failure.cause.as_str())
                    .collect()
            });
            let failures: Vec<&str> = failures.unwrap_or_default();
            // Whoever mends it gets it also where the target does not answer.
            let stands = match place.look(&self.outside).await {
                Ok(look) => report::stands(&look),
                Err(error) => format!("not known: {}", report::told_once(&error)),
            };
            Ok(json!({
                "stands": stands,
                "deployed_by": brought.map(|known| &known.what.task_id),
                "commit": brought.and_then(|known| known.what.sha.as_deref()),
                "ended_because": brought.and_then(|known| known.cause.as_deref()),
                "failures": failures,
            }))
        })
        .await
    }

    /// Nothing to go back to: whoever mends code gets it. A first deployment that is on its way is stopped: its own undoing
    /// leaves nothing running.
    pub(crate) async fn nowhere(&self, cx: &TaskCx, settled: &Settled, goal: &Goal) -> Result<Report, Stop> {
        let (place, aim) = (&settled.place, &goal.aim);
        let mut told =
            report::nowhere(place, &aim.why).fact(report::DECISION, format!("hotfix task: {}", aim.why));
        if let Some(stopped) = &aim.stops {
            self.stop_others(cx, place).await?;
            // It holds it until it is undone.
            cx.lock_first(&place.lock()).await?;
            let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
            told = told
                .fact("Stopped", format!("task {stopped}, which took itself back"))
                .fact("Stands now", report::stands(&look));
        }
        let task = cx.task();
        let mut payload = json!({
            "instruction": format!(
                "{} in {} has to be mended by a new version: {}, and {}.",
                place.environment.subject(), place.name, settled.reason, aim.why
            ),
            "environment": place.name,
            "version": aim.bad,
            "reason": settled.reason,
            "evidence": self.evidence(cx, settled, aim.bad.as_deref()).await?,
        });
        if let (Some(payload), Some(given)) = (payload.as_object_mut(), task.payload.as_object()) {
            for inherited in ["repo_id", "project", "issue", "issue_iid", "merge_request"] {
                if let Some(value) = given.get(inherited) {
                    payload.insert(inherited.to_owned(), value.clone());
                }
            }
        }
        let hotfix = NewTask::new(BUILDER_TASK, payload)
            .assigned_to(BUILDER)
            .priority(task.priority)
            .repo(task.repo.as_ref().map(|repo| repo.id.clone()));
        let task_id = cx.spawn("hotfix", hotfix).await?;
        told.follow_ons.push(FollowOn {
            task_id,
            task_type: BUILDER_TASK.to_owned(),
            agent: Some(BUILDER.to_owned()),
            why: "make a version that mends it".to_owned(),
        });
        Ok(told)
    }
}
