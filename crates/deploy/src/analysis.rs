//! Measurements of a window that is over, as they are asked for and handed to the judge.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use domain::Error;
use ports::{MetricQuery, MetricQuestion, Series, Side};
use serde::{Deserialize, Serialize};

use crate::judge::{
    self, Bounds, Check, Compare, Decision, Evidence, Measurement, Outcome, Scale, Sides, Threshold,
};
use crate::report;
use crate::settings::{Analysis, Metric};

/// What always is looked at, whatever is measured: a check, or the replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) well: bool,
    pub(crate) why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<DateTime<Utc>>,
}

/// One look: what was seen, and what was judged of the measurements so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    pub(crate) seen: Vec<Seen>,
    /// None where nothing is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) judgement: Option<judge::Judgement>,
    /// What the store of measurements did not answer in this window.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unanswered: Vec<String>,
    /// What it was judged by, where no metric was, or not every one: that is a pass which nobody shall take for more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unjudged: Option<String>,
}

impl Judged {
    /// Nothing to judge by is a pass: what always is looked at stands beside it, and `unjudged` says so.
    pub(crate) fn decision(&self) -> Decision {
        if self.seen.iter().any(|seen| !seen.well) {
            return Decision::Abort;
        }
        self.judgement
            .as_ref()
            .map_or(Decision::Proceed, |judgement| judgement.decision)
    }

    pub(crate) fn words(&self) -> &'static str {
        match (&self.judgement, self.decision()) {
            (Some(judgement), decision) if decision == judgement.decision => words(judgement.outcome),
            (_, Decision::Abort) => words(Outcome::Fail),
            _ => words(Outcome::Pass),
        }
    }

    /// What decided, in a sentence.
    pub(crate) fn why(&self) -> String {
        let unwell = self.seen.iter().filter(|seen| !seen.well);
        let mut why: Vec<String> = unwell
            .map(|seen| format!("{}: {}", seen.name, seen.why))
            .collect();
        if let Some(judgement) = self.judgement.as_ref().filter(|_| why.is_empty()) {
            why.push(judgement.why.clone());
            why.extend(self.unanswered.iter().cloned());
        }
        why.join("; ")
    }
}

pub(crate) fn words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Inconclusive => "inconclusive",
        Outcome::NoData => "no data",
    }
}

/// Both sides' levels and the effect with its bounds; of a check against limits the values.
pub(crate) fn effect(evidence: &Evidence) -> Option<String> {
    let Some(effect) = evidence.effect else {
        let values: Vec<String> = evidence.values.iter().map(|value| judge::short(*value)).collect();
        return (!values.is_empty()).then(|| format!("values {}", values.join(", ")));
    };
    let [value, low, high] = [effect.value, effect.low, effect.high].map(judge::short);
    let times = if evidence.scale == Some(Scale::Ratio) {
        "times "
    } else {
        ""
    };
    let level = evidence.level.map_or_else(String::new, |level| {
        format!(
            "{} against {}, ",
            judge::short(level.canary),
            judge::short(level.baseline)
        )
    });
    Some(format!(
        "{level}effect {times}{value} ({low} to {high}) over {} points",
        evidence.points.canary
    ))
}

impl Metric {
    /// How it is judged beside a baseline: as it says, as its name says, or by its limits.
    fn beside(&self) -> Option<Check> {
        let quantile = self.name.strip_prefix("latency_p").and_then(quantile);
        let usual = match quantile {
            _ if self.name == "error_rate" => Some(Compare::error_rate()),
            Some(quantile) => Some(Compare::latency(quantile)),
            None => None,
        };
        let said = self.check.clone().or(usual.map(Check::Compare));
        said.or_else(|| self.alone())
    }

    /// How it is judged where there is nothing to compare with: by limits, if it has any.
    fn alone(&self) -> Option<Check> {
        if self.min.is_none() && self.max.is_none() {
            return match &self.check {
                Some(Check::Threshold(threshold)) => Some(Check::Threshold(threshold.clone())),
                _ => None,
            };
        }
        let success = Some(Bounds {
            min: self.min,
            max: self.max,
        });
        Some(Check::Threshold(Threshold {
            success,
            ..Threshold::default()
        }))
    }
}

/// `95` is 0.95, `999` is 0.999.
fn quantile(digits: &str) -> Option<f64> {
    let all = (2..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| format!("0.{digits}").parse().ok()).flatten()
}

impl Analysis {
    /// What the judge is asked; without metrics where nothing says what is well.
    pub(crate) fn asked(&self, compared: bool) -> judge::Analysis {
        let check = |metric: &Metric| if compared { metric.beside() } else { metric.alone() };
        let metrics: Vec<judge::Metric> = self
            .metrics
            .iter()
            .filter_map(|metric| {
                Some(judge::Metric {
                    name: metric.name.clone(),
                    groups: metric.groups.clone(),
                    criticality: metric.criticality,
                    check: check(metric)?,
                })
            })
            .collect();
        let mut groups = self.groups.clone();
        if !compared {
            // Of metrics that are only compared nothing is left.
            groups.retain(|group, _| {
                let of = |metric: &judge::Metric| match metric.groups.is_empty() {
                    true => metric.name == *group,
                    false => metric.groups.contains(group),
                };
                metrics.iter().any(of)
            });
        }
        judge::Analysis {
            metrics,
            groups,
            pass: self.pass,
            marginal: self.marginal,
            risk: self.risk,
            min_points: self.min_points,
            max_extensions: self.extensions,
        }
    }

    /// How far the points of a window are apart.
    pub(crate) fn interval(&self) -> TimeDelta {
        let four_scrapes = self.scrape_interval.0 * 4;
        let interval = self.interval.map_or(four_scrapes, |span| span.0);
        TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX)
    }

    /// How often the store collects.
    pub(crate) fn scrape(&self) -> TimeDelta {
        TimeDelta::from_std(self.scrape_interval.0).unwrap_or(TimeDelta::MAX)
    }

    /// What is wrong with it, for the one who wrote it.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let silent = self.metrics.iter().filter(|metric| metric.beside().is_none());
        found.extend(silent.map(|metric| {
            format!(
                "metric {:?} says nothing of what is well: give it `max`, `min` or `check`, or call it error_rate or \
                 latency_p95, which are compared without",
                metric.name
            )
        }));
        let second = TimeDelta::seconds(1);
        if self.scrape_interval.0.is_zero() {
            found.push("analysis.scrape_interval is nothing".to_owned());
        } else if self.interval() < second || self.interval().subsec_nanos() != 0 {
            found.push("analysis.interval, or four times scrape_interval, must be whole seconds".to_owned());
        } else if self.at_least.0 < self.interval().to_std().unwrap_or_default() {
            found.push(
                "analysis.at_least is shorter than one interval, so a window could have no point".to_owned(),
            );
        }
        if found.is_empty() {
            for compared in [true, false] {
                let asked = self.asked(compared);
                if !asked.metrics.is_empty() {
                    found.extend(asked.problems());
                }
            }
        }
        found.dedup();
        found
    }
}

/// Which side of what is asked about.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(crate) side: Side,
    pub(crate) version: &'a str,
    pub(crate) workload: &'a str,
}

/// `query` is one of the metric's own.
pub(crate) fn question(analysis: &Analysis, metric: &Metric, query: &str, of: Of) -> MetricQuestion {
    let interval = format!("{}s", analysis.interval().num_seconds());
    let query = query
        .replace("${side}", of.side.as_str())
        .replace("${version}", of.version)
        .replace("${workload}", of.workload)
        .replace("${interval}", &interval);
    MetricQuestion {
        source: metric.source.as_ref().unwrap_or(&analysis.source).clone(),
        query,
    }
}

/// The points of a span: each is of the interval before it, so that the first lies one interval after the start.
pub(crate) fn points(analysis: &Analysis, span: judge::Span) -> ports::Window {
    let interval = analysis.interval();
    ports::Window {
        start: span.from + interval,
        end: span.to,
        step: interval.to_std().unwrap_or_default(),
    }
}

/// The one series that a metric's question is answered with, or none.
pub(crate) fn only(answer: Vec<Series>) -> Result<Option<Series>, Error> {
    let count = answer.len();
    let mut all = answer.into_iter();
    match (all.next(), all.next()) {
        (first, None) => Ok(first),
        _ => Err(Error::invalid(format!(
            "it is answered with {count} series, and one is needed: sum them up in the query"
        ))),
    }
}

/// What a window is of, and who answers.
pub(crate) struct Reader<'a> {
    pub(crate) store: &'a dyn MetricQuery,
    pub(crate) analysis: &'a Analysis,
    pub(crate) span: judge::Span,
    pub(crate) step: u32,
    pub(crate) tried: Of<'a>,
    /// What the tried side is compared with.
    pub(crate) baseline: Option<Of<'a>>,
}

impl Reader<'_> {
    /// Everything that is judged in the window, and what was not answered. A store that does not answer says nothing of
    /// the candidate, neither good nor bad.
    pub(crate) async fn read(&self, asked: &judge::Analysis) -> (judge::Window, Vec<String>) {
        let mut window = judge::Window {
            span: self.span,
            step: self.step,
            interval_s: u32::try_from(self.analysis.interval().num_seconds()).unwrap_or(u32::MAX),
            compared: BTreeMap::new(),
            measured: BTreeMap::new(),
        };
        let mut unanswered = Vec::new();
        for wanted in &asked.metrics {
            let Some(metric) = self.analysis.metrics.iter().find(|of| of.name == wanted.name) else {
                continue;
            };
            let name = metric.name.clone();
            let not_read = |error: &Error| format!("{name} could not be read: {}", report::told_once(error));
            match (&wanted.check, self.baseline) {
                (Check::Threshold(_), _) | (_, None) => {
                    let measured = match self.samples(metric, self.tried).await {
                        Ok(samples) => self.mean(&samples),
                        Err(error) => {
                            unanswered.push(not_read(&error));
                            Measurement::Error(report::told_once(&error))
                        }
                    };
                    window.measured.insert(name.clone(), vec![measured]);
                }
                (_, Some(baseline)) => match self.sides(metric, baseline).await {
                    Ok(sides) => {
                        window.compared.insert(name.clone(), sides);
                    }
                    Err(error) => unanswered.push(not_read(&error)),
                },
            }
        }
        (window, unanswered)
    }

    async fn sides(&self, metric: &Metric, baseline: Of<'_>) -> Result<Sides, Error> {
        Ok(Sides {
            canary: self.samples(metric, self.tried).await?,
            baseline: self.samples(metric, baseline).await?,
        })
    }

    async fn samples(&self, metric: &Metric, of: Of<'_>) -> Result<Vec<judge::Sample>, Error> {
        let values = self.series(metric, &metric.query, of).await?;
        let counts: HashMap<DateTime<Utc>, f64> = match &metric.requests {
            Some(query) => self.series(metric, query, of).await?.into_iter().collect(),
            None => HashMap::new(),
        };
        let sample = |(at, value): (DateTime<Utc>, f64)| {
            judge::Sample::new(at.timestamp(), value, counts.get(&at).copied())
        };
        Ok(values.into_iter().map(sample).collect())
    }

    async fn series(
        &self,
        metric: &Metric,
        query: &str,
        of: Of<'_>,
    ) -> Result<Vec<(DateTime<Utc>, f64)>, Error> {
        let question = question(self.analysis, metric, query, of);
        let answer = self
            .store
            .range(&question, &points(self.analysis, self.span))
            .await?;
        let series = only(answer)?;
        let samples = series.map(|series| series.samples).unwrap_or_default();
        Ok(samples
            .into_iter()
            .map(|sample| (sample.at, sample.value))
            .collect())
    }

    /// A window is one measurement: the mean of its points, where there are enough.
    fn mean(&self, samples: &[judge::Sample]) -> Measurement {
        let values: Vec<f64> = samples.iter().filter_map(|sample| sample.value).collect();
        let enough = usize::try_from(self.analysis.minimum_samples).unwrap_or(usize::MAX);
        if values.len() < enough.max(1) {
            return Measurement::Nothing;
        }
        Measurement::Value(values.iter().sum::<f64>() / values.len() as f64)
    }
}

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod tests;
