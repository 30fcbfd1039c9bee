//! What must be so before anything is touched, each with its evidence.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use domain::Error;
use ports::{Commit, Deployment, DeploymentKind, DeploymentOutcome, JobStatus, Side};
use serde::{Deserialize, Serialize};

use crate::analysis::{self, Of};
use crate::freeze::{self, Freeze, FreezeError, Override};
use crate::judge;
use crate::outside::Outside;
use crate::plan::Place;

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
    served: Option<&str>,
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
    for before in &wanted.after {
        let known = outside.log.newest(&place.repo_id, before, LOOKED_THROUGH).await?;
        gates.push(after(before, version, &known));
    }
    if wanted.monitoring {
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

async fn pipeline(outside: &Outside, place: &Place, commit: Option<&Commit>) -> Result<Gate, Error> {
    const NAME: &str = "pipeline passed";
    let Some(commit) = commit else {
        return Ok(gate(
            NAME,
            false,
            "the forge knows no commit of this version; name it in payload.commit",
        ));
    };
    let newest = outside
        .forge
        .latest_pipeline(&place.repo, &commit.git_ref)
        .await?;
    Ok(match newest {
        None => gate(NAME, false, format!("there is no pipeline of {}", commit.git_ref)),
        Some(found) if found.sha != commit.sha => gate(
            NAME,
            false,
            format!(
                "the newest pipeline of {} is of another commit: {}",
                commit.git_ref, found.url
            ),
        ),
        Some(found) => gate(
            NAME,
            found.status == JobStatus::Succeeded,
            format!("pipeline {} {}: {}", found.id, status(found.status), found.url),
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
            let asked = analysis::question(analysis, query, of);
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
