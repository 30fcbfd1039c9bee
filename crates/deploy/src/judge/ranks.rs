use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::mann_whitney::{MannWhitney, Method, cles, mann_whitney};
use super::plan::Direction;
use super::series::NanStrategy;
use super::verdict::{Estimate, Evidence, Outcome, PerSide, Scale};

/// Canary against baseline as the judge of Kayenta (`NetflixACAJudge`) classifies a metric: the canary is high where the lower
/// end of the confidence interval of its shift lies above `tolerance` times the Hodges-Lehmann estimate and the effect is as
/// large as is not allowed, and low likewise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ranks {
    pub direction: Direction,
    pub nan: NanStrategy,
    pub outliers: Outliers,
    /// Of the two-sided interval.
    pub confidence: f64,
    pub tolerance: f64,
    pub effect: EffectSize,
    pub test: Method,
}

impl Default for Ranks {
    fn default() -> Self {
        Self {
            direction: Direction::Either,
            nan: NanStrategy::Remove,
            outliers: Outliers::Keep,
            confidence: 0.98,
            tolerance: 0.25,
            effect: EffectSize::default(),
            test: Method::Normal,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outliers {
    #[default]
    Keep,
    /// Values beyond this many interquartile ranges from the quartiles are left out; Kayenta's factor is 3.
    Remove(f64),
}

/// How large an effect must be to count. Unset limits are where there is no effect: a ratio of 1, a CLES of 0.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EffectSize {
    pub measure: Measure,
    pub allowed_increase: Option<f64>,
    pub allowed_decrease: Option<f64>,
    /// From here on a failure is critical, whatever the metric's weight.
    pub critical_increase: Option<f64>,
    pub critical_decrease: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The canary's mean divided by the baseline's; 1 if that is 0.
    #[default]
    MeanRatio,
    /// The chance that a point of the canary is greater than one of the baseline, ties counted half.
    Cles,
}

impl Measure {
    fn none(self) -> f64 {
        match self {
            Self::MeanRatio => 1.0,
            Self::Cles => 0.5,
        }
    }

    fn of(self, canary: &[f64], baseline: &[f64]) -> f64 {
        match self {
            Self::Cles => cles(canary, baseline).unwrap_or(0.5),
            Self::MeanRatio if mean(baseline) == 0.0 => 1.0,
            Self::MeanRatio => mean(canary) / mean(baseline),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Pass,
    High,
    Low,
    NoData,
}

/// What the test found of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Classified {
    pub class: Class,
    /// The effect reaches a critical limit.
    pub critical: bool,
    pub effect: f64,
    pub test: Option<MannWhitney>,
    pub points: PerSide,
    pub level: PerSide,
}

impl Ranks {
    pub(super) fn problem(&self) -> Option<String> {
        if !(self.confidence > 0.5 && self.confidence < 1.0) {
            return Some(format!(
                "confidence must lie between 0.5 and 1, not be {}",
                self.confidence
            ));
        }
        if !(0.0..1.0).contains(&self.tolerance) {
            return Some(format!(
                "tolerance must be 0 or more and below 1, not {}",
                self.tolerance
            ));
        }
        let none = self.effect.measure.none();
        let (up, down) = (
            [self.effect.allowed_increase, self.effect.critical_increase],
            [self.effect.allowed_decrease, self.effect.critical_decrease],
        );
        let wrong = up.into_iter().flatten().any(|v| v.is_nan() || v < none)
            || down
                .into_iter()
                .flatten()
                .any(|v| v.is_nan() || v > none || v < 0.0);
        wrong.then(|| format!("increases must be {none} or more, decreases {none} or less and not below 0"))
    }

    /// `confidence` is handed in because looks after the first need more of it.
    pub fn classify(&self, canary: &[f64], baseline: &[f64], confidence: f64) -> Classified {
        let (canary, baseline) = (self.prepared(canary), self.prepared(baseline));
        let none = self.effect.measure.none();
        let points = PerSide {
            canary: canary.len() as f64,
            baseline: baseline.len() as f64,
        };
        let mut found = Classified {
            class: Class::NoData,
            critical: false,
            effect: none,
            test: None,
            points,
            level: PerSide::default(),
        };
        if canary.is_empty() || baseline.is_empty() {
            return found;
        }
        found.class = Class::Pass;
        found.level = PerSide {
            canary: mean(&canary),
            baseline: mean(&baseline),
        };
        let Some(test) = mann_whitney(&canary, &baseline, confidence, self.test) else {
            return found;
        };
        found.effect = self.effect.measure.of(&canary, &baseline);
        found.test = Some(test);
        let bound = self.tolerance * test.shift.abs();
        let looks_up = matches!(self.direction, Direction::Increase | Direction::Either);
        let looks_down = matches!(self.direction, Direction::Decrease | Direction::Either);
        if looks_up && test.low > bound && found.effect >= self.effect.allowed_increase.unwrap_or(none) {
            found.class = Class::High;
            found.critical = self
                .effect
                .critical_increase
                .is_some_and(|limit| found.effect >= limit);
        } else if looks_down
            && test.high < -bound
            && found.effect <= self.effect.allowed_decrease.unwrap_or(none)
        {
            found.class = Class::Low;
            found.critical = self
                .effect
                .critical_decrease
                .is_some_and(|limit| found.effect <= limit);
        }
        found
    }

    fn prepared(&self, values: &[f64]) -> Vec<f64> {
        let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        if let Outliers::Remove(factor) = self.outliers {
            let mut sorted = values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let at =
                |share: f64| sorted.get((sorted.len().saturating_sub(1) as f64 * share).round() as usize);
            if let (Some(&lower), Some(&upper)) = (at(0.25), at(0.75)) {
                let reach = factor * (upper - lower);
                // Where half of all values are one, everything else would be an outlier.
                if reach > 0.0 {
                    values.retain(|v| *v >= lower - reach && *v <= upper + reach);
                }
            }
        }
        values
    }

    /// Two samples as the judge sees them at a look (from 1): of 1/1 + 1/3 + 1/6 + … = 2 times the chance of error, each spends
    /// its part.
    pub(super) fn assess(
        &self,
        canary: &[f64],
        baseline: &[f64],
        look: u32,
        min_points: u32,
    ) -> (Outcome, bool, String, Evidence) {
        let look = f64::from(look.max(1));
        let confidence = 1.0 - (1.0 - self.confidence) * 2.0 / (look * (look + 1.0));
        let found = self.classify(canary, baseline, confidence);
        let fewest = found.points.canary.min(found.points.baseline);
        let (outcome, why) = if fewest < f64::from(min_points) {
            (
                Outcome::NoData,
                format!("{fewest} points on one side; {min_points} are needed"),
            )
        } else {
            let effect = found.effect;
            let measure = match self.effect.measure {
                Measure::MeanRatio => "times the baseline's mean",
                Measure::Cles => "the chance to be greater",
            };
            match found.class {
                Class::NoData => (Outcome::NoData, "no points".to_owned()),
                Class::Pass => (
                    Outcome::Pass,
                    format!("not told apart from the baseline ({effect:.3} {measure})"),
                ),
                Class::High => (
                    Outcome::Fail,
                    format!("higher than the baseline ({effect:.3} {measure})"),
                ),
                Class::Low => (
                    Outcome::Fail,
                    format!("lower than the baseline ({effect:.3} {measure})"),
                ),
            }
        };
        let critical = outcome == Outcome::Fail && found.critical;
        (outcome, critical, why, self.evidence(&found, confidence))
    }

    fn evidence(&self, found: &Classified, confidence: f64) -> Evidence {
        let none = self.effect.measure.none();
        let mut limits = vec![
            ("confidence", Some(confidence)),
            ("tolerance", Some(self.tolerance)),
            ("effect", Some(found.effect)),
            (
                "allowed_increase",
                Some(self.effect.allowed_increase.unwrap_or(none)),
            ),
            (
                "allowed_decrease",
                Some(self.effect.allowed_decrease.unwrap_or(none)),
            ),
        ];
        limits.push(("critical_increase", self.effect.critical_increase));
        limits.push(("critical_decrease", self.effect.critical_decrease));
        Evidence {
            method: "mann-whitney".to_owned(),
            points: found.points,
            level: Some(found.level),
            scale: Some(Scale::Difference),
            effect: found.test.map(|t| Estimate {
                value: t.shift,
                low: t.low,
                high: t.high,
            }),
            p_value: found.test.map(|t| t.p_value),
            limits: limits
                .into_iter()
                .filter_map(|(name, v)| Some((name.to_owned(), v?)))
                .collect(),
            ..Evidence::default()
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
#[path = "ranks_tests.rs"]
mod tests;
