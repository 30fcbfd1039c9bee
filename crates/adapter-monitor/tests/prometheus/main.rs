//! The adapter against a real Prometheus: the port's suite, and what only a real one says.

mod conformance;
mod said;
mod scraped;

use std::collections::BTreeMap;
use std::time::Duration;

use adapter_monitor::{Metrics, StoreConfig};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use ports::{MetricQuestion, Window};
use testkit::{Prometheus, PrometheusSetup};

const STORE: &str = "main";

fn store(prometheus: &Prometheus) -> StoreConfig {
    StoreConfig::new(prometheus.url().parse().expect("the address of Prometheus"))
}

fn metrics(store: StoreConfig) -> Metrics {
    Metrics::new(&BTreeMap::from([(STORE.to_owned(), store)])).expect("a usable configuration")
}

fn question(query: &str) -> MetricQuestion {
    MetricQuestion {
        source: STORE.to_owned(),
        query: query.to_owned(),
    }
}

/// Some time ago: old enough for blocks that are over, young enough to be kept.
fn past() -> DateTime<Utc> {
    let day = Utc::now().duration_trunc(TimeDelta::days(1)).expect("a day");
    day - TimeDelta::days(2)
}

fn window(start: DateTime<Utc>, length: Duration) -> Window {
    Window {
        start,
        end: start + length,
        step: Duration::from_secs(15),
    }
}

/// A Prometheus that measured one value every 15 seconds.
async fn measured(values: &[f64]) -> (Prometheus, DateTime<Utc>) {
    let start = past();
    let series = [("stable", values.to_vec())];
    let history = history(start, Duration::from_secs(15), &series);
    let setup = PrometheusSetup {
        history: Some(history),
        ..PrometheusSetup::default()
    };
    (Prometheus::start(&setup).await, start)
}

/// OpenMetrics text, with a series for each side.
fn history(start: DateTime<Utc>, every: Duration, series: &[(&str, Vec<f64>)]) -> String {
    let mut text = "# TYPE measured gauge\n".to_owned();
    for (side, values) in series {
        for (n, value) in (0..).zip(values) {
            let at = (start + every * n).timestamp();
            let value = match value {
                value if value.is_nan() => "NaN".to_owned(),
                value if value.is_infinite() => "+Inf".to_owned(),
                value => value.to_string(),
            };
            text.push_str(&format!("measured{{side=\"{side}\"}} {value} {at}\n"));
        }
    }
    text + "# EOF\n"
}
