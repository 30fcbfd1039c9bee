use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ranks::Ranks;
use super::series::NanStrategy;
use super::threshold::Threshold;
use super::verdict::Scale;

/// How a canary is judged. The defaults are explained, with figures, in docs/judging.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Analysis {
    pub metrics: Vec<Metric>,
    /// Weights of groups, in percent; groups that are not named share what is left equally.
    pub groups: BTreeMap<String, f64>,
    /// The score (0 to 100) from which a canary passes.
    pub pass: f64,
    /// The score below which it fails; between the two it is not settled.
    pub marginal: f64,
    pub risk: Risk,
    /// Intervals with a value on both sides that a comparison needs at least.
    pub min_points: u32,
    /// How often one step is extended by another window before a person is asked.
    pub max_extensions: u32,
}

/// The chances of error that are put up with, for a whole canary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Risk {
    /// That a canary that is no worse is aborted, over all metrics and looks.
    pub abort: f64,
    /// That one look passes a canary that is worse by `harm`.
    pub promote: f64,
}

impl Default for Risk {
    fn default() -> Self {
        Self {
            abort: 0.01,
            promote: 0.005,
        }
    }
}

impl Default for Analysis {
    /// Error rate and 95th percentile of latency, either of which fails the canary.
    fn default() -> Self {
        let metric = |name: &str, compare| Metric {
            name: name.to_owned(),
            groups: vec![name.to_owned()],
            criticality: Criticality::Critical,
            check: Check::Compare(compare),
        };
        Self {
            metrics: vec![
                metric("error_rate", Compare::error_rate()),
                metric("latency_p95", Compare::latency(0.95)),
            ],
            groups: BTreeMap::new(),
            pass: 95.0,
            marginal: 75.0,
            risk: Risk::default(),
            min_points: 10,
            max_extensions: 3,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub name: String,
    /// The groups that it counts in; without any, one of its own name.
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub criticality: Criticality,
    pub check: Check,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// Counts in the score.
    #[default]
    Normal,
    /// Its failure fails the canary whatever the score, and without its pass there is none.
    Critical,
    /// Shown, and not counted.
    ReportOnly,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Canary against baseline, interval by interval, over all windows so far.
    Compare(Compare),
    /// Canary against baseline by the Mann-Whitney test, as Kayenta does.
    Ranks(Ranks),
    /// Values of the canary against limits.
    Threshold(Threshold),
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The share (0 to 1) of requests that something befell.
    Rate,
    /// A quantile (0 to 1) over the requests of an interval, such as a latency's 0.95.
    Quantile(f64),
    /// Any other number.
    #[default]
    Value,
}

/// Which way is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Increase,
    Decrease,
    Either,
}

/// A comparison that ends in pass only where harm is ruled out, and in fail only where chance is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    #[serde(default)]
    pub kind: Kind,
    #[serde(default)]
    pub direction: Direction,
    #[serde(default)]
    pub scale: Scale,
    /// Worse by less than this is no reason to stop. In the unit of `scale`: 0.01 is one percentage point, 1.1 is 10 %.
    pub allowed: f64,
    /// Worse by this must not be let through: a pass needs to rule it out.
    pub harm: f64,
    #[serde(default)]
    pub nan: NanStrategy,
    /// Requests on either side behind a point of a quantile; such of fewer are left out, for they lie too near to the middle.
    #[serde(default = "hundred")]
    pub min_requests: f64,
}

fn hundred() -> f64 {
    100.0
}

impl Compare {
    /// Two percentage points more errors are harm; one is where the line runs.
    pub fn error_rate() -> Self {
        Self {
            kind: Kind::Rate,
            direction: Direction::Increase,
            scale: Scale::Difference,
            allowed: 0.01,
            harm: 0.02,
            nan: NanStrategy::Remove,
            min_requests: hundred(),
        }
    }

    /// A fifth more is harm; a tenth is where the line runs.
    pub fn latency(quantile: f64) -> Self {
        Self {
            kind: Kind::Quantile(quantile),
            direction: Direction::Increase,
            scale: Scale::Ratio,
            allowed: 1.1,
            harm: 1.2,
            nan: NanStrategy::Remove,
            min_requests: hundred(),
        }
    }
}

impl Analysis {
    pub(super) fn groups_of<'a>(&self, metric: &'a Metric) -> Vec<&'a str> {
        match metric.groups.is_empty() {
            true => vec![&metric.name],
            false => metric.groups.iter().map(String::as_str).collect(),
        }
    }

    /// How many comparisons share the risk of a false abort.
    pub(super) fn comparisons(&self) -> u32 {
        let compared = |m: &&Metric| matches!(m.check, Check::Compare(_));
        u32::try_from(self.metrics.iter().filter(compared).count().max(1)).unwrap_or(u32::MAX)
    }

    /// What is wrong with it, in words for the one who wrote it; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |wrong: bool, what: String| {
            if wrong {
                found.push(what);
            }
        };
        let (pass, marginal) = (self.pass, self.marginal);
        say(
            !(0.0..=100.0).contains(&pass) || !(0.0..=pass).contains(&marginal),
            format!("pass ({pass}) and marginal ({marginal}) must be scores, 0 ≤ marginal ≤ pass ≤ 100"),
        );
        let total: f64 = self.groups.values().sum();
        say(
            self.groups.values().any(|w| !w.is_finite() || *w < 0.0) || total > 100.0 + 1e-9,
            format!(
                "the weights of groups must not be negative nor exceed 100 together; they sum to {total}"
            ),
        );
        for (name, risk) in [("abort", self.risk.abort), ("promote", self.risk.promote)] {
            say(
                !(risk > 0.0 && risk < 0.5),
                format!("risk.{name} must lie between 0 and 0.5, not be {risk}"),
            );
        }
        say(
            self.min_points < 4,
            format!("min_points must be 4 or more, not {}", self.min_points),
        );
        say(
            self.metrics.is_empty(),
            "there are no metrics, so nothing could be judged".to_owned(),
        );
        let mut names = BTreeSet::new();
        for metric in &self.metrics {
            let name = &metric.name;
            say(!names.insert(name), format!("metric `{name}` stands there twice"));
            let problem = match &metric.check {
                Check::Compare(compare) => compare.problem(),
                Check::Ranks(ranks) => ranks.problem(),
                Check::Threshold(threshold) => threshold.problem(),
            };
            if let Some(problem) = problem {
                say(true, format!("metric `{name}`: {problem}"));
            }
        }
        let known: BTreeSet<&str> = self.metrics.iter().flat_map(|m| self.groups_of(m)).collect();
        for group in self.groups.keys().filter(|g| !known.contains(g.as_str())) {
            say(true, format!("group `{group}` has a weight and no metric"));
        }
        found
    }
}

impl Compare {
    fn problem(&self) -> Option<String> {
        let (allowed, harm) = (self.allowed, self.harm);
        let least = match self.scale {
            Scale::Difference => 0.0,
            Scale::Ratio => 1.0,
        };
        if !(allowed > least && harm > allowed && harm.is_finite()) {
            return Some(format!(
                "{least} < allowed < harm must hold, not allowed = {allowed} and harm = {harm}"
            ));
        }
        if !(self.min_requests >= 0.0 && self.min_requests.is_finite()) {
            return Some(format!(
                "min_requests must be a number from 0 on, not {}",
                self.min_requests
            ));
        }
        match self.kind {
            Kind::Quantile(q) if !(q > 0.0 && q < 1.0) => {
                Some(format!("a quantile lies between 0 and 1, not at {q}"))
            }
            Kind::Rate if self.scale == Scale::Ratio => {
                Some("a rate is compared by difference: its quotient has no meaning near 0".to_owned())
            }
            _ => None,
        }
    }
}
