//! How much worse the canary is than the baseline, interval by interval, with honest bounds.
//!
//! Both sides see the same hour of day, the same load and the same weather, so they are compared within each interval and the
//! differences are averaged; what is common to both falls out. Shares are weighted as Mantel and Haenszel do, so that a change of
//! the traffic's split between steps cannot pass for an effect. The variance is the larger of two: what counting alone gives, and
//! what the differences show, widened where neighbours resemble each other.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

use super::plan::{Compare, Kind};
use super::series::Pair;
use super::verdict::{Estimate, PerSide, Scale};

/// Chances on one side: that the lower bound lies above the truth, and that the upper one lies below.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chances {
    pub low: f64,
    pub high: f64,
    /// What the lower bound is for.
    pub lower: Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lower {
    /// To stop somebody's work.
    Stop,
    /// To look once more.
    Suspect,
}

#[derive(Clone, Debug)]
pub(super) struct Difference {
    pub points: usize,
    pub requests: Option<PerSide>,
    pub level: PerSide,
    /// In the unit in which it is computed: differences, or logarithms of quotients.
    pub whole: Estimate,
    pub growing: Estimate,
    pub autocorrelation: f64,
}

/// The intervals that can be compared, each with what the canary is worse by (`flipped` if less is worse).
pub(super) fn usable(pairs: &[Pair], compare: &Compare, flipped: bool) -> Vec<Pair> {
    let enough = |pair: &&Pair| match (compare.kind, pair.requests) {
        (Kind::Rate | Kind::Quantile(_), Some((canary, baseline))) if canary <= 0.0 || baseline <= 0.0 => {
            false
        }
        (Kind::Quantile(_), Some((canary, baseline))) => {
            // Quantiles of few requests lie too near to the middle; on sides of like size equally so.
            let (fewer, more) = (canary.min(baseline), canary.max(baseline));
            fewer >= compare.min_requests || (fewer >= compare.min_requests / 5.0 && more <= fewer * 1.5)
        }
        _ => true,
    };
    let measurable =
        |pair: &&Pair| compare.scale == Scale::Difference || (pair.canary > 0.0 && pair.baseline > 0.0);
    let turn = |pair: &Pair| match flipped {
        false => *pair,
        true => Pair {
            canary: pair.baseline,
            baseline: pair.canary,
            requests: pair.requests.map(|(canary, baseline)| (baseline, canary)),
        },
    };
    pairs.iter().filter(measurable).filter(enough).map(turn).collect()
}

/// `None` with fewer than 4 intervals: two are spent on a line, and something must be left to see chance by.
pub(super) fn difference(pairs: &[Pair], compare: &Compare, chances: Chances) -> Option<Difference> {
    if pairs.len() < 4 {
        return None;
    }
    let known: Option<Vec<(f64, f64)>> = pairs.iter().map(|p| p.requests).collect();
    let requests = known.filter(|_| compare.kind != Kind::Value);
    let weights: Vec<f64> = match &requests {
        Some(requests) => requests.iter().map(|(c, b)| c * b / (c + b)).collect(),
        None => vec![1.0; pairs.len()],
    };
    let mut effects: Vec<f64> = pairs
        .iter()
        .map(|p| match compare.scale {
            Scale::Difference => p.canary - p.baseline,
            Scale::Ratio => (p.canary / p.baseline).ln(),
        })
        .collect();
    if compare.kind != Kind::Rate {
        // An outlier says that something happened in one interval, not how the canary is. Errors are never outliers.
        clip_to_far_fences(&mut effects);
    }
    let spread = Spread::of(&weights, &effects, chances.lower);
    let count = pairs.len() as f64;
    let times: Vec<f64> = (1..=pairs.len()).map(|i| i as f64 / count).collect();
    let ones = vec![1.0; pairs.len()];

    let mean = |side: fn(&Pair) -> f64| -> f64 {
        let scaled = pairs
            .iter()
            .zip(&weights)
            .map(|(pair, weight)| match compare.scale {
                Scale::Difference => weight * side(pair),
                Scale::Ratio => weight * side(pair).ln(),
            });
        scaled.sum::<f64>() / weights.iter().sum::<f64>()
    };
    let (canary, baseline) = (mean(|p| p.canary), mean(|p| p.baseline));
    let mut whole = spread.estimate(&weights, &effects, &ones, None, chances);
    let mut growing = spread.estimate(&weights, &effects, &times, None, chances);
    if let (Kind::Rate, Some(requests)) = (compare.kind, &requests) {
        let sides = Counted::of(requests, &weights, canary, baseline);
        let variances = sides.variances(requests);
        let counted = sides.newcombe(chances);
        whole = beside_counting(whole, counted, spread.is_even(&weights, &ones, &variances));
        let counted = spread.estimate(&weights, &effects, &times, Some(&variances), chances);
        growing = beside_counting(growing, counted, spread.is_even(&weights, &times, &variances));
    }
    if compare.kind == Kind::Rate {
        // No share is more than all.
        (whole.low, whole.high) = (whole.low.max(-1.0), whole.high.min(1.0));
    }
    let total = |side: fn(&(f64, f64)) -> f64| requests.as_ref().map(|r| r.iter().map(side).sum());
    let shown = |level: f64| {
        if compare.scale == Scale::Ratio {
            level.exp()
        } else {
            level
        }
    };
    Some(Difference {
        points: pairs.len(),
        requests: total(|r| r.0)
            .zip(total(|r| r.1))
            .map(|(canary, baseline)| PerSide { canary, baseline }),
        level: PerSide {
            canary: shown(canary),
            baseline: shown(baseline),
        },
        whole,
        growing,
        autocorrelation: spread.low.autocorrelation,
    })
}

/// The wider of what the differences show and of what counting gives; where they are even the lower bound is that of counting
/// alone. Then a guess at how far they might have gone is no part of chance: errors that come at a beat, as of one server among
/// several, resemble each other much and vary less than any that come by chance. What would pass is still asked for both: with a
/// bound of counting alone, more of those that turn bad late would get through.
fn beside_counting(seen: Estimate, counted: Estimate, even: bool) -> Estimate {
    Estimate {
        value: seen.value,
        low: match even {
            true => counted.low,
            false => seen.low.min(counted.low),
        },
        high: seen.high.max(counted.high),
    }
}

/// Tukey's outer fences, three interquartile ranges beyond the quartiles: one in 400,000 of a normal distribution lies outside.
fn clip_to_far_fences(values: &mut [f64]) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    let (lower, upper) = (at(0.25), at(0.75));
    let reach = 3.0 * (upper - lower);
    if reach > 0.0 {
        values
            .iter_mut()
            .for_each(|v| *v = v.clamp(lower - reach, upper + reach));
    }
}

/// What the differences show of chance.
struct Spread {
    /// What is left of each difference when a line through all is taken away: an effect that grows is not noise.
    residuals: Vec<f64>,
    low: Chance,
    high: Chance,
}

#[derive(Clone, Copy)]
struct Chance {
    autocorrelation: f64,
    /// Degrees of freedom that are left.
    freedom: f64,
}

impl Spread {
    fn of(weights: &[f64], effects: &[f64], lower: Lower) -> Self {
        let residuals = off_the_line(weights, effects);
        let scores: Vec<f64> = residuals.iter().zip(weights).map(|(r, w)| r * w).collect();
        let (sum, squares) = weights.iter().fold((0.0, 0.0), |(s, q), w| (s + w, q + w * w));
        // Kish: as many equal points as these unequal ones are worth.
        let worth = sum * sum / squares;
        let chance = |unseen| {
            let autocorrelation = variance_inflation(&scores, unseen);
            Chance {
                autocorrelation,
                freedom: (worth / autocorrelation - 2.0).max(1.0),
            }
        };
        let (low, high) = (chance(lower.unseen()), chance(UNSEEN_BY_A_PASS));
        Self { residuals, low, high }
    }

    /// The effect times `shape` that fits best, with bounds. `variances` are those of each difference if they are known.
    fn estimate(
        &self,
        w: &[f64],
        d: &[f64],
        shape: &[f64],
        variances: Option<&[f64]>,
        chances: Chances,
    ) -> Estimate {
        let scale: f64 = w.iter().zip(shape).map(|(w, s)| w * s * s).sum();
        let value = w
            .iter()
            .zip(shape)
            .zip(d)
            .map(|((w, s), d)| w * s * d)
            .sum::<f64>()
            / scale;
        let reach = |chance: f64, known: Chance| match variances {
            Some(variances) => normal_quantile(chance) * variance(w, shape, |i| variances[i]).sqrt(),
            None => t_quantile(chance, known.freedom) * self.variance(w, shape, known).sqrt(),
        };
        Estimate {
            value,
            low: value - reach(chances.low, self.low),
            high: value + reach(chances.high, self.high),
        }
    }

    /// That of the effect, by what the differences show of it.
    fn variance(&self, w: &[f64], shape: &[f64], known: Chance) -> f64 {
        let count = self.residuals.len() as f64;
        let seen = variance(w, shape, |i| self.residuals[i].powi(2)) * count / (count - 2.0);
        seen * known.autocorrelation
    }

    /// Whether the differences, with all that their resemblance adds, vary no more than by counting, which gives `variances`.
    fn is_even(&self, w: &[f64], shape: &[f64], variances: &[f64]) -> bool {
        self.variance(w, shape, self.low) <= variance(w, shape, |i| variances[i])
    }
}

/// Of the effect that fits best, from those of the differences.
fn variance(w: &[f64], shape: &[f64], of: impl Fn(usize) -> f64) -> f64 {
    let weighed = w.iter().zip(shape).enumerate();
    let sum: f64 = weighed.map(|(i, (w, s))| (w * s).powi(2) * of(i)).sum();
    let scale: f64 = w.iter().zip(shape).map(|(w, s)| w * s * s).sum();
    sum / (scale * scale)
}

/// How far out the upper tail of `chance` begins.
pub(super) fn normal_quantile(chance: f64) -> f64 {
    -Normal::standard().inverse_cdf(chance)
}

fn t_quantile(chance: f64, freedom: f64) -> f64 {
    match StudentsT::new(0.0, 1.0, freedom) {
        Ok(t) if freedom < 1000.0 => -t.inverse_cdf(chance),
        _ => normal_quantile(chance),
    }
}

fn off_the_line(weights: &[f64], effects: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    let mean =
        |of: &dyn Fn(usize) -> f64| weights.iter().enumerate().map(|(i, w)| w * of(i)).sum::<f64>() / total;
    let (middle, level) = (mean(&|i| i as f64), mean(&|i| effects[i]));
    let lean = mean(&|i| (i as f64 - middle) * (effects[i] - level));
    let slope = lean / mean(&|i| (i as f64 - middle).powi(2));
    (0..effects.len())
        .map(|i| effects[i] - level - slope * (i as f64 - middle))
        .collect()
}

/// Added to the correlation of neighbours, divided by the number of points: what few points do not show they may still have.
const UNSEEN_BY_A_PASS: f64 = 4.0;
const UNSEEN_BY_A_FAIL: f64 = 8.0;

impl Lower {
    fn unseen(self) -> f64 {
        match self {
            Self::Stop => UNSEEN_BY_A_FAIL,
            Self::Suspect => 0.0,
        }
    }
}

/// By how much the variance of a mean exceeds that of independent points: the larger of what an AR(1) process with the
/// correlation of neighbours has (corrected for the bias of residuals from a line, (2 + 4ρ)/n), and what the correlations
/// themselves add up to (Newey and West 1987, with √n lags).
fn variance_inflation(scores: &[f64], unseen: f64) -> f64 {
    let n = scores.len();
    let count = n as f64;
    let square: f64 = scores.iter().map(|s| s * s).sum();
    if square <= f64::MIN_POSITIVE {
        return 1.0;
    }
    let correlation =
        |lag: usize| scores.iter().zip(&scores[lag..]).map(|(a, b)| a * b).sum::<f64>() / square;
    let unbiased = (correlation(1) + 2.0 / count) / (1.0 - 4.0 / count).max(0.5);
    let first = (unbiased + unseen / count).clamp(0.0, 0.95);
    let (mut as_ar1, mut power) = (1.0, 1.0);
    for lag in 1..n {
        power *= first;
        as_ar1 += 2.0 * (1.0 - lag as f64 / count) * power;
    }
    let lags = count.sqrt().floor() as usize;
    let share = |lag: usize| 1.0 - lag as f64 / (lags + 1) as f64;
    let as_seen = 1.0 + 2.0 * (1..=lags).map(|lag| share(lag) * correlation(lag)).sum::<f64>();
    as_ar1.max(as_seen).max(1.0)
}

/// The two shares over all intervals, and how many requests drawn at once would tell as much.
struct Counted {
    canary: (f64, f64),
    baseline: (f64, f64),
}

impl Counted {
    fn of(requests: &[(f64, f64)], weights: &[f64], canary: f64, baseline: f64) -> Self {
        let sum: f64 = weights.iter().sum();
        let worth = |side: fn(&(f64, f64)) -> f64| {
            sum * sum
                / requests
                    .iter()
                    .zip(weights)
                    .map(|(r, w)| w * w / side(r))
                    .sum::<f64>()
        };
        Self {
            canary: (canary, worth(|r| r.0)),
            baseline: (baseline, worth(|r| r.1)),
        }
    }

    /// Newcombe's interval for a difference of shares (1998, method 10): square and add from Wilson's two intervals.
    fn newcombe(&self, chances: Chances) -> Estimate {
        let ((p1, n1), (p2, n2)) = (self.canary, self.baseline);
        let reach = |chance: f64| {
            let z = normal_quantile(chance);
            (wilson(p1, n1, z), wilson(p2, n2, z))
        };
        let value = p1 - p2;
        let (one, two) = reach(chances.low);
        let low = value - (p1 - one.0).hypot(two.1 - p2);
        let (one, two) = reach(chances.high);
        Estimate {
            value,
            low,
            high: value + (one.1 - p1).hypot(p2 - two.0),
        }
    }

    /// The variance of each interval's difference by counting; one event is added to each side so that none counts as certain.
    fn variances(&self, requests: &[(f64, f64)]) -> Vec<f64> {
        let spread = |(share, n): (f64, f64)| {
            let share = (share * n + 1.0) / (n + 2.0);
            share * (1.0 - share)
        };
        let (canary, baseline) = (spread(self.canary), spread(self.baseline));
        requests.iter().map(|(c, b)| canary / c + baseline / b).collect()
    }
}

/// Wilson's score interval (1927) for a share `p` of `n`, `z` standard deviations to either side.
pub fn wilson(p: f64, n: f64, z: f64) -> (f64, f64) {
    let z2 = z * z;
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let reach = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).max(0.0).sqrt();
    ((middle - reach).max(0.0), (middle + reach).min(1.0))
}

#[cfg(test)]
#[path = "difference_tests.rs"]
mod tests;
