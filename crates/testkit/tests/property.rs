//! Random handlers under random faults, in memory.

use durable::memory::World;
use testkit::property::hold;

fn only() -> Option<u64> {
    let seed = std::env::var("LONGSHORE_SEED").ok()?;
    Some(seed.parse().expect("LONGSHORE_SEED is a number"))
}

/// In four parts, so that they run side by side. The tally must show that everything was drawn.
async fn part(seeds: std::ops::Range<u64>) {
    let tally = hold(seeds, only(), async || World::new()).await;
    println!("{tally:?}");
    let all = [
        "Advance",
        "Broken",
        "Cancel",
        "Crash",
        "EarlySignals",
        "LeaseLoss",
        "Pause",
        "branches",
        "effect",
        "fail",
        "give_up",
        "lock",
        "panic",
        "remember",
        "sleep",
        "spawn",
        "step",
        "tell",
        "wait",
    ];
    for kind in all {
        let drawn = tally.drawn.get(kind).copied().unwrap_or_default();
        assert!(
            drawn >= 40 || only().is_some(),
            "only {drawn} of {kind} were drawn"
        );
    }
}

#[tokio::test]
async fn whatever_goes_wrong_the_end_is_the_same_1() {
    part(0..650).await;
}

#[tokio::test]
async fn whatever_goes_wrong_the_end_is_the_same_2() {
    part(650..1_300).await;
}

#[tokio::test]
async fn whatever_goes_wrong_the_end_is_the_same_3() {
    part(1_300..1_950).await;
}

#[tokio::test]
async fn whatever_goes_wrong_the_end_is_the_same_4() {
    part(1_950..2_600).await;
}
