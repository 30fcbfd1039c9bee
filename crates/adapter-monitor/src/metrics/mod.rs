//! Prometheus as [`MetricQuery`]: `POST /api/v1/query_range` over a window that has ended
//! (<https://prometheus.io/docs/prometheus/latest/querying/api/>); and Loki, whose `GET /loki/api/v1/query_range` answers a
//! metric query in the same shape (<https://grafana.com/docs/loki/latest/reference/loki-http-api/>).

mod answer;
mod refusal;
mod store;

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{Error, Result, nearest};
use ports::{MetricQuery, MetricQuestion, Series, Window};

use crate::config::StoreConfig;
use store::Store;

/// All stores that are configured, as one: each question goes to the store that it names.
pub struct Metrics {
    stores: BTreeMap<String, Store>,
}

impl Metrics {
    /// Fails for a configuration that can never work. Asks nothing.
    pub fn new(stores: &BTreeMap<String, StoreConfig>) -> Result<Self> {
        let opened = stores
            .iter()
            .map(|(name, config)| Ok((name.clone(), Store::new(name, config)?)));
        let stores = opened.collect::<Result<_>>()?;
        Ok(Self { stores })
    }

    fn store(&self, name: &str) -> Result<&Store> {
        self.stores.get(name).ok_or_else(|| {
            let near = nearest(name, self.stores.keys().map(String::as_str));
            let next = match (near, self.stores.is_empty()) {
                (Some(near), _) => format!("Did you mean `{near}`?"),
                (None, false) => {
                    let names: Vec<&str> = self.stores.keys().map(String::as_str).collect();
                    format!("There are: {}", names.join(", "))
                }
                (None, true) => "Add it, with its address, to the metrics in the configuration".to_owned(),
            };
            Error::invalid(format!("no store of measurements called `{name}` is configured")).next(next)
        })
    }
}

#[async_trait]
impl MetricQuery for Metrics {
    async fn range(&self, question: &MetricQuestion, window: &Window) -> Result<Vec<Series>> {
        self.store(&question.source)?.range(&question.query, window).await
    }
}
