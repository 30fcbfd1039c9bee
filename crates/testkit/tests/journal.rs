//! One suite for every journal: in memory and in Postgres.

use std::time::Duration;

use durable::memory::World;
use testkit::conformance;
use testkit::{Backend, OnPostgres};

/// Long enough for the slowest machine; a lost wake-up waits for ever.
const HANG: Duration = Duration::from_secs(300);

macro_rules! on_both {
    ($($name:ident),*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn in_memory() {
                conformance::$name(World::new()).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                conformance::$name(OnPostgres::new(&["work"]).await).await;
            }
        }
    )*};
}

on_both!(fencing, steps, waits, locks, children, outcomes);

async fn raced(backend: impl Backend, rounds: u32) {
    tokio::time::timeout(HANG, conformance::races(backend, rounds))
        .await
        .expect("a wake-up was lost");
}

#[tokio::test]
async fn races_in_memory() {
    raced(World::new(), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn races_on_postgres() {
    raced(OnPostgres::new(&["work"]).await, 60).await;
}
