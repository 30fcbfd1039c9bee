//! The adapter against a small Loki, over real HTTP, in the shapes of its documentation
//! (grafana.com/docs/loki/latest/reference/loki-http-api): the port's suite, and what is Loki's own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use adapter_monitor::{Metrics, StoreConfig, StoreKind};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind};
use ports::conformance::metrics::MetricWorld;
use ports::{MetricQuery, MetricQuestion, Series, Window};
use serde_json::{Value, json};
use testkit::peer::{Peer, Phase, Reply, Request, Site};

const MEASURED: &str = r#"sum by (side) (rate({app="shop"} |= "error" [1m]))"#;
const NEVER: &str = r#"sum(rate({app="nowhere"}[1m]))"#;
const LINES: &str = r#"{app="shop"}"#;

/// What was counted: a value every so often from the start on.
#[derive(Default)]
struct Counted {
    start: i64,
    every: i64,
    series: Vec<(String, Vec<f64>)>,
}

struct Loki(Counted);

impl Loki {
    fn query_range(&self, request: &Request) -> Reply {
        let param = |name: &str| request.param(name).unwrap_or_default();
        let seconds = |name: &str| param(name).parse::<f64>();
        let (Ok(start), Ok(end), Ok(step)) = (seconds("start"), seconds("end"), seconds("step")) else {
            return Reply::text(400, "could not parse 'start' parameter");
        };
        let result = match param("query") {
            MEASURED => self.matrix(start, end, step),
            NEVER => Vec::new(),
            LINES => {
                let stream =
                    json!({ "stream": { "app": "shop" }, "values": [["1767225600000000000", "an error"]] });
                return answer("streams", vec![stream]);
            }
            _ => {
                return Reply::text(
                    400,
                    "parse error at line 1, col 5: syntax error: unexpected IDENTIFIER",
                );
            }
        };
        answer("matrix", result)
    }

    fn matrix(&self, start: f64, end: f64, step: f64) -> Vec<Value> {
        let counted = &self.0;
        let values = |values: &[f64]| {
            let mut found = Vec::new();
            let mut at = start;
            while at <= end {
                let place = (at as i64 - counted.start).div_euclid(counted.every);
                let value = usize::try_from(place).ok().and_then(|place| values.get(place));
                found.extend(value.map(|value| json!([at, text(*value)])));
                at += step;
            }
            found
        };
        let series = counted.series.iter().map(|(side, own)| (side, values(own)));
        series
            .filter(|(_, values)| !values.is_empty())
            .map(|(side, values)| json!({ "metric": { "side": side }, "values": values }))
            .collect()
    }
}

fn text(value: f64) -> String {
    match value {
        value if value.is_nan() => "NaN".to_owned(),
        value if value.is_infinite() => "+Inf".to_owned(),
        value => value.to_string(),
    }
}

fn answer(kind: &str, result: Vec<Value>) -> Reply {
    let stats = json!({ "summary": { "bytesProcessedPerSecond": 0, "execTime": 0.004 } });
    let data = json!({ "resultType": kind, "result": result, "stats": stats });
    Reply::json(200, &json!({ "status": "success", "data": data }))
}

impl Site for Loki {
    fn answer(&self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/loki/api/v1/query_range") => self.query_range(request),
            _ => Reply::text(404, "404 page not found"),
        }
    }
    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::text(status, "too many outstanding requests")
    }
    fn state(&self) -> Value {
        Value::Null
    }
}

fn config(peer: &Peer) -> StoreConfig {
    StoreConfig {
        kind: StoreKind::Loki,
        ..StoreConfig::new(peer.url().parse().expect("the peer's address"))
    }
}

fn metrics(config: StoreConfig) -> Metrics {
    Metrics::new(&BTreeMap::from([("logs".to_owned(), config)])).expect("a usable configuration")
}

fn question(query: &str) -> MetricQuestion {
    MetricQuestion {
        source: "logs".to_owned(),
        query: query.to_owned(),
    }
}

#[derive(Default)]
struct World {
    metrics: OnceLock<Metrics>,
    running: Mutex<Option<Peer>>,
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
        let start = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
        let own = |(side, values): &(&str, Vec<f64>)| ((*side).to_owned(), values.clone());
        let peer = Peer::start(Arc::new(Loki(Counted {
            start: start.timestamp(),
            every: i64::try_from(every.as_secs()).expect("short"),
            series: series.iter().map(own).collect(),
        })));
        let first = self.metrics.set(metrics(config(&peer)));
        assert!(first.is_ok(), "one Loki a test");
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
        (start, question(MEASURED))
    }
    fn unmeasured(&self) -> MetricQuestion {
        question(NEVER)
    }
    fn nonsense(&self) -> MetricQuestion {
        question("sum(rate(")
    }
    async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(running.expect("it runs"));
    }
}

mod suite {
    ports::metrics_conformance!(super::World::default());
}

fn window() -> Window {
    let start = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
    Window {
        start,
        end: start + Duration::from_secs(60),
        step: Duration::from_millis(1500),
    }
}

async fn ask(peer: &Peer, query: &str) -> Result<Vec<Series>, Error> {
    metrics(config(peer)).range(&question(query), &window()).await
}

#[tokio::test]
async fn what_is_asked_is_what_loki_documents() {
    let peer = Peer::start(Arc::new(Loki(Counted {
        every: 1,
        ..Counted::default()
    })));
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let noted = Arc::clone(&seen);
    peer.on_request(move |request, phase| {
        if phase == Phase::Arrived {
            noted.lock().expect("the list").push(request.clone());
        }
    });
    let mut config = config(&peer);
    config.headers.insert("X-Scope-OrgID".to_owned(), "team-a".into());
    let read = metrics(config).range(&question(NEVER), &window()).await;
    assert_eq!(read.expect("is answered"), []);
    let seen = seen.lock().expect("the list");
    let [request] = seen.as_slice() else {
        panic!("one request: {seen:?}")
    };
    assert_eq!(request.header("x-scope-orgid"), Some("team-a"));
    let expected = json!({
        "query": NEVER, "start": "1767225600.000", "end": "1767225660.000", "step": "1.500",
    });
    assert_eq!(Value::Object(request.fields()), expected);
}

#[tokio::test]
async fn a_question_for_lines_is_told_from_one_that_counts_them() {
    let peer = Peer::start(Arc::new(Loki(Counted::default())));
    let error = ask(&peer, LINES).await.expect_err("lines are no measurement");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(
        error
            .next
            .expect("says what to do")
            .contains("rate or count_over_time")
    );
}

#[tokio::test]
async fn its_own_words_for_a_wrong_question_are_shown() {
    let peer = Peer::start(Arc::new(Loki(Counted::default())));
    let error = ask(&peer, "sum(rate(").await.expect_err("is not understood");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error.causes.join(" ").contains("parse error at line 1, col 5"),
        "{error:?}"
    );
    assert_eq!(error.next.as_deref(), Some("Correct the query"));
}

#[test]
fn what_loki_does_not_know_is_refused_at_the_start() {
    let mut config = StoreConfig::new("http://loki:3100".parse().expect("an address"));
    (config.kind, config.lookback) = (StoreKind::Loki, Some(Duration::from_secs(60)));
    let error = Metrics::new(&BTreeMap::from([("logs".to_owned(), config)])).err();
    assert!(error.expect("is refused").to_string().contains("`lookback`"));
}
