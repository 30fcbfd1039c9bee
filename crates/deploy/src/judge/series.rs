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

/// How long the intervals of a window should be, in seconds: four scrapes, so that a rate over one survives a scrape that failed;
/// longer where the canary would have fewer than `requests` in one; but never so long that the window has fewer than `points`.
/// At least one scrape.
pub fn interval_s(requests_per_s: f64, requests: f64, scrape_s: u32, window_s: u32, points: u32) -> u32 {
    let scrape = scrape_s.max(1);
    let wanted = if requests_per_s > 0.0 {
        requests / requests_per_s
    } else {
        f64::INFINITY
    };
    let scrapes = (wanted / f64::from(scrape)).ceil().max(4.0);
    let most = (window_s / points.max(1) / scrape).max(1);
    // A float beyond the range of u32 becomes its end.
    (scrapes as u32).min(most) * scrape
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_as_long_as_quantiles_need_and_windows_allow() {
        assert_eq!(interval_s(100.0, 100.0, 15, 1200, 20), 60, "four scrapes");
        assert_eq!(
            interval_s(1.0, 100.0, 15, 3600, 20),
            105,
            "a hundred requests take that long"
        );
        assert_eq!(
            interval_s(0.1, 100.0, 15, 3600, 20),
            180,
            "a twentieth of the window"
        );
        assert_eq!(interval_s(0.0, 100.0, 15, 300, 20), 15, "no traffic");
        assert_eq!(interval_s(f64::NAN, 100.0, 0, 10, 0), 10);
    }

    fn window(interval_s: u32, canary: &[(i64, f64)], baseline: &[(i64, f64)]) -> Window {
        let samples = |of: &[(i64, f64)]| {
            of.iter()
                .map(|(at, value)| Sample::new(*at, *value, None))
                .collect()
        };
        let span = Span {
            from: chrono::DateTime::UNIX_EPOCH,
            to: chrono::DateTime::UNIX_EPOCH,
        };
        let sides = Sides {
            canary: samples(canary),
            baseline: samples(baseline),
        };
        Window {
            span,
            step: 0,
            interval_s,
            compared: BTreeMap::from([("m".to_owned(), sides)]),
            measured: BTreeMap::new(),
        }
    }

    /// The two sides may be scraped at different seconds of an interval.
    #[test]
    fn points_are_paired_by_interval() {
        let window = window(
            15,
            &[(0, 1.0), (17, 2.0), (31, 3.0)],
            &[(29, 20.0), (44, 30.0), (46, 40.0)],
        );
        let found: Vec<_> = pairs(&[window], "m", NanStrategy::Remove)
            .iter()
            .map(|p| (p.canary, p.baseline))
            .collect();
        assert_eq!(found, [(2.0, 20.0), (3.0, 30.0)]);
    }

    #[test]
    fn a_missing_value_is_unknown_or_nothing_counted() {
        let window = window(15, &[(0, f64::NAN), (15, 2.0)], &[(0, 10.0), (15, f64::INFINITY)]);
        let windows = [window];
        assert_eq!(pairs(&windows, "m", NanStrategy::Remove), []);
        let found = pairs(&windows, "m", NanStrategy::Replace);
        assert_eq!(
            found.iter().map(|p| (p.canary, p.baseline)).collect::<Vec<_>>(),
            [(0.0, 10.0), (2.0, 0.0)]
        );
        assert_eq!(
            values(&windows, "m", NanStrategy::Remove),
            (vec![2.0], vec![10.0])
        );
        assert_eq!(pairs(&windows, "other", NanStrategy::Replace), []);
    }
}
