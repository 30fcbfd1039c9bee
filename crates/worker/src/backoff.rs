use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::Error;

use crate::{Config, TypeLimits};

/// A far side that asks for more is taken to be wrong.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 60 * 60);

/// When to try again after `failures` earlier failures: evenly between zero and the exponential bound (full
/// jitter, as in AWS's "Exponential Backoff And Jitter", 2015), but not before the far side asked us to.
pub(crate) fn delay(config: &Config, limits: &TypeLimits, failures: u32, error: &Error) -> Duration {
    let bound = bound(config, limits, failures);
    let drawn = bound.mul_f64(rand::random_range(0.0..=1.0));
    drawn.max(error.retry_after().unwrap_or_default().min(LONGEST_ASKED))
}

fn bound(config: &Config, limits: &TypeLimits, failures: u32) -> Duration {
    let longest = config.retry_max.min(limits.retry_max.unwrap_or(Duration::MAX));
    ExponentialBuilder::default()
        .with_min_delay(config.retry_base.min(longest))
        .with_max_delay(longest)
        .with_factor(2.0)
        .without_max_times()
        .build()
        .nth(failures.min(64) as usize)
        .unwrap_or(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_its_limit() {
        let config = Config {
            retry_base: Duration::from_secs(2),
            retry_max: Duration::from_secs(20),
            ..Config::default()
        };
        let bounds = |limits: &TypeLimits| -> Vec<u64> {
            (0..6).map(|n| bound(&config, limits, n).as_secs()).collect()
        };
        let up_to = |seconds: u64| TypeLimits {
            retry_max: Some(Duration::from_secs(seconds)),
            ..TypeLimits::default()
        };
        assert_eq!(bounds(&TypeLimits::default()), [2, 4, 8, 16, 20, 20]);
        assert_eq!(bounds(&up_to(7)), [2, 4, 7, 7, 7, 7]);
        assert_eq!(bounds(&up_to(1)), [1; 6]);
        assert_eq!(
            bounds(&up_to(60)),
            [2, 4, 8, 16, 20, 20],
            "a type only shortens it"
        );
    }

    #[test]
    fn the_delay_is_spread_over_the_whole_range_and_waits_at_least_as_long_as_asked() {
        let config = Config {
            retry_base: Duration::from_secs(10),
            ..Config::default()
        };
        let (limits, error) = (TypeLimits::default(), Error::unavailable("x"));
        let delay = |error: &Error| delay(&config, &limits, 0, error);
        let drawn: Vec<Duration> = (0..1000).map(|_| delay(&error)).collect();
        assert!(drawn.iter().all(|d| *d <= Duration::from_secs(10)));
        assert!(drawn.iter().filter(|d| **d < Duration::from_secs(5)).count() > 350);
        assert!(drawn.iter().filter(|d| **d > Duration::from_secs(5)).count() > 350);
        let asked = Error::rate_limited("x", Some(Duration::from_secs(60)));
        assert!(delay(&asked) >= Duration::from_secs(60));
        let absurd = Error::rate_limited("x", Some(Duration::from_secs(u64::from(u32::MAX))));
        assert_eq!(delay(&absurd), LONGEST_ASKED);
    }
}
