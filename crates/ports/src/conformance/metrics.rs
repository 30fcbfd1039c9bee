//! The suite for [`MetricQuery`].

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::ErrorKind;

use crate::{MetricQuery, MetricQuestion, Window};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait MetricWorld: Send + Sync {
    fn port(&self) -> &dyn MetricQuery;
    /// A time in the past at which measuring began, and a question for what is measured from then on, one value
    /// every so often: a series for each of `series`, told apart by the label `side`. NaN is written as such.
    async fn measured(&self, every: Duration, series: &[(&str, Vec<f64>)])
    -> (DateTime<Utc>, MetricQuestion);
    /// A question that is understood and that nothing was ever measured for.
    fn unmeasured(&self) -> MetricQuestion;
    /// A question that is not understood.
    fn nonsense(&self) -> MetricQuestion;
    /// The far side does not answer from now on.
    async fn stop(&self);
}

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! metrics_conformance {
    ($world:expr) => {
        $crate::metrics_conformance!(@tests $world;
            a_window_is_read_as_it_was_and_reads_the_same_again
            several_series_come_in_the_order_of_their_labels
            nothing_measured_is_an_empty_answer
            what_is_no_number_is_no_sample
            a_question_that_is_not_understood_is_invalid
            a_far_side_that_is_gone_is_unavailable);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::metrics::$test(&$world).await;
            }
        )+
    };
}

const EVERY: Duration = Duration::from_secs(15);

fn window(start: DateTime<Utc>, from: u32, to: u32) -> Window {
    Window {
        start: start + EVERY * from,
        end: start + EVERY * to,
        step: EVERY,
    }
}

pub async fn a_window_is_read_as_it_was_and_reads_the_same_again(world: &dyn MetricWorld) {
    let values: Vec<f64> = (0..8).map(f64::from).collect();
    let (start, question) = world.measured(EVERY, &[("candidate", values)]).await;
    let window = window(start, 2, 5);
    let read = world.port().range(&question, &window).await.expect("reads");
    assert_eq!(read.len(), 1, "{read:?}");
    let samples: Vec<_> = read[0].samples.iter().map(|s| (s.at, s.value)).collect();
    let expected: Vec<_> = (2..=5).map(|n| (start + EVERY * n, f64::from(n))).collect();
    assert_eq!(samples, expected, "both ends belong to it");
    let again = world.port().range(&question, &window).await.expect("reads");
    assert_eq!(again, read);
}

pub async fn several_series_come_in_the_order_of_their_labels(world: &dyn MetricWorld) {
    let series = [("stable", vec![1.0, 1.0]), ("candidate", vec![2.0, 2.0])];
    let (start, question) = world.measured(EVERY, &series).await;
    let read = world.port().range(&question, &window(start, 0, 1)).await;
    let read = read.expect("reads");
    let sides: Vec<_> = read
        .iter()
        .filter_map(|series| series.labels.get("side"))
        .collect();
    assert_eq!(sides, ["candidate", "stable"]);
    assert!(
        read[0].samples.iter().all(|sample| sample.value == 2.0),
        "{read:?}"
    );
}

pub async fn nothing_measured_is_an_empty_answer(world: &dyn MetricWorld) {
    let (start, question) = world.measured(EVERY, &[("stable", vec![1.0, 2.0])]).await;
    let port = world.port();
    let never = world.unmeasured();
    assert_eq!(port.range(&never, &window(start, 0, 1)).await.expect("reads"), []);
    let before = Window {
        start: start - EVERY * 1000,
        end: start - EVERY * 999,
        step: EVERY,
    };
    assert_eq!(port.range(&question, &before).await.expect("reads"), []);
}

pub async fn what_is_no_number_is_no_sample(world: &dyn MetricWorld) {
    let values = vec![1.0, f64::NAN, f64::INFINITY, 4.0];
    let (start, question) = world.measured(EVERY, &[("stable", values)]).await;
    let read = world.port().range(&question, &window(start, 0, 3)).await;
    let read = read.expect("reads");
    let values: Vec<f64> = read[0].samples.iter().map(|sample| sample.value).collect();
    assert_eq!(values, [1.0, 4.0]);
    let read = world.port().range(&question, &window(start, 1, 2)).await;
    assert_eq!(read.expect("reads"), [], "a series without a sample is none");
}

pub async fn a_question_that_is_not_understood_is_invalid(world: &dyn MetricWorld) {
    let (start, _) = world.measured(EVERY, &[("stable", vec![1.0])]).await;
    let error = world
        .port()
        .range(&world.nonsense(), &window(start, 0, 1))
        .await
        .expect_err("is not understood");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

pub async fn a_far_side_that_is_gone_is_unavailable(world: &dyn MetricWorld) {
    let (start, question) = world.measured(EVERY, &[("stable", vec![1.0])]).await;
    world.stop().await;
    let error = world
        .port()
        .range(&question, &window(start, 0, 1))
        .await
        .expect_err("nobody answers");
    assert!(error.is_transient(), "no data would be a verdict: {error}");
}
