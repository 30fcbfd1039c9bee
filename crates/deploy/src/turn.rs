//! Whose turn it is at an environment: the lock's holder asks before each change whether somebody wants something newer.

use domain::Error;
use durable::{Stop, TaskCx};
use ports::{Deployment, DeploymentKind};

use crate::outside::Outside;
use crate::plan::Place;
use crate::settings::WhenNewer;

/// How the error of a deployment begins that makes way for a newer one.
pub(crate) const SUPERSEDED: &str = "superseded by";

/// How many of an environment's deployments are looked through.
const LOOKED_THROUGH: u32 = 100;

/// Stops what somebody wants to be rolled back, or superseded where the environment's settings say so.
pub(crate) async fn still_ours(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    before: &str,
    when_newer: WhenNewer,
) -> Result<(), Stop> {
    let newer: Option<String> = cx
        .step(("turn", before), |_| async {
            let newest = outside
                .log
                .newest(&place.repo_id, &place.name, LOOKED_THROUGH)
                .await?;
            Ok(newer(&newest, cx.task().id.as_str(), when_newer).map(words))
        })
        .await?;
    match newer {
        None => Ok(()),
        Some(newer) => Err(Stop::Fail(Error::rejected(format!("{SUPERSEDED} {newer}")))),
    }
}

/// What was asked for after `ours`, is not over, and goes before it. A rollback always does.
fn newer<'a>(newest_first: &'a [Deployment], ours: &str, when_newer: WhenNewer) -> Option<&'a Deployment> {
    newest_first
        .iter()
        .take_while(|known| known.what.id != ours)
        .filter(|known| known.outcome.is_none())
        .find(|known| known.what.kind == DeploymentKind::Rollback || when_newer == WhenNewer::Supersede)
}

fn words(newer: &Deployment) -> String {
    let what = match newer.what.kind {
        DeploymentKind::Deploy => format!("the deployment of {}", newer.what.version),
        DeploymentKind::Rollback => "a rollback".to_owned(),
    };
    format!("{what} (task {})", newer.what.task_id)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chrono::DateTime;
    use ports::{DeploymentOutcome, NewDeployment};

    pub(crate) fn deployment(
        id: &str,
        kind: DeploymentKind,
        outcome: Option<DeploymentOutcome>,
    ) -> Deployment {
        Deployment {
            what: NewDeployment {
                id: id.to_owned(),
                task_id: id.into(),
                repo_id: "shop".to_owned(),
                environment: "staging".to_owned(),
                workload: "shop".to_owned(),
                kind,
                version: "v2".to_owned(),
                strategy: "rolling".to_owned(),
                git_ref: None,
                sha: None,
                committed_at: None,
            },
            previous: None,
            asked_at: DateTime::UNIX_EPOCH,
            started_at: None,
            reached_at: None,
            ended_at: None,
            outcome,
            cause: None,
            failures: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_newer_unfinished_and_may_goes_before() {
        use DeploymentKind::{Deploy, Rollback};
        let found = |list: &[Deployment], when| newer(list, "ours", when).map(|d| d.what.id.clone());
        let ours = || deployment("ours", Deploy, None);
        let list = [
            deployment("new", Deploy, None),
            ours(),
            deployment("old", Rollback, None),
        ];
        assert_eq!(found(&list, WhenNewer::Queue), None);
        assert_eq!(found(&list, WhenNewer::Supersede).as_deref(), Some("new"));
        let list = [deployment("back", Rollback, None), ours()];
        assert_eq!(found(&list, WhenNewer::Queue).as_deref(), Some("back"));
        let over = Some(DeploymentOutcome::Cancelled);
        let list = [deployment("new", Deploy, over), ours()];
        assert_eq!(found(&list, WhenNewer::Supersede), None);
    }
}
