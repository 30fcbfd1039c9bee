//! Measurements of a window that is over, and what they say of the candidate.

use chrono::{DateTime, Utc};
use ports::{MetricQuestion, Series, Side, Window};
use serde::{Deserialize, Serialize};

use crate::settings::{Analysis, Metric};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Pass,
    Inconclusive,
    NoData,
    Fail,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::NoData => "no data",
            Self::Fail => "fail",
        }
    }
}

/// What was found of one thing that is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) verdict: Verdict,
    /// The numbers behind it, in words.
    pub(crate) why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) findings: Vec<Finding>,
}

impl Judgement {
    /// The worst of them decides. Nothing to judge by is a pass: what always is looked at stands among the findings.
    pub(crate) fn of(findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.verdict).max();
        Self {
            verdict: worst.unwrap_or(Verdict::Pass),
            findings,
        }
    }

    /// The findings that decided, in a sentence.
    pub(crate) fn why(&self) -> String {
        let decided = self
            .findings
            .iter()
            .filter(|finding| finding.verdict == self.verdict);
        let words: Vec<String> = decided
            .map(|finding| format!("{}: {}", finding.name, finding.why))
            .collect();
        words.join("; ")
    }
}

/// Judges one metric over a window that is over. `baseline` is none where there is nothing to compare with.
pub(crate) fn judge(
    metric: &Metric,
    minimum: u32,
    candidate: &[f64],
    baseline: Option<&[f64]>,
) -> (Verdict, String) {
    let enough = |samples: &[f64]| samples.len() >= usize::try_from(minimum).unwrap_or(usize::MAX).max(1);
    let few = |side: &str, samples: &[f64]| {
        format!(
            "{} of at least {minimum} points for the {side} side",
            samples.len()
        )
    };
    if candidate.is_empty() {
        return (
            Verdict::NoData,
            "nothing was measured for the candidate side".to_owned(),
        );
    }
    let found = mean(candidate);
    let beyond = match (metric.max, metric.min) {
        (Some(max), _) if found > max => Some(format!("{} is above {}", number(found), number(max))),
        (_, Some(min)) if found < min => Some(format!("{} is below {}", number(found), number(min))),
        _ => None,
    };
    if !enough(candidate) {
        return (Verdict::NoData, few("candidate", candidate));
    }
    if let Some(why) = beyond {
        return (Verdict::Fail, why);
    }
    let Some((limit, baseline)) = metric.max_increase_percent.zip(baseline) else {
        let within = match metric.max.is_none() && metric.min.is_none() {
            true => "nothing to compare it with",
            false => "within its limits",
        };
        return (Verdict::Pass, format!("{} is {within}", number(found)));
    };
    if !enough(baseline) {
        return (Verdict::NoData, few("stable", baseline));
    }
    let usual = mean(baseline);
    let both = format!("{} against {} on the stable side", number(found), number(usual));
    if found > usual + usual.abs() * limit / 100.0 {
        (
            Verdict::Fail,
            format!("{both}, which is more than {} % above", number(limit)),
        )
    } else {
        (Verdict::Pass, both)
    }
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().sum::<f64>() / samples.len() as f64
}

/// Four digits that mean something, without a tail of zeros.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor().clamp(-9.0, 9.0);
    let digits = (3.0 - magnitude).max(0.0) as usize;
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What is asked of the store for one side.
pub(crate) fn question(
    analysis: &Analysis,
    metric: &Metric,
    side: Side,
    version: &str,
    workload: &str,
) -> MetricQuestion {
    let query = metric
        .query
        .replace("${side}", side.as_str())
        .replace("${version}", version)
        .replace("${workload}", workload);
    MetricQuestion {
        source: analysis.source.clone(),
        query,
    }
}

/// All samples of an answer; which series one belongs to does not matter for a mean over all.
pub(crate) fn samples(answer: &[Series]) -> Vec<f64> {
    answer
        .iter()
        .flat_map(|series| series.samples.iter().map(|sample| sample.value))
        .collect()
}

pub(crate) fn window(analysis: &Analysis, start: DateTime<Utc>, end: DateTime<Utc>) -> Window {
    Window {
        start,
        end,
        step: analysis.scrape_interval.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(max: Option<f64>, min: Option<f64>, increase: Option<f64>) -> Metric {
        Metric {
            name: "errors".to_owned(),
            query: "rate(errors{side=\"${side}\", app=\"${workload}\", version=\"${version}\"})".to_owned(),
            max,
            min,
            max_increase_percent: increase,
        }
    }

    #[test]
    fn limits_decide_once_there_is_enough_to_decide_by() {
        let errors = metric(Some(0.02), None, None);
        let judged = |samples: &[f64]| judge(&errors, 3, samples, None);
        assert_eq!(judged(&[0.01, 0.02, 0.01]).0, Verdict::Pass);
        let (verdict, why) = judged(&[0.05, 0.05, 0.05]);
        assert_eq!((verdict, why.as_str()), (Verdict::Fail, "0.05 is above 0.02"));
        assert_eq!(
            judged(&[0.05, 0.05]).0,
            Verdict::NoData,
            "too few to fail by accident"
        );
        assert_eq!(judged(&[]).0, Verdict::NoData);
        let traffic = metric(None, Some(100.0), None);
        assert_eq!(judge(&traffic, 1, &[99.0], None).0, Verdict::Fail);
    }

    #[test]
    fn a_candidate_is_compared_with_what_runs_beside_it() {
        let latency = metric(None, None, Some(20.0));
        let judged = |candidate: &[f64], baseline: &[f64]| judge(&latency, 2, candidate, Some(baseline)).0;
        assert_eq!(judged(&[0.119, 0.12], &[0.1, 0.1]), Verdict::Pass);
        assert_eq!(judged(&[0.125, 0.12], &[0.1, 0.1]), Verdict::Fail);
        assert_eq!(judged(&[0.125, 0.12], &[0.1]), Verdict::NoData);
        assert_eq!(
            judge(&latency, 2, &[9.0, 9.0], None).0,
            Verdict::Pass,
            "alone there is no increase"
        );
        let (_, why) = judge(&latency, 1, &[0.3], Some(&[0.1]));
        assert_eq!(
            why,
            "0.3 against 0.1 on the stable side, which is more than 20 % above"
        );
    }

    #[test]
    fn the_worst_finding_decides_and_is_named() {
        let finding = |name: &str, verdict| Finding {
            name: name.to_owned(),
            verdict,
            why: format!("why {name}"),
        };
        let judgement = Judgement::of(vec![
            finding("latency", Verdict::Pass),
            finding("errors", Verdict::Fail),
            finding("traffic", Verdict::NoData),
        ]);
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert_eq!(judgement.why(), "errors: why errors");
        assert_eq!(Judgement::of(Vec::new()).verdict, Verdict::Pass);
    }

    #[test]
    fn a_query_names_its_side() {
        let asked = question(
            &Analysis::default(),
            &metric(Some(1.0), None, None),
            Side::Candidate,
            "v2",
            "shop",
        );
        assert_eq!(
            asked.query,
            "rate(errors{side=\"candidate\", app=\"shop\", version=\"v2\"})"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.0512345, "0.05123"),
            (123456.0, "123456"),
            (1.5, "1.5"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
