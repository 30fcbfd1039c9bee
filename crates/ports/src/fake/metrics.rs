use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Result};

use super::Faults;
use crate::{MetricQuery, MetricQuestion, Sample, Series, Window};

/// Measurements in memory, by question. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeMetrics {
    world: Arc<Mutex<World>>,
    faults: Faults<MetricOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetricOp {
    Range,
}

#[derive(Debug, Default)]
struct World {
    answers: HashMap<String, Known>,
    asked: Vec<(MetricQuestion, Window)>,
}

#[derive(Clone, Debug)]
enum Known {
    /// Repeated over and over at the window's points.
    Values(Vec<f64>),
    Series(Vec<Series>),
}

impl FakeMetrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// The query's values at a window's points, repeated over and over; nothing is measured when there are none.
    pub fn set(&self, query: &str, values: &[f64]) {
        let known = Known::Values(values.to_vec());
        self.world().answers.insert(query.to_owned(), known);
    }

    /// What was measured, of which a question gets what lies in its window.
    pub fn set_series(&self, query: &str, series: Vec<Series>) {
        let known = Known::Series(series);
        self.world().answers.insert(query.to_owned(), known);
    }

    pub fn faults(&self) -> &Faults<MetricOp> {
        &self.faults
    }

    pub fn asked(&self) -> Vec<(MetricQuestion, Window)> {
        self.world().asked.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn range(&mut self, question: &MetricQuestion, window: &Window) -> Result<Vec<Series>> {
        self.asked.push((question.clone(), *window));
        let known = self.answers.get(&question.query).cloned();
        let known = known.ok_or_else(|| {
            Error::invalid(format!(
                "{} does not understand {:?}",
                question.source, question.query
            ))
        })?;
        let mut answer = match known {
            Known::Values(values) if values.is_empty() => Vec::new(),
            Known::Values(values) => vec![Series {
                labels: BTreeMap::new(),
                samples: points(window)
                    .zip(values.iter().cycle())
                    .map(|(at, &value)| Sample { at, value })
                    .collect(),
            }],
            Known::Series(series) => series,
        };
        for series in &mut answer {
            let within = |sample: &Sample| (window.start..=window.end).contains(&sample.at);
            series
                .samples
                .retain(|sample| sample.value.is_finite() && within(sample));
            series.samples.sort_by_key(|sample| sample.at);
        }
        answer.retain(|series| !series.samples.is_empty());
        answer.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(answer)
    }
}

fn points(window: &Window) -> impl Iterator<Item = chrono::DateTime<chrono::Utc>> + use<> {
    let (end, step) = (window.end, window.step.max(std::time::Duration::from_millis(1)));
    std::iter::successors(Some(window.start), move |at| Some(*at + step)).take_while(move |at| *at <= end)
}

#[async_trait]
impl MetricQuery for FakeMetrics {
    async fn range(&self, question: &MetricQuestion, window: &Window) -> Result<Vec<Series>> {
        let effect = || self.world().range(question, window);
        self.faults.around(MetricOp::Range, effect).await
    }
}
