//! The suite for [`Fleet`].

use std::time::Duration;

use async_trait::async_trait;
use domain::{ErrorKind, Idem};

use super::Breakage;
use crate::{Fleet, Group, Launch, Mark, Pace, Portion, RollOut, Side, WorkloadRef};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait FleetWorld: Send + Sync {
    fn port(&self) -> &dyn Fleet;
    fn versions(&self) -> Versions;
    /// A workload that has run these versions, oldest first, and runs the last with so many ready replicas.
    async fn running(&self, versions: &[&str], replicas: u32) -> WorkloadRef;
    /// A workload that can be made and has not been.
    async fn empty(&self) -> WorkloadRef;
    /// A workload that nobody has heard of.
    fn missing(&self) -> WorkloadRef;
    /// Lets the far side do what it was asked for, as far as it can.
    async fn settle(&self, at: &WorkloadRef);
    /// Somebody else wishes for that version on that side.
    async fn meddle(&self, at: &WorkloadRef, side: Side, version: &str);
    /// How many changes the far side has taken from us.
    async fn changes(&self) -> usize;
    /// What somebody else keeps there: it must never change.
    async fn foreign(&self) -> String;
    /// From now on our user may read and not write.
    async fn deny_writes(&self);
    /// What the next launch suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// Versions that the world has, by the short names that people use.
#[derive(Clone, Debug)]
pub struct Versions {
    pub first: String,
    pub second: String,
    pub third: String,
    /// Its replicas end as soon as they are started.
    pub crashing: String,
    pub missing: String,
}

/// Makes a test of every function of the suite; `local` is for fleets without a connection that could break. `scenes`
/// makes a list of them for [`play`](crate::conformance::play) instead.
#[macro_export]
macro_rules! fleet_conformance {
    ($world:expr) => {
        $crate::fleet_conformance! { @all tests $world }
    };
    (local $world:expr) => {
        $crate::fleet_conformance! { @local tests $world; }
    };
    (scenes $world:expr) => {
        $crate::fleet_conformance! { @all scenes $world }
    };
    (@all $how:ident $world:expr) => {
        $crate::fleet_conformance! { @local $how $world;
            a_rate_limit_says_how_long_to_wait
            a_cut_connection_is_in_doubt_and_mended_by_asking_again }
    };
    (@local $how:ident $world:expr; $($more:ident)*) => {
        $crate::fleet_conformance! { @$how $world;
            what_runs_is_observed
            a_version_has_one_full_name
            a_roll_out_replaces_the_version_and_keeps_the_number
            the_first_roll_out_makes_the_workload
            a_paused_roll_out_waits_and_goes_on
            an_undo_goes_back_to_the_revision
            a_candidate_stands_beside_and_goes_away
            each_side_is_scaled_by_itself
            a_crashing_version_is_no_progress
            a_repeated_write_changes_nothing_more
            what_somebody_else_changed_is_a_conflict
            a_mark_outlives_progress_and_not_a_wish
            what_is_missing_is_not_found
            writes_without_the_right_are_denied
            $($more)* }
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::fleet::$test(&$world).await;
            }
        )+
    };
    (@scenes $world:expr; $($test:ident)+) => {
        vec![$(
            $crate::conformance::Scene::new(stringify!($test), {
                let world = $world;
                async move { $crate::conformance::fleet::$test(&world.await).await }
            })
        ),+]
    };
}

fn idem(step: &str) -> Idem {
    Idem::new(format!("task/run/{step}"))
}

async fn group(world: &dyn FleetWorld, at: &WorkloadRef, side: Side) -> Option<Group> {
    world.port().observe(at, side).await.expect("observes")
}

async fn stable(world: &dyn FleetWorld, at: &WorkloadRef) -> Group {
    group(world, at, Side::Stable)
        .await
        .expect("something stands on the stable side")
}

async fn resolved(world: &dyn FleetWorld, at: &WorkloadRef, version: &str) -> String {
    world.port().resolve(at, version).await.expect("resolves")
}

async fn launch(world: &dyn FleetWorld, at: &WorkloadRef, version: &str, replicas: u32) -> Mark {
    let wanted = Launch {
        version: resolved(world, at, version).await,
        replicas,
    };
    world
        .port()
        .launch(at, &wanted, None, &idem("launch"))
        .await
        .expect("launches")
}

fn to(version: String) -> RollOut {
    RollOut {
        version,
        replicas: 2,
        pace: Some(Pace {
            max_unavailable: Portion::Replicas(0),
            max_surge: Portion::Percent(50),
        }),
    }
}

pub async fn what_runs_is_observed(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 3).await;
    let stable = stable(world, &at).await;
    assert_eq!(stable.version, resolved(world, &at, &versions.first).await);
    assert!(stable.is_complete(), "{stable:?}");
    assert_eq!((stable.wanted, stable.available, stable.paused), (3, 3, false));
    assert_eq!(group(world, &at, Side::Candidate).await, None);
    let revisions = world.port().revisions(&at).await.expect("lists");
    assert_eq!(revisions.first().map(|r| r.version.clone()), Some(stable.version));
}

pub async fn a_version_has_one_full_name(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 1).await;
    let full = resolved(world, &at, &versions.second).await;
    assert_eq!(
        resolved(world, &at, &full).await,
        full,
        "its full name is its full name"
    );
    assert_ne!(full, resolved(world, &at, &versions.first).await);
}

pub async fn a_roll_out_replaces_the_version_and_keeps_the_number(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 3).await;
    let foreign = world.foreign().await;
    let before = stable(world, &at).await;
    let wanted = to(resolved(world, &at, &versions.second).await);
    let mark = world
        .port()
        .roll_out(&at, &wanted, Some(&before.mark), &idem("roll"))
        .await
        .expect("rolls out");
    world.settle(&at).await;
    let after = stable(world, &at).await;
    assert_eq!(
        (after.version.as_str(), &after.mark),
        (wanted.version.as_str(), &mark)
    );
    assert!(after.is_complete(), "{after:?}");
    assert_eq!(after.wanted, 3);
    assert_eq!(world.foreign().await, foreign);
}

pub async fn the_first_roll_out_makes_the_workload(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.empty().await;
    assert_eq!(group(world, &at, Side::Stable).await, None);
    assert_eq!(world.port().revisions(&at).await.expect("lists"), []);
    let wanted = to(resolved(world, &at, &versions.first).await);
    world
        .port()
        .roll_out(&at, &wanted, None, &idem("roll"))
        .await
        .expect("rolls out");
    world.settle(&at).await;
    let made = stable(world, &at).await;
    assert!(made.is_complete(), "{made:?}");
    assert_eq!((made.version, made.wanted), (wanted.version, 2));
}

pub async fn a_paused_roll_out_waits_and_goes_on(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let port = world.port();
    let seen = stable(world, &at).await.mark;
    let seen = port
        .pause(&at, true, &seen, &idem("pause"))
        .await
        .expect("pauses");
    let wanted = to(resolved(world, &at, &versions.second).await);
    let seen = port
        .roll_out(&at, &wanted, Some(&seen), &idem("roll"))
        .await
        .expect("takes the wish for later");
    world.settle(&at).await;
    let waits = stable(world, &at).await;
    assert!(waits.paused && !waits.is_complete(), "{waits:?}");
    assert!(waits.available >= 2, "the old ones go on: {waits:?}");
    port.pause(&at, false, &seen, &idem("resume"))
        .await
        .expect("goes on");
    world.settle(&at).await;
    let done = stable(world, &at).await;
    assert!(done.is_complete() && !done.paused, "{done:?}");
}

pub async fn an_undo_goes_back_to_the_revision(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world
        .running(&[&versions.first, &versions.second, &versions.third], 2)
        .await;
    let port = world.port();
    let revisions = port.revisions(&at).await.expect("lists");
    let mut names = Vec::new();
    for version in [&versions.third, &versions.second, &versions.first] {
        names.push(resolved(world, &at, version).await);
    }
    let listed: Vec<_> = revisions.iter().map(|revision| &revision.version).collect();
    assert_eq!(listed, names.iter().collect::<Vec<_>>());
    let seen = stable(world, &at).await.mark;
    let first = &revisions[2].id;
    let mark = port
        .undo(&at, first, &seen, &idem("undo"))
        .await
        .expect("goes back");
    world.settle(&at).await;
    let after = stable(world, &at).await;
    assert!(after.is_complete(), "{after:?}");
    assert_eq!((&after.version, &after.mark), (&names[2], &mark));
    let revisions = port.revisions(&at).await.expect("lists");
    assert_eq!(revisions[0].version, names[2]);
    let again = port.undo(&at, first, &seen, &idem("undo")).await;
    assert_eq!(again.expect("is there already"), mark);
}

pub async fn a_candidate_stands_beside_and_goes_away(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let foreign = world.foreign().await;
    let before = stable(world, &at).await;
    let mark = launch(world, &at, &versions.second, 1).await;
    world.settle(&at).await;
    let beside = group(world, &at, Side::Candidate).await.expect("it stands");
    assert!(beside.is_complete(), "{beside:?}");
    assert_eq!((&beside.mark, beside.wanted), (&mark, 1));
    assert_eq!(beside.version, resolved(world, &at, &versions.second).await);
    assert_eq!(stable(world, &at).await, before, "the stable side is as it was");
    world
        .port()
        .retire(&at, Some(&mark), &idem("retire"))
        .await
        .expect("retires");
    world.settle(&at).await;
    assert_eq!(group(world, &at, Side::Candidate).await, None);
    world
        .port()
        .retire(&at, Some(&mark), &idem("retire"))
        .await
        .expect("nothing there is no error");
    assert_eq!(stable(world, &at).await, before);
    assert_eq!(world.foreign().await, foreign);
}

pub async fn each_side_is_scaled_by_itself(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let candidate = launch(world, &at, &versions.second, 1).await;
    let port = world.port();
    let before = stable(world, &at).await.mark;
    let mark = port
        .scale(&at, Side::Candidate, 3, &candidate, &idem("scale"))
        .await
        .expect("scales");
    world.settle(&at).await;
    let beside = group(world, &at, Side::Candidate).await.expect("it stands");
    assert_eq!((beside.ready, beside.mark), (3, mark));
    assert_eq!(stable(world, &at).await.mark, before, "a side's mark is its own");
    port.scale(&at, Side::Stable, 1, &before, &idem("less"))
        .await
        .expect("scales");
    world.settle(&at).await;
    let less = stable(world, &at).await;
    assert!(less.is_complete() && less.wanted == 1, "{less:?}");
}

pub async fn a_crashing_version_is_no_progress(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let seen = stable(world, &at).await.mark;
    let wanted = to(resolved(world, &at, &versions.crashing).await);
    world
        .port()
        .roll_out(&at, &wanted, Some(&seen), &idem("roll"))
        .await
        .expect("the wish is taken");
    world.settle(&at).await;
    let crashing = stable(world, &at).await;
    assert!(!crashing.is_complete(), "{crashing:?}");
    assert_eq!((crashing.ready, &crashing.version), (0, &wanted.version));
    assert!(
        crashing.restarts > 0 && !crashing.trouble.is_empty(),
        "{crashing:?}"
    );
    assert!(
        crashing.available >= 2,
        "none may be missing, so the old ones stay: {crashing:?}"
    );
}

pub async fn a_repeated_write_changes_nothing_more(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let port = world.port();
    let seen = stable(world, &at).await.mark;
    let wanted = to(resolved(world, &at, &versions.second).await);
    let beside = Launch {
        version: wanted.version.clone(),
        replicas: 1,
    };
    let mut answers = Vec::new();
    for _ in 0..2 {
        let rolled = port
            .roll_out(&at, &wanted, Some(&seen), &idem("roll"))
            .await
            .expect("rolls out");
        let launched = port
            .launch(&at, &beside, None, &idem("launch"))
            .await
            .expect("launches");
        answers.push((rolled, launched, world.changes().await));
    }
    assert_eq!(answers[0], answers[1]);
    let mark = answers[0].1.clone();
    let mut counts = Vec::new();
    for _ in 0..2 {
        port.scale(&at, Side::Candidate, 2, &mark, &idem("scale"))
            .await
            .expect("scales");
        counts.push(world.changes().await);
    }
    assert_eq!(counts[0], counts[1]);
}

pub async fn what_somebody_else_changed_is_a_conflict(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let port = world.port();
    let candidate = launch(world, &at, &versions.second, 1).await;
    let seen = stable(world, &at).await.mark;
    world.meddle(&at, Side::Stable, &versions.third).await;
    world.meddle(&at, Side::Candidate, &versions.third).await;
    let changes = world.changes().await;
    let wanted = to(resolved(world, &at, &versions.second).await);
    let launch = Launch {
        version: wanted.version.clone(),
        replicas: 2,
    };
    for refused in [
        port.roll_out(&at, &wanted, Some(&seen), &idem("a"))
            .await
            .map(|_| ()),
        port.scale(&at, Side::Stable, 7, &seen, &idem("b"))
            .await
            .map(|_| ()),
        port.pause(&at, true, &seen, &idem("c")).await.map(|_| ()),
        port.scale(&at, Side::Candidate, 7, &candidate, &idem("d"))
            .await
            .map(|_| ()),
        port.launch(&at, &launch, Some(&candidate), &idem("e"))
            .await
            .map(|_| ()),
        port.launch(&at, &launch, None, &idem("f")).await.map(|_| ()),
        port.retire(&at, Some(&candidate), &idem("g")).await,
    ] {
        let error = refused.expect_err("somebody else changed it");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    }
    assert_eq!(world.changes().await, changes, "nothing was changed");
    let now = stable(world, &at).await;
    assert_eq!(now.version, resolved(world, &at, &versions.third).await);
    // Who has seen what is there now may go on.
    port.roll_out(&at, &wanted, Some(&now.mark), &idem("h"))
        .await
        .expect("rolls out");
}

pub async fn a_mark_outlives_progress_and_not_a_wish(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 2).await;
    let seen = stable(world, &at).await.mark;
    let wanted = to(resolved(world, &at, &versions.second).await);
    let rolled = world
        .port()
        .roll_out(&at, &wanted, Some(&seen), &idem("roll"))
        .await
        .expect("rolls out");
    assert_ne!(rolled, seen);
    assert_eq!(stable(world, &at).await.mark, rolled);
    world.settle(&at).await;
    assert_eq!(stable(world, &at).await.mark, rolled, "progress is nobody's wish");
    world.meddle(&at, Side::Stable, &versions.third).await;
    assert_ne!(stable(world, &at).await.mark, rolled);
}

pub async fn what_is_missing_is_not_found(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 1).await;
    let nowhere = world.missing();
    let port = world.port();
    let version = resolved(world, &at, &versions.first).await;
    let launch = Launch { version, replicas: 1 };
    for (what, error) in [
        (
            versions.missing.as_str(),
            port.resolve(&at, &versions.missing).await.expect_err("version"),
        ),
        (
            &nowhere.name,
            port.observe(&nowhere, Side::Stable).await.expect_err("workload"),
        ),
        (
            &nowhere.name,
            port.launch(&nowhere, &launch, None, &idem("launch"))
                .await
                .expect_err("workload"),
        ),
    ] {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(what), "does not say what: {error}");
    }
}

pub async fn writes_without_the_right_are_denied(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 1).await;
    let seen = stable(world, &at).await.mark;
    let wanted = to(resolved(world, &at, &versions.second).await);
    world.deny_writes().await;
    let changes = world.changes().await;
    let error = world
        .port()
        .roll_out(&at, &wanted, Some(&seen), &idem("roll"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!(world.changes().await, changes);
    assert_eq!(stable(world, &at).await.mark, seen, "still reads");
}

pub async fn a_rate_limit_says_how_long_to_wait(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 1).await;
    let version = resolved(world, &at, &versions.second).await;
    world
        .break_next(Breakage::RateLimited(Duration::from_secs(7)))
        .await;
    let error = world
        .port()
        .launch(&at, &Launch { version, replicas: 1 }, None, &idem("launch"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::RateLimited, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{error}");
    assert_eq!(group(world, &at, Side::Candidate).await, None);
}

pub async fn a_cut_connection_is_in_doubt_and_mended_by_asking_again(world: &dyn FleetWorld) {
    let versions = world.versions();
    let at = world.running(&[&versions.first], 1).await;
    let version = resolved(world, &at, &versions.second).await;
    let wanted = Launch { version, replicas: 1 };
    world.break_next(Breakage::DoneThenCut).await;
    let error = world
        .port()
        .launch(&at, &wanted, None, &idem("launch"))
        .await
        .expect_err("is cut off");
    assert!(error.is_in_doubt(), "{error}");
    let changes = world.changes().await;
    let mark = world
        .port()
        .launch(&at, &wanted, None, &idem("launch"))
        .await
        .expect("finds it done");
    assert_eq!(world.changes().await, changes, "launched once");
    world.settle(&at).await;
    let beside = group(world, &at, Side::Candidate).await.expect("it stands");
    assert_eq!(beside.mark, mark);
}
