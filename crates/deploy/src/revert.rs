//! Takes back the code of what was rolled back, as a merge request that people decide about.

use domain::{Error, TaskId};
use durable::{Stop, TaskCx};
use ports::{NewRevert, Revert};
use sha2::{Digest, Sha256};

use crate::ledger;
use crate::outside::Outside;
use crate::plan::{self, Place};
use crate::report::told_once;

/// What became of the wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    At(Revert),
    /// Traffic is back on the good version whatever the forge says of the code.
    Not(String),
}

/// What is taken back, and why.
pub(crate) struct Bad<'a> {
    pub(crate) version: Option<&'a str>,
    /// The commit that it was made of, where that is known.
    pub(crate) sha: Option<&'a str>,
    /// What is run in its place, and the commit of that.
    pub(crate) target: &'a str,
    pub(crate) target_sha: Option<&'a str>,
    pub(crate) reason: &'a str,
}

pub(crate) async fn open(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    bad: &Bad<'_>,
) -> Result<Opened, Stop> {
    let opened = ledger::at_the_forge(cx, "revert", |_| async move {
        let wanted = wanted(cx, outside, place, bad).await?;
        outside.forge.revert(&place.repo, &wanted).await
    });
    Ok(match opened.await? {
        Ok(revert) => Opened::At(revert),
        Err(error) => Opened::Not(match &error.next {
            Some(next) => format!("{}. {next}", told_once(&error)),
            None => told_once(&error),
        }),
    })
}

async fn wanted(cx: &TaskCx, outside: &Outside, place: &Place, bad: &Bad<'_>) -> Result<NewRevert, Error> {
    let sha = match (bad.sha, bad.version) {
        (Some(sha), _) => Some(sha.to_owned()),
        (None, Some(version)) => {
            let found = plan::commit(outside, &place.repo, None, version).await?;
            found.map(|found| found.sha)
        }
        (None, None) => None,
    };
    let version = bad.version.unwrap_or("what was rolled back");
    let Some(sha) = sha else {
        return Err(Error::invalid(format!(
            "the forge knows no commit of {version}, so there is none to take back"
        )));
    };
    if bad.target_sha == Some(sha.as_str()) {
        return Err(Error::invalid(format!(
            "{version} and {} were made from the same commit: the code is not what differs",
            bad.target
        )));
    }
    let task = &cx.task().id;
    let range = bad.target_sha.map_or_else(String::new, |good| {
        format!(" What else came with {version}: `git log {good}..{sha}`.")
    });
    let of_the_task = cx.task().repo.as_ref().map(|repo| &repo.default_branch);
    let onto = place.default_branch.as_ref().or(of_the_task).cloned();
    Ok(NewRevert {
        branch: branch(task),
        onto: onto.unwrap_or_default(),
        title: format!("Revert {version}, which was rolled back in {}", place.name),
        description: format!(
            "{version} of {} was rolled back to {} in {}: {}.\n\nThis takes back {sha}, the commit that it was made \
             from, and nothing else.{range} Task {task}.",
            place.environment.subject(),
            bad.target,
            place.name,
            bad.reason
        ),
        sha,
    })
}

/// One branch for one task. An id may hold what no branch may.
fn branch(task: &TaskId) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if task.as_str().chars().all(fits) && task.as_str().len() <= 100 {
        return format!("longshore/revert-{task}");
    }
    let digest = Sha256::digest(task.as_str().as_bytes());
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("longshore/revert-{short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_is_named_by_the_task_whatever_it_is_called() {
        assert_eq!(branch(&TaskId::from("0197-ab")), "longshore/revert-0197-ab");
        let odd = [branch(&TaskId::from("a b")), branch(&TaskId::from("a:b"))];
        assert!(
            odd[0] != odd[1] && odd.iter().all(|odd| !odd.contains([' ', ':'])),
            "{odd:?}"
        );
    }
}
