use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::verdict::Span;

/// One point: the value of a metric over one interval of the query, on one side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The end of its interval, Unix seconds.
    pub at: i64,
    /// Absent where the query had no answer or one that is no number.
    pub value: Option<f64>,
    /// How many requests it was made of, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<f64>,
}

impl Sample {
    pub fn new(at: i64, value: f64, requests: Option<f64>) -> Self {
        Self {
            at,
            value: Some(value).filter(|v| v.is_finite()),
            requests: requests.filter(|r| r.is_finite() && *r >= 0.0),
        }
    }
}

/// What was read of one metric in one window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sides {
    pub canary: Vec<Sample>,
    pub baseline: Vec<Sample>,
}

/// One asking of a query that is held against limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measurement {
    Value(f64),
    /// The query was answered, with nothing.
    Nothing,
    /// The query could not be asked, or its answer not be read.
    Error(String),
}

/// One judged window: over and settled when it was read, so that reading it again finds the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    pub span: Span,
    /// The step of the rollout that it belongs to, from 0.
    pub step: u32,
    /// Seconds between the points: canary and baseline are compared interval by interval.
    pub interval_s: u32,
    /// By metric.
    #[serde(default)]
    pub compared: BTreeMap<String, Sides>,
    /// By metric.
    #[serde(default)]
    pub measured: BTreeMap<String, Vec<Measurement>>,
}

/// Both sides in one interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub canary: f64,
    pub baseline: f64,
    /// Requests of either side, if both are known.
    pub requests: Option<(f64, f64)>,
}

/// What to do with a point that has no value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NanStrategy {
    /// For metrics that always have a value: a missing one is not known.
    #[default]
    Remove,
    /// For counts that are absent where nothing was counted: a missing one is 0.
    Replace,
}

/// The intervals of all windows in which both sides have a value, in the order of time. A point of an interval that was already
/// seen (windows that overlap) counts once.
pub(super) fn pairs(windows: &[Window], metric: &str, nan: NanStrategy) -> Vec<Pair> {
    let mut by_time: BTreeMap<i64, (Option<Sample>, Option<Sample>)> = BTreeMap::new();
    for window in windows {
        let Some(sides) = window.compared.get(metric) else {
            continue;
        };
        let interval = i64::from(window.interval_s.max(1));
        for (samples, of_canary) in [(&sides.canary, true), (&sides.baseline, false)] {
            for sample in samples {
                let slot = by_time
                    .entry(sample.at.div_euclid(interval) * interval)
                    .or_default();
                let side = if of_canary { &mut slot.0 } else { &mut slot.1 };
                side.get_or_insert(*sample);
            }
        }
    }
    let pair = |(canary, baseline): (Option<Sample>, Option<Sample>)| {
        let (canary, baseline) = (canary?, baseline?);
        let value = |sample: Sample| match (sample.value, nan) {
            (None, NanStrategy::Replace) => Some(0.0),
            (value, _) => value.filter(|v| v.is_finite()),
        };
        let requests = canary.requests.zip(baseline.requests);
        Some(Pair {
            canary: value(canary)?,
            baseline: value(baseline)?,
            requests,
        })
    };
    by_time.into_values().filter_map(pair).collect()
}

/// All values of each side, paired or not: canary, then baseline.
pub(super) fn values(windows: &[Window], metric: &str, nan: NanStrategy) -> (Vec<f64>, Vec<f64>) {
    let side = |of: fn(&Sides) -> &[Sample]| -> Vec<f64> {
        let samples = windows.iter().filter_map(|w| w.compared.get(metric)).flat_map(of);
        samples
            .filter_map(|sample| match (sample.value, nan) {
                (None, NanStrategy::Replace) => Some(0.0),
                (value, _) => value.filter(|v| v.is_finite()),
            })
            .collect()
    };
    (side(|sides| &sides.canary), side(|sides| &sides.baseline))
}
