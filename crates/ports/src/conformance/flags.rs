//! The suite for [`FlagStore`].

use async_trait::async_trait;
use domain::{ErrorKind, Idem};

use super::Breakage;
use crate::{FlagRef, FlagStore};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait FlagWorld: Send + Sync {
    fn port(&self) -> &dyn FlagStore;
    /// A new flag that is on for that share of users, among flags of other people.
    async fn flag(&self, percent: u32) -> FlagRef;
    fn missing(&self) -> FlagRef;
    /// Somebody else rolls it out to that share.
    async fn meddle(&self, at: &FlagRef, percent: u32);
    /// All other flags, as they stand there: they must never change.
    async fn foreign(&self, at: &FlagRef) -> String;
    async fn changes(&self) -> usize;
    async fn deny_writes(&self);
    /// What the next change suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// Makes a test of every function of the suite; `local`, for flags that no connection is between; `scenes`, to be played in
/// one test.
#[macro_export]
macro_rules! flags_conformance {
    (local $world:expr) => {
        $crate::flags_conformance!(@each tests $world;);
    };
    (scenes $world:expr) => {
        $crate::flags_conformance!(@each scenes $world; a_cut_connection_is_in_doubt_and_mended_by_asking_again)
    };
    ($world:expr) => {
        $crate::flags_conformance!(@each tests $world; a_cut_connection_is_in_doubt_and_mended_by_asking_again);
    };
    (@each $kind:ident $world:expr; $($more:ident)*) => {
        $crate::flags_conformance!{ @$kind $world;
            a_flag_is_rolled_out_and_read_back
            a_repeated_percentage_is_set_once
            what_somebody_else_set_is_a_conflict
            wrong_flags_and_percentages_are_told
            a_flag_without_the_right_to_write_is_denied
            $($more)* }
    };
    (@scenes $world:expr; $($test:ident)+) => {
        vec![$(
            $crate::conformance::Scene::new(stringify!($test), {
                let world = $world;
                async move { $crate::conformance::flags::$test(&world.await).await }
            })
        ),+]
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::flags::$test(&$world).await;
            }
        )+
    };
}

fn idem(step: &str) -> Idem {
    Idem::new(format!("task/run/{step}"))
}

pub async fn a_flag_is_rolled_out_and_read_back(world: &dyn FlagWorld) {
    let at = world.flag(0).await;
    let foreign = world.foreign(&at).await;
    let mut seen = world.port().read(&at).await.expect("reads").mark;
    for percent in [1, 25, 100, 0] {
        let set = world
            .port()
            .set(&at, percent, &seen, &idem(&format!("{percent}")))
            .await
            .expect("sets");
        assert_eq!(set.percent, percent);
        assert_eq!(world.port().read(&at).await.expect("reads"), set);
        assert_eq!(world.foreign(&at).await, foreign);
        seen = set.mark;
    }
}

pub async fn a_repeated_percentage_is_set_once(world: &dyn FlagWorld) {
    let at = world.flag(10).await;
    let seen = world.port().read(&at).await.expect("reads").mark;
    let first = world.port().set(&at, 30, &seen, &idem("30")).await.expect("sets");
    let changes = world.changes().await;
    let again = world
        .port()
        .set(&at, 30, &seen, &idem("30"))
        .await
        .expect("is so already");
    assert_eq!((again, world.changes().await), (first, changes));
}

pub async fn what_somebody_else_set_is_a_conflict(world: &dyn FlagWorld) {
    let at = world.flag(10).await;
    let port = world.port();
    let seen = port.read(&at).await.expect("reads").mark;
    world.meddle(&at, 70).await;
    let error = port
        .set(&at, 30, &seen, &idem("30"))
        .await
        .expect_err("somebody else set it");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    let now = port.read(&at).await.expect("reads");
    assert_eq!(now.percent, 70);
    let set = port.set(&at, 30, &now.mark, &idem("30")).await;
    assert_eq!(set.expect("who has seen it may").percent, 30);
}

pub async fn wrong_flags_and_percentages_are_told(world: &dyn FlagWorld) {
    let missing = world.missing();
    let error = world.port().read(&missing).await.expect_err("is not there");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&missing.key), "{error}");
    let at = world.flag(10).await;
    let seen = world.port().read(&at).await.expect("reads").mark;
    let error = world
        .port()
        .set(&at, 101, &seen, &idem("101"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

pub async fn a_flag_without_the_right_to_write_is_denied(world: &dyn FlagWorld) {
    let at = world.flag(10).await;
    let before = world.port().read(&at).await.expect("reads");
    world.deny_writes().await;
    let error = world
        .port()
        .set(&at, 30, &before.mark, &idem("30"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!(world.port().read(&at).await.expect("still reads"), before);
}

pub async fn a_cut_connection_is_in_doubt_and_mended_by_asking_again(world: &dyn FlagWorld) {
    let at = world.flag(10).await;
    let seen = world.port().read(&at).await.expect("reads").mark;
    world.break_next(Breakage::DoneThenCut).await;
    let error = world
        .port()
        .set(&at, 30, &seen, &idem("30"))
        .await
        .expect_err("is cut off");
    assert!(error.is_in_doubt(), "{error}");
    let changes = world.changes().await;
    let set = world
        .port()
        .set(&at, 30, &seen, &idem("30"))
        .await
        .expect("finds it done");
    assert_eq!((set.percent, world.changes().await), (30, changes));
}
