//! The adapter against what a proxy, another maker's store or a broken one answers in place of Prometheus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapter_monitor::{Metrics, StoreConfig};
use chrono::DateTime;
use domain::{Error, ErrorKind};
use ports::{MetricQuery, MetricQuestion, Series, Window};
use serde_json::{Value, json};
use testkit::peer::{Fault, Peer, Phase, Reply, Request, Site, When};

/// Answers every request with the same words.
struct Says(u16, String);

impl Site for Says {
    fn answer(&self, _: &Request) -> Reply {
        Reply::text(self.0, self.1.clone())
    }
    fn refuse(&self, status: u16, retry_after: Option<Duration>) -> Reply {
        let reply = Reply::text(status, "<html>upstream trouble</html>");
        match retry_after {
            Some(wait) => reply.header("retry-after", wait.as_secs()),
            None => reply,
        }
    }
    fn state(&self) -> Value {
        Value::Null
    }
}

fn says(status: u16, text: impl Into<String>) -> Peer {
    Peer::start(Arc::new(Says(status, text.into())))
}

fn data() -> Peer {
    let series = json!([{ "metric": { "side": "stable" }, "values": [[1_767_225_600.5, "1"]] }]);
    let answer = json!({ "status": "success", "data": { "resultType": "matrix", "result": series } });
    says(200, answer.to_string())
}

fn config(peer: &Peer) -> StoreConfig {
    StoreConfig::new(peer.url().parse().expect("the peer's address"))
}

fn metrics(config: StoreConfig) -> Metrics {
    Metrics::new(&BTreeMap::from([("main".to_owned(), config)])).expect("a usable configuration")
}

async fn ask(config: StoreConfig) -> Result<Vec<Series>, Error> {
    ask_for(config, "main", window()).await
}

async fn ask_for(config: StoreConfig, source: &str, window: Window) -> Result<Vec<Series>, Error> {
    let question = MetricQuestion {
        source: source.to_owned(),
        query: "errors:rate1m".to_owned(),
    };
    metrics(config).range(&question, &window).await
}

fn window() -> Window {
    let start = DateTime::from_timestamp(1_767_225_600, 0).expect("a time");
    Window {
        start,
        end: start + Duration::from_secs(60),
        step: Duration::from_millis(1500),
    }
}

async fn refused(config: StoreConfig) -> Error {
    let error = ask(config).await.expect_err("is no answer");
    assert!(
        error.to_string().contains("`errors:rate1m`"),
        "the query is named: {error}"
    );
    error
}

#[tokio::test]
async fn what_is_asked_is_what_prometheus_documents() {
    let peer = data();
    let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
    let noted = Arc::clone(&seen);
    peer.on_request(move |request, phase| {
        if phase == Phase::Arrived {
            noted.lock().expect("the list").push(request.clone());
        }
    });
    let mut config = config(&peer);
    config.url = format!("{}/prometheus/", peer.url()).parse().expect("an address");
    config.bearer_token = Some("geheim-token".into());
    config.headers.insert("X-Scope-OrgID".to_owned(), "team-a".into());
    config.lookback = Some(Duration::from_secs(20));
    ask(config).await.expect("is answered");
    let seen = seen.lock().expect("the list");
    let [request] = seen.as_slice() else {
        panic!("one request: {seen:?}")
    };
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/prometheus/api/v1/query_range")
    );
    assert_eq!(request.header("authorization"), Some("Bearer geheim-token"));
    assert_eq!(request.header("x-scope-orgid"), Some("team-a"));
    let expected = json!({
        "query": "errors:rate1m",
        "start": "1767225600.000",
        "end": "1767225660.000",
        "step": "1.500",
        "timeout": "27000ms",
        "lookback_delta": "20000ms",
    });
    assert_eq!(Value::Object(request.fields()), expected);
}

#[tokio::test]
async fn a_secret_that_is_repeated_by_the_other_side_is_not_shown() {
    for status in [400, 401, 502] {
        let peer = data();
        peer.faults(2, &When::any(), &Fault::Echo(status));
        let mut with_token = config(&peer);
        with_token.bearer_token = Some("geheim-token".into());
        let mut with_password = config(&peer);
        with_password.username = Some("ada".to_owned());
        with_password.password = Some("geheim-wort".into());
        for config in [with_token, with_password] {
            let said = format!("{:?}", refused(config).await);
            assert!(said.contains("[secret]"), "{said}");
            // The second is the first half of the password's encoded form.
            assert!(!said.contains("geheim") && !said.contains("YWRhOmdl"), "{said}");
        }
    }
}

#[tokio::test]
async fn proxies_and_other_stores_are_understood_by_their_status() {
    for (status, kind) in [
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (404, ErrorKind::Invalid),
        (405, ErrorKind::Invalid),
        (500, ErrorKind::Unavailable),
        (502, ErrorKind::Unavailable),
        (504, ErrorKind::Unavailable),
    ] {
        let peer = data();
        peer.fault(&When::any(), &Fault::Status(status));
        let error = refused(config(&peer)).await;
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.to_string().contains("html"), "{error}");
    }
}

#[tokio::test]
async fn who_is_told_to_wait_is_told_for_how_long() {
    let peer = data();
    peer.fault(&When::any(), &Fault::RateLimited(Duration::from_secs(17)));
    let error = refused(config(&peer)).await;
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
}

#[tokio::test]
async fn nothing_is_asked_twice_and_no_broken_answer_is_an_empty_one() {
    for fault in [Fault::Cut, Fault::CutBody(20), Fault::DoneThenCut, Fault::Hang] {
        let peer = data();
        peer.fault(&When::any(), &fault);
        let mut config = config(&peer);
        config.timeout = Duration::from_millis(500);
        let error = refused(config).await;
        assert_eq!(error.kind, ErrorKind::Unavailable, "{fault:?}: {error}");
        assert_eq!(peer.requests().len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn what_is_no_range_of_values_is_no_answer() {
    for answer in [
        "<html>please log in</html>",
        "{}",
        r#"{"status":"success"}"#,
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"one"]]}]}}"#,
        r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{}]]}]}}"#,
    ] {
        let peer = says(200, answer);
        let error = refused(config(&peer)).await;
        assert_eq!(error.kind, ErrorKind::Invalid, "{answer}: {error}");
        assert!(error.next.is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_token_does_not_travel_to_another_host() {
    let elsewhere = data();
    struct Moved(String);
    impl Site for Moved {
        fn answer(&self, _: &Request) -> Reply {
            Reply::empty(307).header("location", format!("{}/api/v1/query_range", self.0))
        }
        fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
            Reply::empty(status)
        }
        fn state(&self) -> Value {
            Value::Null
        }
    }
    let here = Peer::start(Arc::new(Moved(elsewhere.url())));
    let mut config = config(&here);
    config.bearer_token = Some("geheim-token".into());
    let error = refused(config).await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("307"), "{error}");
    assert_eq!(elsewhere.requests(), []);
}

#[tokio::test]
async fn an_answer_of_any_size_is_read_up_to_the_limit_and_not_beyond() {
    let peer = data();
    let mut config = config(&peer);
    config.max_answer_bytes = 50;
    let error = refused(config.clone()).await;
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.to_string().contains("larger than 50 bytes"), "{error}");
    config.max_answer_bytes = 1 << 10;
    assert_eq!(ask(config).await.expect("fits").len(), 1);
}

#[tokio::test]
async fn an_answer_that_calls_itself_partial_is_refused() {
    let answer = r#"{"status":"success","isPartial":true,"data":{"resultType":"matrix","result":[]}}"#;
    let peer = says(200, answer);
    let error = refused(config(&peer)).await;
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let mut config = config(&peer);
    config.accept_partial = true;
    assert_eq!(ask(config).await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_store_that_nobody_configured_is_named_with_the_nearest_one() {
    let peer = data();
    let error = ask_for(config(&peer), "mian", window())
        .await
        .expect_err("is unknown");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "no store of measurements called `mian` is configured. Did you mean `main`?"
    );
    assert_eq!(peer.requests(), []);
}

#[tokio::test]
async fn a_window_that_makes_no_sense_is_refused_before_anything_is_asked() {
    let peer = data();
    let backwards = Window {
        end: window().start - Duration::from_secs(1),
        ..window()
    };
    let stepless = Window {
        step: Duration::ZERO,
        ..window()
    };
    for window in [backwards, stepless] {
        let error = ask_for(config(&peer), "main", window)
            .await
            .expect_err("makes no sense");
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
    assert_eq!(peer.requests(), []);
}

#[test]
fn a_configuration_that_can_never_work_is_refused_at_the_start_without_its_secrets() {
    let good = StoreConfig::new("http://p:9090".parse().expect("an address"));
    let wrong: [&dyn Fn(&mut StoreConfig); 6] = [
        &|config| config.url = "http://ada:geheim@p".parse().expect("an address"),
        &|config| {
            config.bearer_token = Some("geheim".into());
            config.username = Some("ada".to_owned());
        },
        &|config| config.password = Some("geheim".into()),
        &|config| config.bearer_token = Some("gehe\nim".into()),
        &|config| config.timeout = Duration::ZERO,
        &|config| _ = config.headers.insert("not a name".to_owned(), "geheim".into()),
    ];
    for change in wrong {
        let mut config = good.clone();
        change(&mut config);
        let stores = BTreeMap::from([("main".to_owned(), config)]);
        let error = Metrics::new(&stores).err().expect("is refused");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(!error.to_string().contains("gehe"), "{error}");
    }
}
