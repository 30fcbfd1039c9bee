use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use adapter_monitor::Metrics;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use ports::conformance::metrics::MetricWorld;
use ports::{MetricQuery, MetricQuestion};
use testkit::{Prometheus, PrometheusSetup};

use super::{history, metrics, past, question, store};

#[derive(Default)]
struct World {
    metrics: OnceLock<Metrics>,
    running: Mutex<Option<Prometheus>>,
}

#[async_trait]
impl MetricWorld for World {
    fn port(&self) -> &dyn MetricQuery {
        self.metrics.get().expect("something was measured first")
    }

    async fn measured(
        &self,
        every: Duration,
        series: &[(&str, Vec<f64>)],
    ) -> (DateTime<Utc>, MetricQuestion) {
        let start = past();
        let setup = PrometheusSetup {
            history: Some(history(start, every, series)),
            ..PrometheusSetup::default()
        };
        let prometheus = Prometheus::start(&setup).await;
        let first = self.metrics.set(metrics(store(&prometheus)));
        assert!(first.is_ok(), "one Prometheus a test");
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(prometheus);
        (start, question("measured"))
    }

    fn unmeasured(&self) -> MetricQuestion {
        question("never_measured")
    }

    fn nonsense(&self) -> MetricQuestion {
        question("measured{")
    }

    async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running.expect("it runs"));
    }
}

ports::metrics_conformance!(World::default());
