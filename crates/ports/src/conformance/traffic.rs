//! The suite for [`TrafficRouter`].

use async_trait::async_trait;
use domain::{ErrorKind, Idem};

use super::Breakage;
use crate::{Granularity, RouteRef, Share, TrafficRouter};

/// The far side's world, as the suite needs it set up: both sides of the routes stand and are ready.
#[async_trait]
pub trait RouterWorld: Send + Sync {
    fn port(&self) -> &dyn TrafficRouter;
    /// A new route that sends everything to the stable side, with parts of somebody else's beside it.
    async fn route(&self) -> RouteRef;
    fn missing(&self) -> RouteRef;
    /// What somebody else keeps in the same place, as it stands there: it must never change.
    async fn foreign(&self, at: &RouteRef) -> String;
    /// What the far side itself does with a hundred requests: how many of them the candidate gets.
    async fn carried_out(&self, at: &RouteRef) -> f64;
    /// Somebody else sends another share to the candidate than it gets now.
    async fn meddle(&self, at: &RouteRef);
    /// How many changes the far side has taken from us.
    async fn changes(&self) -> usize;
    /// From now on our user may read and not write.
    async fn deny_writes(&self);
    /// What the next change suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// Makes a test of every function of the suite; `fixed` is for routers whose share is a matter of replicas. `scenes` makes
/// a list of them for [`play`](crate::conformance::play) instead.
#[macro_export]
macro_rules! router_conformance {
    ($world:expr) => {
        $crate::router_conformance! { @all tests $world }
    };
    (fixed $world:expr) => {
        $crate::router_conformance! { @fixed tests $world }
    };
    (scenes $world:expr) => {
        $crate::router_conformance! { @all scenes $world }
    };
    (fixed scenes $world:expr) => {
        $crate::router_conformance! { @fixed scenes $world }
    };
    (@all $how:ident $world:expr) => {
        $crate::router_conformance! { @$how $world;
            a_share_is_set_and_is_what_was_said
            every_share_is_the_nearest_one
            a_repeated_share_is_set_once
            what_somebody_else_set_is_a_conflict
            more_than_everything_is_refused
            what_is_missing_is_not_found
            a_share_without_the_right_to_write_is_denied
            a_cut_connection_is_in_doubt_and_mended_by_asking_again }
    };
    (@fixed $how:ident $world:expr) => {
        $crate::router_conformance! { @$how $world;
            a_share_that_replicas_decide_cannot_be_set
            what_is_missing_is_not_found }
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::traffic::$test(&$world).await;
            }
        )+
    };
    (@scenes $world:expr; $($test:ident)+) => {
        vec![$(
            $crate::conformance::Scene::new(stringify!($test), {
                let world = $world;
                async move { $crate::conformance::traffic::$test(&world.await).await }
            })
        ),+]
    };
}

fn idem(step: &str) -> Idem {
    Idem::new(format!("task/run/{step}"))
}

/// The same share, however finely it is written.
fn same(a: Share, b: Share) -> bool {
    (a.percent() - b.percent()).abs() < 1e-9
}

pub async fn a_share_is_set_and_is_what_was_said(world: &dyn RouterWorld) {
    let at = world.route().await;
    let foreign = world.foreign(&at).await;
    let port = world.port();
    let before = port.read(&at).await.expect("reads");
    assert_eq!(before.candidate.percent(), 0.0);
    let mut seen = before.mark;
    for percent in [100, 0] {
        let set = port
            .set(&at, percent, &seen, &idem(&format!("{percent}")))
            .await
            .expect("sets");
        assert_eq!(set.candidate.percent(), f64::from(percent));
        assert_eq!(port.read(&at).await.expect("reads"), set);
        assert_eq!(world.carried_out(&at).await, f64::from(percent));
        assert_eq!(
            world.foreign(&at).await,
            foreign,
            "what is somebody else's stays as it was"
        );
        seen = set.mark;
    }
}

pub async fn every_share_is_the_nearest_one(world: &dyn RouterWorld) {
    let at = world.route().await;
    let port = world.port();
    let granularity = port.granularity(&at).await.expect("says");
    let mut seen = port.read(&at).await.expect("reads").mark;
    for percent in [1, 10, 33, 50, 99, 100, 20, 0] {
        let wanted = granularity.nearest(percent).expect("shares can be set here");
        let set = port
            .set(&at, percent, &seen, &idem(&format!("{percent}")))
            .await
            .expect("sets");
        assert!(
            same(set.candidate, wanted),
            "{percent} %: {:?} is not {wanted:?}",
            set.candidate
        );
        let carried = world.carried_out(&at).await;
        let off = (carried - wanted.percent()).abs();
        assert!(off < 1.5, "{percent} %: the far side does {carried} %");
        seen = set.mark;
    }
}

pub async fn a_repeated_share_is_set_once(world: &dyn RouterWorld) {
    let at = world.route().await;
    let port = world.port();
    let seen = port.read(&at).await.expect("reads").mark;
    let first = port.set(&at, 100, &seen, &idem("all")).await.expect("sets");
    let changes = world.changes().await;
    let again = port
        .set(&at, 100, &seen, &idem("all"))
        .await
        .expect("is so already");
    assert_eq!((again, world.changes().await), (first, changes));
}

pub async fn what_somebody_else_set_is_a_conflict(world: &dyn RouterWorld) {
    let at = world.route().await;
    let port = world.port();
    let seen = port.read(&at).await.expect("reads").mark;
    let set = port.set(&at, 100, &seen, &idem("all")).await.expect("sets");
    world.meddle(&at).await;
    let changed = port.read(&at).await.expect("reads");
    assert!(changed.mark != set.mark && !same(changed.candidate, set.candidate));
    let error = port
        .set(&at, 100, &set.mark, &idem("again"))
        .await
        .expect_err("somebody else set it");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(port.read(&at).await.expect("reads"), changed);
    let set = port.set(&at, 100, &changed.mark, &idem("seen")).await;
    assert_eq!(set.expect("who has seen it may").candidate.percent(), 100.0);
}

pub async fn more_than_everything_is_refused(world: &dyn RouterWorld) {
    let at = world.route().await;
    let seen = world.port().read(&at).await.expect("reads").mark;
    let error = world
        .port()
        .set(&at, 101, &seen, &idem("too much"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

pub async fn what_is_missing_is_not_found(world: &dyn RouterWorld) {
    let at = world.missing();
    let error = world.port().read(&at).await.expect_err("is not there");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains(&at.name), "does not say what: {error}");
}

pub async fn a_share_without_the_right_to_write_is_denied(world: &dyn RouterWorld) {
    let at = world.route().await;
    let before = world.port().read(&at).await.expect("reads");
    world.deny_writes().await;
    let error = world
        .port()
        .set(&at, 100, &before.mark, &idem("all"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!(world.port().read(&at).await.expect("still reads"), before);
}

pub async fn a_cut_connection_is_in_doubt_and_mended_by_asking_again(world: &dyn RouterWorld) {
    let at = world.route().await;
    let seen = world.port().read(&at).await.expect("reads").mark;
    world.break_next(Breakage::DoneThenCut).await;
    let error = world
        .port()
        .set(&at, 100, &seen, &idem("all"))
        .await
        .expect_err("is cut off");
    assert!(error.is_in_doubt(), "{error}");
    let changes = world.changes().await;
    let set = world
        .port()
        .set(&at, 100, &seen, &idem("all"))
        .await
        .expect("finds it done");
    assert_eq!(set.candidate.percent(), 100.0);
    assert_eq!(world.changes().await, changes, "set once");
}

pub async fn a_share_that_replicas_decide_cannot_be_set(world: &dyn RouterWorld) {
    let at = world.route().await;
    let port = world.port();
    assert_eq!(port.granularity(&at).await.expect("says"), Granularity::Replicas);
    let before = port.read(&at).await.expect("reads");
    let error = port
        .set(&at, 10, &before.mark, &idem("some"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}
