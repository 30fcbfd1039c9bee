//! What the tests stand on: each on loopback ports and in a folder of its own, and gone when it is dropped.

mod gate;
mod http;
mod site;

use std::future::Future;
use std::time::{Duration, Instant};

pub use gate::Gate;
pub use http::{Client, Origin};
pub use site::{BACKENDS, NAME, Site, Way, idem, lives, signal};

/// Each of these holds whoever starts what runs.
macro_rules! both_ways {
    ($($test:ident)*) => {
        mod processes {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::peers::Way::Processes).await;
                }
            )*
        }
        mod units {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::peers::Way::Units).await;
                }
            )*
        }
    };
}
pub(crate) use both_ways;

/// Looks until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut look: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !look().await {
        assert!(
            Instant::now() < deadline,
            "in 30 s it did not come to be that {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
