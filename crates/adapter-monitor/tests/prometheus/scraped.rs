//! What Prometheus scraped itself from a target of the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use ports::{MetricQuery, Sample, Series, Window};
use serde_json::Value;
use testkit::peer::{Peer, Reply, Request, Site};
use testkit::{Prometheus, PrometheusSetup};

use super::{metrics, question, store};

const LIMIT: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_millis(100);

/// Counts how often it was scraped.
#[derive(Default)]
struct Target(AtomicU64);

impl Site for Target {
    fn answer(&self, _: &Request) -> Reply {
        let times = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let text = format!("# TYPE scrapes_total counter\nscrapes_total {times}\nalways_nan NaN\n");
        Reply::text(200, text).header("content-type", "text/plain; version=0.0.4")
    }
    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::empty(status)
    }
    fn state(&self) -> Value {
        Value::Null
    }
}

async fn scraping(target: &Peer) -> Prometheus {
    let target = target.url().replace("http://", "");
    let config = format!(
        "global:\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n\
         scrape_configs:\n- job_name: app\n  static_configs:\n  - targets: ['{target}']\n"
    );
    let setup = PrometheusSetup {
        config: Some(config),
        ..PrometheusSetup::default()
    };
    Prometheus::start(&setup).await
}

fn last(length: TimeDelta) -> Window {
    let end = Utc::now();
    Window {
        start: end - length,
        end,
        step: EVERY,
    }
}

/// Asks again until what was read is as wanted.
async fn until(
    port: &dyn MetricQuery,
    query: &str,
    wanted: impl Fn(&[Series]) -> bool,
) -> (Window, Vec<Series>) {
    let started = Instant::now();
    loop {
        let window = last(TimeDelta::seconds(60));
        let read = port.range(&question(query), &window).await.expect("reads");
        if wanted(&read) {
            return (window, read);
        }
        assert!(
            started.elapsed() < LIMIT,
            "{query} never came to be as wanted: {read:?}"
        );
        tokio::time::sleep(EVERY).await;
    }
}

fn newest(read: &[Series]) -> Option<Sample> {
    read.first()?.samples.last().copied()
}

#[tokio::test]
async fn what_a_target_says_is_read_and_a_target_that_is_gone_leaves_no_samples_behind() {
    let target = Peer::start(Arc::new(Target::default()));
    let prometheus = scraping(&target).await;
    let metrics = metrics(store(&prometheus));
    let (_, read) = until(&metrics, "scrapes_total", |read| {
        newest(read).is_some_and(|s| s.value >= 5.0)
    })
    .await;
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0].labels.get("job").map(String::as_str), Some("app"));
    let values: Vec<f64> = read[0].samples.iter().map(|sample| sample.value).collect();
    assert!(values.is_sorted() && values[0] >= 1.0, "{values:?}");
    assert_eq!(
        metrics
            .range(&question("always_nan"), &last(TimeDelta::seconds(60)))
            .await,
        Ok(Vec::new())
    );

    drop(target);
    let (window, read) = until(&metrics, "up", |read| {
        newest(read).is_some_and(|s| s.value == 0.0)
    })
    .await;
    let down = newest(&read).expect("a sample").at;
    let scrapes = metrics
        .range(&question("scrapes_total"), &window)
        .await
        .expect("reads");
    let end = newest(&scrapes)
        .map(|sample| sample.at)
        .unwrap_or(DateTime::UNIX_EPOCH);
    assert!(
        end < down,
        "the last value stood in for the target that was gone: {end} {down}"
    );
}

#[tokio::test]
async fn a_window_that_is_over_reads_the_same_while_scraping_goes_on() {
    let target = Peer::start(Arc::new(Target::default()));
    let prometheus = scraping(&target).await;
    let metrics = metrics(store(&prometheus));
    let (mut window, read) = until(&metrics, "scrapes_total", |read| {
        newest(read).is_some_and(|s| s.value >= 10.0)
    })
    .await;
    // Two scrapes before the end, as whoever judges must choose it.
    window.end = newest(&read).expect("a sample").at - EVERY * 2;
    let before = metrics
        .range(&question("scrapes_total"), &window)
        .await
        .expect("reads");
    until(&metrics, "scrapes_total", |read| {
        newest(read).is_some_and(|s| s.value >= 20.0)
    })
    .await;
    let again = metrics
        .range(&question("scrapes_total"), &window)
        .await
        .expect("reads");
    assert_eq!(before, again);
    assert!(
        newest(&before).is_some_and(|sample| sample.value >= 1.0),
        "{before:?}"
    );
}
