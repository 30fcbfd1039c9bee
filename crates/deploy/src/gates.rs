//! What must be so before anything is touched, each with its evidence.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::Error;
use ports::{Commit, Deployment, DeploymentKind, DeploymentOutcome, Job, JobStatus, Side};
use serde::{Deserialize, Serialize};

use crate::analysis::{self, Of};
use crate::freeze::{self, Freeze, FreezeError, Override};
use crate::judge;
use crate::look::Look;
use crate::outside::Outside;
use crate::plan::Place;
use crate::report::told_once;
use crate::settings::RollbackPlan;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gate {
    pub(crate) name: String,
    pub(crate) open: bool,
    pub(crate) evidence: String,
    /// What opens it, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
}

fn gate(name: &str, open: bool, evidence: impl Into<String>) -> Gate {
    Gate {
        name: name.to_owned(),
        open,
        evidence: evidence.into(),
        next: None,
    }
}

/// How many deployments of an environment are looked through.
const LOOKED_THROUGH: u32 = 1000;

pub(crate) async fn look(
    outside: &Outside,
    place: &Place,
    ours: &str,
    version: &str,
    look: &Look,
    commit: Option<&Commit>,
    override_freeze: Option<&Override>,
) -> Result<Vec<Gate>, Error> {
    let wanted = &place.environment.gates;
    let mut gates = Vec::new();
    if !place.environment.freeze.windows.is_empty() {
        gates.push(no_freeze(
            &place.environment.freeze,
            outside.log.now().await?,
            override_freeze,
        )?);
    }
    if wanted.pipeline {
        gates.push(pipeline(outside, place, commit).await?);
    }
    if !wanted.security_scan.is_empty() {
        gates.push(security_scan(outside, place, commit, &wanted.security_scan).await?);
    }
    if let Some(wanted) = wanted.rollback_plan {
        gates.push(rollback_plan(outside, place, version, look, wanted).await?);
    }
    for before in &wanted.after {
        let known = outside.log.newest(&place.repo_id, before, LOOKED_THROUGH).await?;
        gates.push(after(before, version, &known));
    }
    if wanted.monitoring {
        let served = match place.only_flag {
            // Nobody looked at what carries it: what is measured goes by the flag's own name.
            true => Some(version),
            false => look.serves().map(|group| group.version.as_str()),
        };
        gates.push(monitoring(outside, place, served).await?);
    }
    if let Some(limit) = wanted.deployments_per_day {
        let known = outside
            .log
            .newest(&place.repo_id, &place.name, LOOKED_THROUGH)
            .await?;
        let since = outside.log.now().await? - TimeDelta::hours(24);
        let begun = |known: &&Deployment| {
            known.what.id != ours
                && known.what.kind == DeploymentKind::Deploy
                && known.started_at.is_some_and(|started| started > since)
        };
        let count = known.iter().filter(begun).count();
        let evidence = format!("{count} in the last 24 hours, of at most {limit}");
        let open = u32::try_from(count).is_ok_and(|count| count < limit);
        gates.push(gate("deployments per day", open, evidence));
    }
    Ok(gates)
}

fn no_freeze(freeze: &Freeze, now: DateTime<Utc>, by: Option<&Override>) -> Result<Gate, Error> {
    const NAME: &str = "no freeze";
    let wrong =
        |error: FreezeError| Error::invalid("the environment's freeze windows do not fit").because(&error);
    let zone: Tz = freeze
        .time_zone
        .parse()
        .map_err(|_| wrong(FreezeError::Zone(freeze.time_zone.clone())))?;
    let local = |at: DateTime<Utc>| at.with_timezone(&zone).format("%a %Y-%m-%d %H:%M %Z").to_string();
    Ok(match freeze.at(now, by).map_err(wrong)? {
        freeze::Gate::Open => gate(NAME, true, format!("no window holds on {}", local(now))),
        freeze::Gate::Overridden {
            until,
            window,
            name,
            reason,
        } => gate(
            NAME,
            true,
            format!("{window}, until {}, overridden by {name}: {reason}", local(until)),
        ),
        freeze::Gate::Frozen { until, window } => Gate {
            next: Some(format!(
                "Nothing was touched; create the task again after {}, or with payload.override_freeze \
                 {{\"name\": \"who answers for it\", \"reason\": \"why it cannot wait\"}}",
                local(until)
            )),
            ..gate(NAME, false, format!("{window}, until {}", local(until)))
        },
    })
}

fn no_commit(name: &str) -> Gate {
    gate(
        name,
        false,
        "the forge knows no commit of this version; name it in payload.commit",
    )
}

async fn pipeline(outside: &Outside, place: &Place, commit: Option<&Commit>) -> Result<Gate, Error> {
    const NAME: &str = "pipeline passed";
    let Some(commit) = commit else {
        return Ok(no_commit(NAME));
    };
    let of_commit = outside.forge.pipelines_of(&place.repo, &commit.sha).await?;
    Ok(match of_commit.first() {
        None => gate(NAME, false, format!("there is no pipeline of {}", commit.git_ref)),
        Some(found) => gate(
            NAME,
            found.status == JobStatus::Succeeded,
            format!("pipeline {} {}: {}", found.id, status(found.status), found.url),
        ),
    })
}

/// Of each scan the newest pipeline of the commit that has it decides.
async fn security_scan(
    outside: &Outside,
    place: &Place,
    commit: Option<&Commit>,
    wanted: &[String],
) -> Result<Gate, Error> {
    const NAME: &str = "security scan";
    let Some(commit) = commit else {
        return Ok(no_commit(NAME));
    };
    let mut found: BTreeMap<&str, Vec<Job>> = BTreeMap::new();
    for pipeline in outside.forge.pipelines_of(&place.repo, &commit.sha).await? {
        if found.len() == wanted.len() {
            break;
        }
        let jobs = outside.forge.jobs(&place.repo, pipeline.id).await?;
        for name in wanted {
            let of_name = jobs.iter().filter(|job| is_called(&job.name, name));
            let of_name: Vec<Job> = of_name.cloned().collect();
            if !of_name.is_empty() {
                found.entry(name).or_insert(of_name);
            }
        }
    }
    let (mut open, mut evidence) = (true, Vec::new());
    for name in wanted {
        let Some(jobs) = found.get(name.as_str()) else {
            open = false;
            evidence.push(format!("no pipeline of {} has a job {name}", commit.git_ref));
            continue;
        };
        let shown = jobs.iter().find(|job| job.status != JobStatus::Succeeded);
        open &= shown.is_none();
        evidence.extend(
            shown
                .or(jobs.first())
                .map(|job| format!("{} {}: {}", job.name, status(job.status), job.url)),
        );
    }
    Ok(gate(NAME, open, evidence.join("; ")))
}

/// A job that is run several times over (in parts, or of a matrix) has its name with something behind it.
fn is_called(job: &str, name: &str) -> bool {
    job.strip_prefix(name).is_some_and(|rest| {
        let part = rest.strip_prefix(' ').and_then(|part| part.split_once('/'));
        let is_part =
            part.is_some_and(|(number, of)| number.parse::<u32>().is_ok() && of.parse::<u32>().is_ok());
        rest.is_empty() || is_part || rest.starts_with(": [") || rest.starts_with(" (")
    })
}

async fn rollback_plan(
    outside: &Outside,
    place: &Place,
    version: &str,
    look: &Look,
    wanted: RollbackPlan,
) -> Result<Gate, Error> {
    const NAME: &str = "rollback plan";
    if place.only_flag {
        return Ok(gate(NAME, true, "the flag is switched off"));
    }
    let Some(stable) = look.serves() else {
        let evidence = "nothing runs yet, so there is nothing to go back to";
        return Ok(match wanted {
            RollbackPlan::UnlessFirst => gate(NAME, true, evidence),
            RollbackPlan::Required => Gate {
                next: Some(
                    "Set gates.rollback_plan to \"unless_first\" in the environment's settings to let a first \
                     deployment through"
                        .to_owned(),
                ),
                ..gate(NAME, false, evidence)
            },
        });
    };
    let served = stable.version.as_str();
    if served == version {
        return Ok(gate(
            NAME,
            true,
            format!("{served} runs already: nothing is left"),
        ));
    }
    let fleet = outside.fleet(&place.workload)?;
    let kept = look.revisions.iter().find(|revision| revision.version == served);
    let kept = kept.map_or_else(String::new, |kept| {
        format!(", which it keeps as revision {}", kept.id.0)
    });
    Ok(match fleet.resolve(&place.workload, served).await {
        Ok(_) => gate(
            NAME,
            true,
            format!("back to {served}, which {} has{kept}", place.workload.target),
        ),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => gate(
            NAME,
            false,
            format!(
                "{served} serves and could not be brought out again: {}",
                told_once(&error)
            ),
        ),
    })
}

fn status(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Waiting => "waits",
        JobStatus::Running => "still runs",
        JobStatus::Succeeded => "passed",
        JobStatus::Failed => "failed",
        JobStatus::Cancelled => "was cancelled",
        JobStatus::Skipped => "was skipped",
    }
}

/// The newest deployment there that is over decides: what was rolled back there is not good enough for here.
fn after(environment: &str, version: &str, newest_first: &[Deployment]) -> Gate {
    let name = format!("{environment} first");
    let over = |known: &&Deployment| {
        known.started_at.is_some() && known.outcome.is_some() && known.what.version == version
    };
    match newest_first.iter().find(over) {
        Some(known) if known.outcome == Some(DeploymentOutcome::Succeeded) && known.failures.is_empty() => {
            gate(
                &name,
                true,
                format!("deployed there by task {}", known.what.task_id),
            )
        }
        Some(known) => gate(
            &name,
            false,
            format!("{version} did not do well there (task {})", known.what.task_id),
        ),
        None => gate(&name, false, format!("{version} was not deployed there")),
    }
}

async fn monitoring(outside: &Outside, place: &Place, served: Option<&str>) -> Result<Gate, Error> {
    const NAME: &str = "monitoring answers";
    let (analysis, workload) = (&place.environment.analysis, &place.workload.name);
    let Some(served) = served else {
        return Ok(gate(NAME, true, "nothing runs yet that could be measured"));
    };
    let to = outside.log.now().await? - analysis.scrape_interval.0 * 2;
    let from = to - analysis.at_least.0;
    let window = analysis::points(analysis, judge::Span { from, to });
    let mut silent = Vec::new();
    for metric in &analysis.metrics {
        let of = Of {
            side: Side::Stable,
            version: served,
            workload,
        };
        for query in [Some(&metric.query), metric.requests.as_ref()]
            .into_iter()
            .flatten()
        {
            let asked = analysis::question(analysis, metric, query, of);
            let answer = outside.metrics.range(&asked, &window).await?;
            match analysis::only(answer) {
                Ok(Some(_)) => {}
                Ok(None) => silent.push(metric.name.as_str()),
                Err(error) => {
                    return Ok(gate(
                        NAME,
                        false,
                        format!("{} cannot be judged by: {error}", metric.name),
                    ));
                }
            }
        }
    }
    silent.dedup();
    Ok(match silent.as_slice() {
        [] if analysis.metrics.is_empty() => gate(NAME, false, "the environment has no metrics to judge by"),
        [] => gate(
            NAME,
            true,
            format!("{} of {0} metrics have data", analysis.metrics.len()),
        ),
        silent => gate(
            NAME,
            false,
            format!("nothing is measured for {}", silent.join(", ")),
        ),
    })
}

/// The first gate that is shut, as an error for people.
pub(crate) fn shut(gates: &[Gate]) -> Option<Error> {
    let shut = gates.iter().find(|gate| !gate.open)?;
    let next = shut.next.as_deref();
    Some(
        Error::rejected(format!("the gate {:?} is shut: {}", shut.name, shut.evidence))
            .next(next.unwrap_or("Nothing was touched; create the task again when it is open")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_known_by_its_name_in_parts_and_in_a_matrix() {
        for job in ["sast", "sast 1/3", "sast: [go, 1.2]", "sast (ubuntu, 3.12)"] {
            assert!(is_called(job, "sast"), "{job}");
        }
        for job in ["sast report", "semgrep-sast", "sasty", "sast/3", "sast 1/x"] {
            assert!(!is_called(job, "sast"), "{job}");
        }
    }
}
