use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::series::Measurement;
use super::verdict::{Evidence, Outcome, PerSide};

/// Values of a query against limits, counted as Argo Rollouts counts the measurements of an `AnalysisRun`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Threshold {
    /// A value within is a success; if absent, one that is no failure is.
    pub success: Option<Bounds>,
    /// A value within is a failure; if absent, one that is no success is. If both are given, a value in neither is inconclusive.
    pub failure: Option<Bounds>,
    /// Failures that are put up with.
    pub failure_limit: u32,
    /// Inconclusive values that are put up with.
    pub inconclusive_limit: u32,
    /// Errors one after another that are put up with.
    pub consecutive_error_limit: u32,
    /// Values that there must be.
    pub count: u32,
}

impl Default for Threshold {
    fn default() -> Self {
        Self {
            success: None,
            failure: None,
            failure_limit: 0,
            inconclusive_limit: 0,
            consecutive_error_limit: 4,
            count: 1,
        }
    }
}

/// Both ends belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bounds {
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Bounds {
    pub fn hold(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }

    fn problem(&self) -> bool {
        let ends = (self.min, self.max);
        ends == (None, None) || matches!(ends, (Some(min), Some(max)) if min > max)
    }
}

impl Threshold {
    pub(super) fn problem(&self) -> Option<String> {
        if self.success.is_none() && self.failure.is_none() {
            return Some("a threshold needs `success` or `failure`".to_owned());
        }
        if self.success.iter().chain(&self.failure).any(Bounds::problem) {
            return Some("a limit needs `min` or `max`, and min ≤ max".to_owned());
        }
        (self.count == 0).then(|| "`count` must be 1 or more".to_owned())
    }

    /// What one value is.
    pub fn of(&self, value: f64) -> Outcome {
        if !value.is_finite() {
            return Outcome::NoData;
        }
        let succeeds = self.success.map(|bounds| bounds.hold(value));
        let fails = self.failure.map(|bounds| bounds.hold(value));
        match (succeeds, fails) {
            // A value in both is a failure: the limits contradict each other, and stopping is the safe one of the two.
            (_, Some(true)) | (Some(false), None) => Outcome::Fail,
            (Some(true), _) | (None, Some(false)) => Outcome::Pass,
            (Some(false), Some(false)) => Outcome::Inconclusive,
            (None, None) => Outcome::NoData,
        }
    }

    /// What all measurements so far say, in the order of time.
    pub fn assess(&self, measurements: &[Measurement]) -> (Outcome, String, Evidence) {
        let (mut failed, mut inconclusive, mut passed) = (0_u32, 0_u32, 0_u32);
        let (mut errors, mut most_errors, mut last_error) = (0_u32, 0_u32, "");
        let (mut values, mut failing) = (Vec::new(), String::new());
        for measurement in measurements {
            match measurement {
                Measurement::Error(what) => {
                    errors += 1;
                    most_errors = most_errors.max(errors);
                    last_error = what;
                    continue;
                }
                Measurement::Nothing => {}
                Measurement::Value(value) => {
                    match self.of(*value) {
                        Outcome::Fail => {
                            failed += 1;
                            failing = super::short(*value);
                        }
                        Outcome::Inconclusive => inconclusive += 1,
                        Outcome::Pass => passed += 1,
                        Outcome::NoData => continue,
                    }
                    values.push(*value);
                }
            }
            errors = 0;
        }
        let count = values.len() as u32;
        let (outcome, why) = if failed > self.failure_limit {
            let allowed = self.failure_limit;
            (
                Outcome::Fail,
                format!("{failed} of {count} values failed, the latest {failing}; {allowed} may"),
            )
        } else if most_errors > self.consecutive_error_limit {
            (
                Outcome::NoData,
                format!("asking failed {most_errors} times one after another: {last_error}"),
            )
        } else if count < self.count {
            (
                Outcome::NoData,
                format!("{count} of {} values that are needed", self.count),
            )
        } else if inconclusive > self.inconclusive_limit {
            let allowed = self.inconclusive_limit;
            (
                Outcome::Inconclusive,
                format!("{inconclusive} of {count} values neither succeeded nor failed; {allowed} may"),
            )
        } else {
            (Outcome::Pass, format!("{passed} of {count} values succeeded"))
        };
        (outcome, why, self.evidence(values))
    }

    fn evidence(&self, mut values: Vec<f64>) -> Evidence {
        const SHOWN: usize = 20;
        let count = values.len();
        values.drain(..count.saturating_sub(SHOWN));
        let ends = [
            ("success_min", self.success.and_then(|b| b.min)),
            ("success_max", self.success.and_then(|b| b.max)),
            ("failure_min", self.failure.and_then(|b| b.min)),
            ("failure_max", self.failure.and_then(|b| b.max)),
            ("failure_limit", Some(f64::from(self.failure_limit))),
            ("inconclusive_limit", Some(f64::from(self.inconclusive_limit))),
            (
                "consecutive_error_limit",
                Some(f64::from(self.consecutive_error_limit)),
            ),
        ];
        Evidence {
            method: "threshold".to_owned(),
            points: PerSide {
                canary: count as f64,
                baseline: 0.0,
            },
            limits: ends
                .into_iter()
                .filter_map(|(name, end)| Some((name.to_owned(), end?)))
                .collect(),
            values,
            ..Evidence::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(values: &[f64]) -> Vec<Measurement> {
        values.iter().copied().map(Measurement::Value).collect()
    }

    fn at_most(max: f64) -> Option<Bounds> {
        Some(Bounds {
            min: None,
            max: Some(max),
        })
    }

    fn at_least(min: f64) -> Option<Bounds> {
        Some(Bounds {
            min: Some(min),
            max: None,
        })
    }

    fn outcome(threshold: &Threshold, measurements: &[Measurement]) -> Outcome {
        threshold.assess(measurements).0
    }

    #[test]
    fn with_one_condition_the_other_is_its_opposite() {
        let success = Threshold {
            success: at_least(0.95),
            ..Threshold::default()
        };
        assert_eq!(outcome(&success, &values(&[0.95, 0.99])), Outcome::Pass);
        assert_eq!(outcome(&success, &values(&[0.99, 0.94])), Outcome::Fail);
        let failure = Threshold {
            failure: at_least(0.05),
            ..Threshold::default()
        };
        assert_eq!(outcome(&failure, &values(&[0.049])), Outcome::Pass);
        assert_eq!(outcome(&failure, &values(&[0.05])), Outcome::Fail);
    }

    #[test]
    fn with_both_what_is_between_is_inconclusive() {
        let both = Threshold {
            success: at_most(0.02),
            failure: at_least(0.05),
            ..Threshold::default()
        };
        assert_eq!(outcome(&both, &values(&[0.03])), Outcome::Inconclusive);
        let patient = Threshold {
            inconclusive_limit: 1,
            ..both
        };
        assert_eq!(outcome(&patient, &values(&[0.03, 0.01])), Outcome::Pass);
        assert_eq!(
            outcome(&patient, &values(&[0.03, 0.01, 0.04])),
            Outcome::Inconclusive
        );
    }

    #[test]
    fn limits_are_numbers_that_are_put_up_with() {
        let threshold = Threshold {
            success: at_most(1.0),
            failure_limit: 2,
            ..Threshold::default()
        };
        assert_eq!(outcome(&threshold, &values(&[2.0, 0.5, 2.0])), Outcome::Pass);
        assert_eq!(outcome(&threshold, &values(&[2.0, 0.5, 2.0, 2.0])), Outcome::Fail);
    }

    #[test]
    fn errors_count_only_one_after_another_and_never_as_failures() {
        let threshold = Threshold {
            success: at_most(1.0),
            ..Threshold::default()
        };
        let error = || Measurement::Error("refused".to_owned());
        let mut run: Vec<_> = (0..4).map(|_| error()).collect();
        run.push(Measurement::Value(0.5));
        run.extend((0..4).map(|_| error()));
        assert_eq!(outcome(&threshold, &run), Outcome::Pass);
        run.push(error());
        let (found, why, _) = threshold.assess(&run);
        assert_eq!(found, Outcome::NoData);
        assert!(why.contains("5 times") && why.contains("refused"), "{why}");
    }

    #[test]
    fn nothing_is_neither_success_nor_failure() {
        for threshold in [
            Threshold {
                success: at_most(1.0),
                ..Threshold::default()
            },
            Threshold {
                failure: at_least(1.0),
                ..Threshold::default()
            },
        ] {
            let nothing = [
                Measurement::Nothing,
                Measurement::Value(f64::NAN),
                Measurement::Nothing,
            ];
            assert_eq!(outcome(&threshold, &nothing), Outcome::NoData);
            assert_eq!(outcome(&threshold, &[]), Outcome::NoData);
        }
    }

    #[test]
    fn evidence_names_the_limits_and_keeps_the_last_values() {
        let threshold = Threshold {
            success: at_most(1.0),
            failure_limit: 100,
            ..Threshold::default()
        };
        let (_, _, evidence) = threshold.assess(&values(&(0..30).map(f64::from).collect::<Vec<_>>()));
        assert_eq!(evidence.limits["success_max"], 1.0);
        assert_eq!(
            (evidence.points.canary, evidence.values.len(), evidence.values[19]),
            (30.0, 20, 29.0)
        );
    }
}
