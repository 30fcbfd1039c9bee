//! What Prometheus answers instead of data, and what of it a person reads.

use std::time::Duration;

use domain::ErrorKind;
use ports::MetricQuery;
use testkit::{Certificate, Prometheus, PrometheusSetup};

use super::{history, measured, metrics, past, question, store, window};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_query_that_does_not_parse_is_named_with_the_place_of_the_mistake() {
    let (prometheus, start) = measured(&[1.0]).await;
    let metrics = metrics(store(&prometheus));
    let answer = metrics
        .range(&question("sum(measured"), &window(start, MINUTE))
        .await;
    let error = answer.expect_err("does not parse");
    let host = format!("127.0.0.1:{}", prometheus.port());
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        format!(
            "could not read `sum(measured` from the metrics store `main` ({host}): \
             bad_data: 1:13: parse error: unclosed left parenthesis. Correct the query"
        )
    );
}

#[tokio::test]
async fn a_query_that_cannot_be_executed_is_the_askers_to_mend() {
    let start = past();
    let series = [("stable", vec![1.0]), ("candidate", vec![2.0])];
    let setup = PrometheusSetup {
        history: Some(history(start, MINUTE, &series)),
        ..PrometheusSetup::default()
    };
    let prometheus = Prometheus::start(&setup).await;
    let query = question("vector(1) / on() measured");
    let answer = metrics(store(&prometheus))
        .range(&query, &window(start, MINUTE))
        .await;
    let error = answer.expect_err("matches many to one");
    assert_eq!(error.kind, ErrorKind::Invalid);
    let said = error.to_string();
    assert!(
        said.contains("vector(1) / on() measured") && said.contains("execution: "),
        "{said}"
    );
    assert!(said.contains("duplicate series"), "{said}");
}

#[tokio::test]
async fn more_points_than_prometheus_gives_are_an_error_and_not_a_part_of_them() {
    let (prometheus, start) = measured(&[1.0]).await;
    let mut long = window(start, MINUTE * 60 * 24);
    long.step = Duration::from_secs(1);
    let answer = metrics(store(&prometheus))
        .range(&question("measured"), &long)
        .await;
    let error = answer.expect_err("is too long");
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(
        error.to_string().contains("exceeded maximum resolution"),
        "{error}"
    );
    assert_eq!(
        error.next.as_deref(),
        Some("Judge a shorter time or in longer steps")
    );
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_given_up_by_prometheus_in_its_own_words() {
    let start = past();
    let names: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let series: Vec<_> = names.iter().map(|name| (name.as_str(), vec![1.0; 120])).collect();
    let setup = PrometheusSetup {
        history: Some(history(start, MINUTE, &series)),
        ..PrometheusSetup::default()
    };
    let prometheus = Prometheus::start(&setup).await;
    let mut store = store(&prometheus);
    // Nine tenths of it are Prometheus's.
    store.timeout = Duration::from_millis(1500);
    // Some five seconds of work. Of all that it does, Prometheus looks at the clock between the steps of an operator.
    let slow = format!("sum({})", ["measured"; 8].join(" * on(side) "));
    let mut fine = window(start + MINUTE * 60, MINUTE * 60);
    fine.step = Duration::from_secs(1);
    let answer = metrics(store).range(&question(&slow), &fine).await;
    let error = answer.map(|read| read.len()).expect_err("takes too long");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let said = error.to_string();
    assert!(said.contains("timeout: query timed out"), "{said}");
    assert!(said.contains("raise `timeout` of `main`"), "{said}");
}

#[tokio::test]
async fn an_answer_without_the_data_of_a_second_store_is_no_answer_unless_that_is_wanted() {
    let start = past();
    let refused = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|at| at.local_addr());
    let refused = refused.expect("a port where nothing listens");
    let setup = PrometheusSetup {
        history: Some(history(start, MINUTE, &[("stable", vec![1.0])])),
        config: Some(format!(
            "remote_read:\n- url: http://{refused}/read\n  read_recent: true\n"
        )),
        ..PrometheusSetup::default()
    };
    let prometheus = Prometheus::start(&setup).await;
    let mut config = store(&prometheus);
    let asked = (question("measured"), window(start, MINUTE));
    let error = metrics(config.clone()).range(&asked.0, &asked.1).await;
    let error = error.expect_err("a part is not the whole");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("answered only in part"), "{error}");
    assert!(error.to_string().contains("connection refused"), "{error}");
    config.accept_partial = true;
    let read = metrics(config)
        .range(&asked.0, &asked.1)
        .await
        .expect("is wanted so");
    assert_eq!(read.len(), 1, "{read:?}");
}

#[tokio::test]
async fn a_store_with_a_password_and_a_certificate_of_its_own_opens_to_who_has_both() {
    let start = past();
    let certificate = Certificate::for_loopback();
    // The bcrypt hash of the password below.
    let hash = "$2b$04$abcdefghijklmnopqrstuuH.eVpW49Ypkym06X.KAjtgXRZuxwaMa";
    let setup = PrometheusSetup {
        history: Some(history(start, MINUTE, &[("stable", vec![1.0])])),
        web: Some(format!(
            "basic_auth_users:\n  ada: {hash}\ntls_server_config:\n  cert_file: {}\n  key_file: {}\n",
            certificate.certificate.display(),
            certificate.key.display(),
        )),
        ..PrometheusSetup::default()
    };
    let prometheus = Prometheus::start(&setup).await;
    let mut config = store(&prometheus);
    config.url = prometheus
        .url()
        .replace("http:", "https:")
        .parse()
        .expect("an address");
    config.username = Some("ada".to_owned());
    config.password = Some("lovelace-1815".into());
    let asked = (question("measured"), window(start, MINUTE));

    let error = metrics(config.clone()).range(&asked.0, &asked.1).await;
    let error = error.expect_err("its certificate is not trusted");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("TLS failed: invalid peer certificate"),
        "{error}"
    );

    config.ca_file = Some(certificate.certificate.clone());
    let read = metrics(config.clone())
        .range(&asked.0, &asked.1)
        .await
        .expect("is let in");
    assert_eq!(read.len(), 1, "{read:?}");

    config.password = Some("babbage-1791".into());
    let error = metrics(config)
        .range(&asked.0, &asked.1)
        .await
        .expect_err("the password is wrong");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert!(!error.to_string().contains("babbage"), "{error}");
}
