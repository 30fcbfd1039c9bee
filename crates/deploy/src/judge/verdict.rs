use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the data say of a metric, or of a canary as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Pass,
    Fail,
    /// There are data, and they settle nothing.
    Inconclusive,
    /// Too few data to look at. Never a failure and never a success.
    NoData,
}

/// A span of time, `from` included and `to` not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

impl Span {
    /// From when on the span may be read so that a later reading finds the same: its end and two scrape intervals more, by
    /// which time what was scraped in it has been written.
    pub fn readable_at(&self, scrape: chrono::Duration) -> DateTime<Utc> {
        self.to + scrape * 2
    }
}

/// A number for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PerSide {
    pub canary: f64,
    pub baseline: f64,
}

/// How an effect is said: the canary's value less the baseline's, or divided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The difference, in the metric's own unit: 0.02 is two percentage points of an error rate.
    Difference,
    /// The quotient: 1.2 is 20 % more.
    #[default]
    Ratio,
}

/// An estimate and the interval that its method gives for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// What a verdict rests on, so that a person can check it. What a method does not use is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    pub method: String,
    /// The judged windows, all over when they were read.
    pub windows: Vec<Span>,
    /// How many points were compared on each side, after missing ones were dealt with.
    pub points: PerSide,
    /// How many requests stand behind them, where the metric says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<PerSide>,
    /// The level of each side: a rate, or for ratios the geometric mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<PerSide>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// Effect over all windows. A comparison says it in the direction that is worse (above 0, or above 1, is worse), `low` being
    /// the bound that a failure needs above no effect and `high` the one that a pass needs below harm. Ranks say canary less
    /// baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<Estimate>,
    /// Effect at the end if it grew evenly from nothing, with the same bounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growing: Option<Estimate>,
    /// Effect in the latest window, where there are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent: Option<Estimate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// By how much neighbouring points that resemble each other widen the variance; 1 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autocorrelation: Option<f64>,
    /// The limits that were held against the values, by name.
    pub limits: BTreeMap<String, f64>,
    /// Values of a threshold check, the latest last; at most 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
}

/// What was found of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub metric: String,
    pub outcome: Outcome,
    /// For people: what was measured, held against what.
    pub why: String,
    /// The failure of this metric alone fails the canary.
    pub critical: bool,
    /// Not settled, and what there is speaks for the canary.
    pub leaning_good: bool,
    pub evidence: Evidence,
}

/// What the rollout does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// To the next step, or promote after the last.
    Proceed,
    Abort,
    /// Judge one more window at this step.
    Extend,
    /// The limit of extensions is reached and nothing is settled.
    AskPerson,
}

/// The verdict over all metrics, and what follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    pub outcome: Outcome,
    pub decision: Decision,
    pub why: String,
    /// 0 to 100: the score if all that is not settled were bad, and if it were good.
    pub score: super::Score,
    /// Which look at the data this was, from 1.
    pub look: u32,
    pub findings: Vec<Finding>,
}

/// Four digits that mean something, without a tail of zeros.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{}", value + 0.0);
    }
    let magnitude = value.abs().log10().floor().clamp(-9.0, 9.0);
    let digits = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
