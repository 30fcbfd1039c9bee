use super::*;
use crate::course::tests::{environment, group, look};
use crate::turn::tests::deployment;
use ports::{Deployment, Failure, Revision, RevisionId};

fn known(id: &str, version: &str, outcome: Option<DeploymentOutcome>) -> Deployment {
    let mut known = deployment(id, DeploymentKind::Deploy, outcome);
    known.what.version = version.to_owned();
    known.started_at = Some(known.asked_at);
    known.previous = Some("v1".to_owned());
    known
}

fn good(id: &str, version: &str) -> Deployment {
    known(id, version, Some(DeploymentOutcome::Succeeded))
}

fn revisions(versions: &[&str]) -> Vec<Revision> {
    let revision = |version: &&str| Revision {
        id: RevisionId((*version).to_owned()),
        version: (*version).to_owned(),
        at: None,
    };
    versions.iter().map(revision).collect()
}

fn aimed(wanted: Option<&str>, look: &Look, log: &[Deployment]) -> (Option<String>, Option<String>) {
    let aim = aim(wanted, look, log);
    (aim.version, aim.bad)
}

fn pair(version: &str, bad: &str) -> (Option<String>, Option<String>) {
    (Some(version.to_owned()), Some(bad.to_owned()))
}

#[test]
fn it_goes_to_the_last_version_that_did_well() {
    let now = look(Some(group("v4", 4)), None, 0);
    let mut mended = good("c", "v3");
    mended.failures = vec![Failure {
        id: "f".to_owned(),
        cause: "slow".to_owned(),
        began_at: mended.asked_at,
        recovered_at: Some(mended.asked_at),
    }];
    let failed = known("b", "v2", Some(DeploymentOutcome::RolledBack));
    let log = [good("d", "v4"), mended, failed, good("a", "v1")];
    assert_eq!(aimed(None, &now, &log), pair("v1", "v4"));
    assert_eq!(
        aimed(Some("v2"), &now, &log),
        pair("v2", "v4"),
        "unless the task names one"
    );
}

#[test]
fn what_is_half_out_is_what_is_rolled_back() {
    let half = look(Some(group("v1", 4)), Some(group("v2", 1)), 10);
    let log = [known("b", "v2", None), good("a", "v0")];
    assert_eq!(
        aimed(None, &half, &log),
        pair("v1", "v2"),
        "what served before the running one"
    );
    let rolling = look(Some(group("v2", 4)), None, 0);
    assert_eq!(aimed(None, &rolling, &log), pair("v1", "v2"));
    assert_eq!(
        aimed(None, &half, &[]),
        pair("v1", "v2"),
        "left by nobody we know"
    );
}

#[test]
fn a_share_that_nothing_stands_behind_goes_back_to_what_serves() {
    let gone = look(Some(group("v1", 4)), None, 20);
    let left = known("b", "v2", Some(DeploymentOutcome::Failed));
    let aim = aim(None, &gone, &[left, good("a", "v1")]);
    assert_eq!((aim.version.as_deref(), aim.bad), (Some("v1"), None));
    let acts = toward(&gone, "v1", &environment()).expect("can be done");
    assert!(matches!(acts[..], [Act::Weight { percent: 0, .. }]), "{acts:?}");
}

#[test]
fn what_only_looks_at_a_version_that_is_there_says_nothing_of_the_one_before() {
    let now = look(Some(group("v2", 4)), None, 0);
    let mut there = known("c", "v2", None);
    there.previous = Some("v2".to_owned());
    assert_eq!(
        aimed(None, &now, &[there, good("b", "v2"), good("a", "v1")]),
        pair("v1", "v2")
    );
}

#[test]
fn a_first_deployment_that_is_running_is_only_stopped() {
    let now = look(Some(group("v2", 4)), None, 0);
    let mut first = known("a", "v2", None);
    first.previous = None;
    let aim = aim(None, &now, &[first]);
    assert_eq!((aim.version, aim.stops), (None, Some("a".into())));
}

#[test]
fn who_began_before_another_that_is_over_is_not_running_any_more() {
    let lost = known("a", "v2", None);
    let mut later = good("b", "v3");
    assert!(!is_overtaken(&lost, &[later.clone(), lost.clone()]));
    later.started_at = lost.started_at.map(|at| at + chrono::TimeDelta::minutes(1));
    assert!(is_overtaken(&lost, &[later.clone(), lost.clone()]));
    later.started_at = None;
    assert!(!is_overtaken(&lost, &[later, lost.clone()]), "it never began");
}

#[test]
fn a_candidate_that_is_out_of_rotation_gives_its_weight_back() {
    let out = look(Some(group("v1", 4)), Some(group("v2", 1)), 0);
    let acts = toward(&out, "v1", &environment()).unwrap();
    assert!(matches!(acts[0], Act::Weight { percent: 0, .. }), "{acts:?}");
}

#[test]
fn where_the_log_is_silent_the_revision_before_does() {
    let mut now = look(Some(group("v2", 4)), None, 0);
    now.revisions = revisions(&["v2", "broken", "v1"]);
    let failed = known("b", "broken", Some(DeploymentOutcome::RolledBack));
    assert_eq!(
        aimed(None, &now, &[good("c", "v2"), failed.clone()]),
        pair("v1", "v2")
    );
    now.revisions = revisions(&["v2", "broken"]);
    assert_eq!(
        aimed(None, &now, &[good("c", "v2"), failed]),
        (None, Some("v2".to_owned()))
    );
}

#[test]
fn it_goes_straight_there_and_the_traffic_last() {
    let words = |look: &Look, version: &str| -> Vec<String> {
        toward(look, version, &environment())
            .unwrap()
            .iter()
            .map(Act::what)
            .collect()
    };
    let half = look(Some(group("v1", 4)), Some(group("v2", 1)), 10);
    let traffic = [
        "send all traffic to the stable side",
        "take away what stands beside the stable side",
    ];
    assert_eq!(words(&half, "v1"), traffic);
    let mut now = look(Some(group("v2", 4)), None, 0);
    assert_eq!(words(&now, "v1"), ["roll v1 out, replica by replica"]);
    now.revisions = revisions(&["v2", "v1"]);
    assert_eq!(words(&now, "v1"), ["go back to the revision with v1"]);
    assert_eq!(words(&now, "v2"), [""; 0]);
    let mut by_replicas = half;
    by_replicas.granularity = None;
    by_replicas.traffic = None;
    assert_eq!(
        words(&by_replicas, "v1"),
        [
            "bring the stable side to 5 replicas",
            "take away what stands beside the stable side"
        ]
    );
    // The one more that a split had made is none of those that there are to be.
    by_replicas.stable = Some(group("v1", 3));
    assert_eq!(
        words(&by_replicas, "v1")[0],
        "bring the stable side to 3 replicas"
    );
}

#[test]
fn nothing_falls_back_to_what_is_not_well() {
    let mut unwell = group("v1", 4);
    unwell.ready = 1;
    let why = toward(
        &look(Some(unwell), Some(group("v2", 4)), 50),
        "v1",
        &environment(),
    )
    .unwrap_err();
    assert!(why.contains("is not well (1 of 4 ready)"), "{why}");
    assert!(
        toward(&look(None, None, 0), "v1", &environment())
            .unwrap_err()
            .contains("is gone")
    );
}

#[test]
fn the_deployment_that_brought_it_out_is_blamed() {
    let log = [good("c", "v2"), good("b", "v1"), good("a", "v2")];
    assert_eq!(blamed(Some("v2"), &log).map(|d| d.what.id.as_str()), Some("c"));
    assert_eq!(blamed(Some("v9"), &log), None);
}

#[test]
fn a_workload_without_replicas_is_not_rolled_back_to_nothing() {
    let none = look(Some(group("v2", 0)), None, 0);
    let why = toward(&none, "v1", &environment()).unwrap_err();
    assert!(
        why.contains("has no replicas") && why.contains("deploy it"),
        "{why}"
    );
}

fn failed(id: &str, version: &str, failures: &[(&str, bool)]) -> Deployment {
    let mut known = good(id, version);
    let failure = |(id, over): &(&str, bool)| Failure {
        id: (*id).to_owned(),
        cause: "slow".to_owned(),
        began_at: known.asked_at,
        recovered_at: over.then_some(known.asked_at),
    };
    known.failures = failures.iter().map(failure).collect();
    known
}

#[test]
fn what_lasts_is_laid_to_a_deployment_once_and_each_incident_by_its_name() {
    let laid = |bad: &Deployment, incident, happened| laid(bad, "r", incident, happened);
    let new = Some("r".to_owned());
    assert_eq!(laid(&good("d", "v2"), None, false), new);
    let lasts = failed("d", "v2", &[("first", false)]);
    assert_eq!(laid(&lasts, None, true), None);
    assert_eq!(laid(&lasts, Some("X"), true), Some("d/incident/X".to_owned()));
    let known = failed("d", "v2", &[("d/incident/X", false)]);
    assert_eq!(laid(&known, Some("X"), true), None);
    let over = failed("d", "v2", &[("first", true)]);
    assert_eq!(laid(&over, None, true), new, "something happened once more");
    assert_eq!(laid(&over, None, false), None);
    let mut back = over.clone();
    back.outcome = Some(DeploymentOutcome::RolledBack);
    assert_eq!(laid(&back, None, true), None, "it took itself back for that");
}

#[test]
fn another_version_mends_what_lasts_and_the_same_what_it_found_itself() {
    let log = [
        failed("new", "v3", &[("new/rollout", false)]),
        failed("b", "v2", &[("seen", false), ("b/rollout", false), ("old", true)]),
    ];
    let mended = |id, version| {
        let over = mended_by(id, version, &log);
        over.iter().map(|failure| failure.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(mended("new", "v3"), ["seen", "b/rollout"]);
    assert_eq!(mended("again", "v2"), ["new/rollout", "b/rollout"]);
}
