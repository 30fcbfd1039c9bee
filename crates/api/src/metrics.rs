//! What this process counts, for Prometheus.

use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use domain::Error;
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Bounds in seconds: from a quick step to a rollout.
const TASK_SECONDS: [f64; 14] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
];
const REQUEST_SECONDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// Makes this process count. Once for a process; a second call is an error.
pub fn install() -> Result<PrometheusHandle, Error> {
    let failed = |error: metrics_exporter_prometheus::BuildError| {
        Error::internal("could not set up the metrics of this process").because(&error)
    };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Prefix("longshore_task_".to_owned()), &TASK_SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Prefix("longshore_http_".to_owned()), &REQUEST_SECONDS)
        })
        .map_err(failed)?
        .install_recorder()
        .map_err(failed)?;
    describe_counter!(
        "longshore_http_requests_total",
        "Requests answered, by route, method and status"
    );
    describe_histogram!(
        "longshore_http_request_seconds",
        Unit::Seconds,
        "Time to answer a request"
    );
    describe_histogram!(
        "longshore_task_run_seconds",
        Unit::Seconds,
        "One run of a task's handler, by type"
    );
    describe_histogram!(
        "longshore_task_wait_seconds",
        Unit::Seconds,
        "Time from when a task could run to its claim"
    );
    describe_counter!(
        "longshore_task_runs_total",
        "Runs of handlers, by type and outcome"
    );
    describe_counter!("longshore_tasks_claimed_total", "Tasks claimed by this process");
    describe_counter!("longshore_leases_lost_total", "Leases that this process lost");
    Ok(handle)
}

/// Histograms keep what was recorded until they are read or tended; nobody may ever read them.
pub async fn upkeep(handle: PrometheusHandle) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        handle.run_upkeep();
    }
}

/// A method is whatever was sent: of what nobody serves there may be no end.
fn method(sent: &Method) -> &'static str {
    match *sent {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts and times requests by route, never by path: ids would make a series of each.
pub async fn count(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = method(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    histogram!("longshore_http_request_seconds", "route" => route.clone())
        .record(started.elapsed().as_secs_f64());
    counter!("longshore_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_serves_makes_no_series_of_its_own() {
        let named = |sent: &[u8]| method(&Method::from_bytes(sent).expect("a method"));
        assert_eq!(
            [named(b"PUT"), named(b"X-17"), named(b"get")],
            ["PUT", "other", "other"]
        );
    }
}
