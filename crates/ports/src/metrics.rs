use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::Result;
use serde::{Deserialize, Serialize};

/// A question to a store of measurements, in its own language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricQuestion {
    /// Which store, as configured.
    pub source: String,
    pub query: String,
}

/// A time that is over: asked twice, it reads the same. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// How far apart its points are.
    pub step: Duration,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    /// Oldest first, each a number: what is not one (a division by nothing) is no sample.
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub at: DateTime<Utc>,
    pub value: f64,
}

/// Reads measurements.
#[async_trait]
pub trait MetricQuery: Send + Sync {
    /// The series within a window that has ended, ordered by their labels. No series, or none with a sample, is an
    /// empty answer and not an error: nothing was measured. A question that cannot be understood is
    /// [`Invalid`](domain::ErrorKind::Invalid) and names what is wrong with it.
    async fn range(&self, question: &MetricQuestion, window: &Window) -> Result<Vec<Series>>;
}
