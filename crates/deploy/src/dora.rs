//! DORA's five measures of software delivery, counted from deployment records: nothing is sampled, estimated or rounded away.
//!
//! The definitions are those of <https://dora.dev/guides/dora-metrics-four-keys/> (the five-metric model): change lead time,
//! deployment frequency and failed deployment recovery time measure throughput; change fail rate and deployment rework rate
//! measure instability. What they leave open is settled in docs/judging.md and said at each function here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// One deployment to one environment, as it is kept for good. A try that was retried within its task is one deployment, with one
/// record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    pub id: String,
    pub task_id: String,
    pub repo: String,
    pub environment: String,
    pub version: String,
    pub commit: String,
    /// When the commit came into version control, if the forge said.
    pub commit_time: Option<DateTime<Utc>>,
    pub started: DateTime<Utc>,
    /// Absent while it runs.
    pub finished: Option<DateTime<Utc>>,
    pub outcome: DeploymentOutcome,
    pub kind: DeploymentKind,
    /// The incidents because of which it was made: a deployment that has any was not planned.
    #[serde(default)]
    pub because_of: Vec<String>,
    /// What this deployment caused.
    #[serde(default)]
    pub incidents: Vec<Incident>,
}

/// A failure of the service, or of the deployment itself, that demanded somebody's immediate intervention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    pub id: String,
    pub detected: DateTime<Utc>,
    /// Absent while it lasts.
    pub recovered: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    Running,
    /// The version reached all of the environment's traffic.
    Succeeded,
    /// It reached users, if only some, and was taken back or left broken.
    RolledBack,
    /// It ended before any user was reached: refused, not startable, failed its checks before the switch.
    FailedBefore,
    Cancelled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    Deploy,
    /// Back to a version that was there before.
    Rollback,
    /// Forward to a version that mends an incident.
    Hotfix,
    /// The version that is there already, once more.
    Redeploy,
}

/// Which records count, and from when until when their ends may lie (`from` included, `to` not).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    pub repo: Option<String>,
    /// DORA's figures are of production.
    pub environment: String,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

/// `n` of `of` deployments, with their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub n: usize,
    pub of: usize,
    /// Absent where there is nothing to take a share of.
    pub rate: Option<f64>,
    pub ids: Vec<String>,
    pub of_ids: Vec<String>,
}

/// A duration over those of `of` that have one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Durations {
    /// How many were measured, of how many.
    pub n: usize,
    pub of: usize,
    /// The middle one; of an even number the mean of the two in the middle.
    pub median_s: Option<f64>,
    pub mean_s: Option<f64>,
    /// Each with its seconds, in the order of the records.
    pub each: Vec<(String, f64)>,
    /// Those that have none: of a lead time the commit's time is not known, of a recovery the failure still lasts.
    pub without: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frequency {
    pub n: usize,
    pub days: f64,
    pub per_day: Option<f64>,
    /// Between one deployment's end and the next one's.
    pub median_between_s: Option<f64>,
    pub ids: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measures {
    pub scope: Scope,
    pub lead_time: Durations,
    pub frequency: Frequency,
    pub change_fail_rate: Share,
    pub recovery_time: Durations,
    pub rework_rate: Share,
}

/// All five over one scope. `now` ends nothing: what still runs or still fails is shown as such.
pub fn measures(records: &[Deployment], scope: &Scope) -> Measures {
    let ours: Vec<&Deployment> = records.iter().filter(|d| scope.takes(d)).collect();
    let mut reached: Vec<&Deployment> = ours.iter().copied().filter(|d| d.reached_users()).collect();
    // Records may come in any order; ids settle what ended in one moment.
    reached.sort_by(|a, b| (a.finished, &a.id).cmp(&(b.finished, &b.id)));
    reached.dedup_by(|a, b| a.id == b.id);
    Measures {
        scope: scope.clone(),
        lead_time: lead_time(&reached),
        frequency: frequency(&reached, scope),
        change_fail_rate: share(&reached, |d| d.failed()),
        recovery_time: recovery_time(&reached),
        rework_rate: share(&reached, |d| d.is_rework()),
    }
}

impl Scope {
    fn takes(&self, record: &Deployment) -> bool {
        let within = record
            .finished
            .is_some_and(|end| (self.from..self.to).contains(&end));
        within
            && record.environment == self.environment
            && self.repo.as_ref().is_none_or(|repo| *repo == record.repo)
    }
}

impl Deployment {
    /// A deployment is one that users were reached by. What ended before is none: nobody had to intervene for it.
    pub fn reached_users(&self) -> bool {
        matches!(
            self.outcome,
            DeploymentOutcome::Succeeded | DeploymentOutcome::RolledBack
        )
    }

    /// It required immediate intervention: it was taken back, or an incident is laid to it. Two incidents are one failure.
    pub fn failed(&self) -> bool {
        self.reached_users() && (self.outcome == DeploymentOutcome::RolledBack || !self.incidents.is_empty())
    }

    /// It was unplanned and happened as a result of an incident in production.
    pub fn is_rework(&self) -> bool {
        let by_kind = matches!(self.kind, DeploymentKind::Rollback | DeploymentKind::Hotfix);
        self.reached_users() && (by_kind || !self.because_of.is_empty())
    }

    /// It brought a change: a version goes out for the first time, planned or as a hotfix, and stays.
    fn is_change(&self) -> bool {
        self.outcome == DeploymentOutcome::Succeeded
            && matches!(self.kind, DeploymentKind::Deploy | DeploymentKind::Hotfix)
    }

    /// How long users were without good service because of it: the time that its incidents cover, what overlaps counted once.
    /// `None` while one lasts, or if none is on record.
    fn recovery(&self) -> Option<TimeDelta> {
        let spans: Option<Vec<_>> = self
            .incidents
            .iter()
            .map(|i| Some((i.detected, i.recovered?)))
            .collect();
        let mut spans = spans.filter(|spans| !spans.is_empty())?;
        spans.sort_unstable();
        let mut covered = TimeDelta::zero();
        let mut until = DateTime::<Utc>::MIN_UTC;
        for (from, to) in spans {
            covered += (to - from.max(until)).max(TimeDelta::zero());
            until = until.max(to);
        }
        Some(covered)
    }
}

/// From the commit until the deployment's end, for deployments that brought a change. A version that goes out again brings none.
fn lead_time(reached: &[&Deployment]) -> Durations {
    let mut seen = BTreeSet::new();
    let changes = reached.iter().copied().filter(|d| d.is_change());
    let first: Vec<_> = changes.filter(|d| seen.insert((&d.repo, &d.commit))).collect();
    durations(&first, |d| Some(d.finished? - d.commit_time?))
}

/// For each deployment that failed, how long until it was made good.
fn recovery_time(reached: &[&Deployment]) -> Durations {
    let failed: Vec<_> = reached.iter().copied().filter(|d| d.failed()).collect();
    durations(&failed, Deployment::recovery)
}

fn durations(of: &[&Deployment], measure: impl Fn(&Deployment) -> Option<TimeDelta>) -> Durations {
    let (mut each, mut without) = (Vec::new(), Vec::new());
    for deployment in of {
        match measure(deployment) {
            Some(time) => each.push((deployment.id.clone(), time.num_milliseconds() as f64 / 1000.0)),
            None => without.push(deployment.id.clone()),
        }
    }
    let seconds: Vec<f64> = each.iter().map(|(_, s)| *s).collect();
    Durations {
        n: each.len(),
        of: of.len(),
        median_s: median(&seconds),
        mean_s: (!seconds.is_empty()).then(|| seconds.iter().sum::<f64>() / seconds.len() as f64),
        each,
        without,
    }
}

fn frequency(reached: &[&Deployment], scope: &Scope) -> Frequency {
    let days = (scope.to - scope.from).num_milliseconds() as f64 / 86_400_000.0;
    let ends: Vec<_> = reached.iter().filter_map(|d| d.finished).collect();
    let between: Vec<f64> = ends
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).num_milliseconds() as f64 / 1000.0)
        .collect();
    Frequency {
        n: reached.len(),
        days,
        per_day: (days > 0.0).then(|| reached.len() as f64 / days),
        median_between_s: median(&between),
        ids: ids(reached),
    }
}

fn share(reached: &[&Deployment], counts: impl Fn(&Deployment) -> bool) -> Share {
    let counted: Vec<_> = reached.iter().copied().filter(|d| counts(d)).collect();
    let (n, of) = (counted.len(), reached.len());
    Share {
        n,
        of,
        rate: (of > 0).then(|| n as f64 / of as f64),
        ids: ids(&counted),
        of_ids: ids(reached),
    }
}

fn ids(of: &[&Deployment]) -> Vec<String> {
    of.iter().map(|d| d.id.clone()).collect()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        0 => Some(f64::midpoint(
            *sorted.get(half.checked_sub(1)?)?,
            *sorted.get(half)?,
        )),
        _ => sorted.get(half).copied(),
    }
}

/// The same, for each repository apart: DORA warns of blending services.
pub fn by_repo(records: &[Deployment], scope: &Scope) -> BTreeMap<String, Measures> {
    let repos: BTreeSet<&String> = records
        .iter()
        .filter(|d| scope.takes(d))
        .map(|d| &d.repo)
        .collect();
    let of = |repo: &String| {
        (
            repo.clone(),
            measures(
                records,
                &Scope {
                    repo: Some(repo.clone()),
                    ..scope.clone()
                },
            ),
        )
    };
    repos.into_iter().map(of).collect()
}

#[cfg(test)]
#[path = "dora_tests.rs"]
mod tests;
