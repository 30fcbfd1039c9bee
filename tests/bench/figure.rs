//! What is told of a measurement, and how it is judged.

use serde_json::{Value, json};

/// One round: what was measured, and what was measured beside it where the figure is a share of that.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub value: f64,
    pub beside: Option<f64>,
}

impl From<f64> for Round {
    fn from(value: f64) -> Self {
        Self { value, beside: None }
    }
}

/// What a figure has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    AtLeast(f64),
    AtMost(f64),
    /// A share of what was measured beside it.
    Share(f64),
    /// A share of what was measured beside it, and a value besides.
    ShareAndAtLeast(f64, f64),
}

/// A judged measurement.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: &'static str,
    /// The median of the rounds.
    pub value: f64,
    pub unit: &'static str,
    /// What the value has to reach, in its unit.
    pub limit: f64,
    /// The median of each round's share of what was measured beside it; without such a thing, value / limit.
    pub ratio: f64,
    /// What the ratio has to reach.
    pub ratio_limit: f64,
    /// The median of what was measured beside it.
    pub beside: Option<f64>,
    pub at_most: bool,
    pub pass: bool,
    pub rounds: Vec<f64>,
    /// How it was measured: sizes and settings.
    pub setting: String,
}

/// The middle of the values; of an even number of them the mean of the middle two.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The smallest value that at least `share` of all values do not exceed (nearest rank).
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

impl Figure {
    /// Judges by the medians. A figure without rounds, or with one that is no number, fails.
    pub fn judge(
        name: &'static str,
        unit: &'static str,
        rule: Rule,
        rounds: &[Round],
        setting: String,
    ) -> Self {
        let values: Vec<f64> = rounds.iter().map(|round| round.value).collect();
        let value = median(&values);
        let besides: Vec<f64> = rounds.iter().filter_map(|round| round.beside).collect();
        let beside = (!besides.is_empty()).then(|| median(&besides));
        let shares: Vec<f64> = rounds
            .iter()
            .filter_map(|round| Some(round.value / round.beside?))
            .collect();
        let share = median(&shares);
        let of_beside = |part: f64| part * beside.unwrap_or(f64::NAN);
        let (limit, ratio, ratio_limit, pass) = match rule {
            Rule::AtLeast(least) => (least, value / least, 1.0, value >= least),
            Rule::AtMost(most) => (most, value / most, 1.0, value <= most),
            Rule::Share(part) => (of_beside(part), share, part, share >= part),
            Rule::ShareAndAtLeast(part, least) => {
                let limit = of_beside(part).max(least);
                (limit, share, part, share >= part && value >= least)
            }
        };
        Self {
            name,
            value,
            unit,
            limit,
            ratio,
            ratio_limit,
            beside,
            at_most: matches!(rule, Rule::AtMost(_)),
            pass,
            rounds: values,
            setting,
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": rounded(self.value),
            "unit": self.unit,
            "limit": rounded(self.limit),
            "ratio": rounded(self.ratio),
            "ratio_limit": rounded(self.ratio_limit),
            "bound": if self.at_most { "at most" } else { "at least" },
            "pass": self.pass,
            "beside": self.beside.map(rounded),
            "rounds": self.rounds.iter().copied().map(rounded).collect::<Vec<_>>(),
            "setting": self.setting,
        })
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let verdict = if self.pass { "ok" } else { "MISSED" };
        let bound = if self.at_most { "≤" } else { "≥" };
        // The ratio tells of the other figures what stands beside them.
        let beside = match self.beside.filter(|_| self.at_most) {
            Some(beside) => format!(": {} {}", short(beside), self.unit),
            None => String::new(),
        };
        format!(
            "{:<15} {:>10} {:<15} {bound} {:<9} {:>6.2}  {verdict:<6}  {}{beside}",
            self.name,
            short(self.value),
            self.unit,
            short(self.limit),
            self.ratio,
            self.setting,
        )
    }
}

pub const HEADINGS: &str =
    "figure               value unit              limit      ratio  verdict measured with";

/// Four significant digits say all that a measurement knows.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

pub fn short(value: f64) -> String {
    let value = rounded(value);
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rule: Rule, rounds: &[(f64, Option<f64>)]) -> Figure {
        let rounds: Vec<Round> = rounds
            .iter()
            .map(|(value, beside)| Round {
                value: *value,
                beside: *beside,
            })
            .collect();
        Figure::judge("x", "1/s", rule, &rounds, String::new())
    }

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), 3.0);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), 100.0);
        assert_eq!(percentile(&values, 0.99), 198.0);
        assert_eq!(percentile(&values, 1.0), 200.0);
        assert_eq!(percentile(&[3.0], 0.99), 3.0);
    }

    #[test]
    fn a_share_is_taken_in_each_round_by_itself() {
        // The machine was slow in the second round: both sides of it were.
        let figure = judge(
            Rule::Share(0.7),
            &[(75.0, Some(100.0)), (30.0, Some(40.0)), (74.0, Some(100.0))],
        );
        assert_eq!(figure.ratio, 0.75);
        assert_eq!(figure.value, 74.0);
        assert_eq!(figure.limit, 70.0);
        assert!(figure.pass);
        let below = judge(Rule::Share(0.7), &[(69.0, Some(100.0)); 3]);
        assert!(!below.pass);
        assert_eq!(below.ratio, 0.69);
    }

    #[test]
    fn limits_hold_on_their_own_side() {
        assert!(judge(Rule::AtMost(2.0), &[(2.0, None)]).pass);
        assert!(!judge(Rule::AtMost(2.0), &[(2.1, None)]).pass);
        assert!(judge(Rule::AtLeast(2.0), &[(2.0, None)]).pass);
        assert!(!judge(Rule::AtLeast(2.0), &[(1.9, None)]).pass);
        assert_eq!(judge(Rule::AtMost(2.0), &[(1.0, None)]).ratio, 0.5);
    }

    #[test]
    fn a_share_and_a_value_must_both_be_reached() {
        let rule = Rule::ShareAndAtLeast(0.5, 70.0);
        assert!(judge(rule, &[(80.0, Some(100.0))]).pass);
        assert!(!judge(rule, &[(60.0, Some(100.0))]).pass, "too few");
        let slow = judge(rule, &[(80.0, Some(200.0))]);
        assert!(!slow.pass, "too small a share");
        assert_eq!(slow.limit, 100.0);
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        for rule in [
            Rule::AtLeast(0.0),
            Rule::AtMost(1.0),
            Rule::Share(0.0),
            Rule::ShareAndAtLeast(0.0, 0.0),
        ] {
            assert!(!judge(rule, &[]).pass, "{rule:?}");
            assert!(!judge(rule, &[(f64::NAN, Some(1.0))]).pass, "{rule:?}");
        }
        assert!(
            !judge(Rule::Share(0.1), &[(1.0, None)]).pass,
            "nothing stood beside it"
        );
    }

    #[test]
    fn a_program_finds_the_five_fields_and_a_person_one_line() {
        let figure = judge(Rule::Share(0.7), &[(41_812.3, Some(63_714.9))]);
        let json = figure.json();
        assert_eq!(json["name"], "x");
        assert_eq!(json["value"], 41_810.0);
        assert_eq!(json["unit"], "1/s");
        assert_eq!(json["limit"], 44_600.0);
        assert_eq!(json["ratio"], 0.6562);
        assert_eq!(json["pass"], false);
        assert!(figure.line().contains("MISSED"), "{}", figure.line());
        assert_eq!(short(0.123_456), "0.1235");
    }
}
