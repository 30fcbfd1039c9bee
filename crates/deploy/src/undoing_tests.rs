use super::*;
use crate::course::tests::{environment, group, look};
use ports::{Granularity, Revision, RevisionId};

fn undone(before: &Look, now: &Look) -> Result<Vec<String>, String> {
    let split = Act::Scale {
        side: Side::Stable,
        replicas: 2,
    };
    planned(before, now, &[split])
}

fn planned(before: &Look, now: &Look, acts: &[Act]) -> Result<Vec<String>, String> {
    let acts = back(before, now, "v2", &environment(), acts)?;
    Ok(acts.iter().map(Act::what).collect())
}

fn v1() -> Look {
    look(Some(group("v1", 4)), None, 0)
}

#[test]
fn a_candidate_loses_its_traffic_before_it_goes() {
    let now = look(Some(group("v1", 4)), Some(group("v2", 1)), 10);
    assert_eq!(
        undone(&v1(), &now).unwrap(),
        [
            "send all traffic to the stable side",
            "take away what stands beside the stable side"
        ]
    );
    assert_eq!(undone(&v1(), &v1()).unwrap(), [""; 0], "nothing was done yet");
}

#[test]
fn a_stable_side_that_was_replaced_goes_back_before_it_gets_traffic() {
    let mut now = look(Some(group("v2", 4)), Some(group("v2", 4)), 100);
    assert_eq!(undone(&v1(), &now).unwrap()[0], "roll v1 out, replica by replica");
    now.revisions = vec![Revision {
        id: RevisionId("seven".to_owned()),
        version: "v1".to_owned(),
        at: None,
    }];
    assert_eq!(
        undone(&v1(), &now).unwrap(),
        [
            "go back to the revision with v1",
            "send all traffic to the stable side",
            "take away what stands beside the stable side"
        ]
    );
}

#[test]
fn nothing_falls_back_to_what_is_gone_or_unwell() {
    let gone = look(None, Some(group("v2", 4)), 50);
    let why = undone(&v1(), &gone).unwrap_err();
    assert!(
        why.contains("is gone") && why.contains("v2 has 50 % of the traffic"),
        "{why}"
    );
    let mut unwell = group("v1", 4);
    unwell.ready = 3;
    let why = undone(&v1(), &look(Some(unwell.clone()), Some(group("v2", 4)), 50)).unwrap_err();
    assert!(why.contains("is not well (3 of 4 ready)"), "{why}");
    // It has all the traffic already: taking the other one away makes nothing worse.
    let acts = undone(&v1(), &look(Some(unwell), Some(group("v2", 1)), 0)).unwrap();
    assert_eq!(
        acts,
        [
            "send all traffic to the stable side",
            "take away what stands beside the stable side"
        ]
    );
    let mut just_ready = group("v1", 4);
    just_ready.available = 0;
    assert!(undone(&v1(), &look(Some(just_ready), Some(group("v2", 4)), 50)).is_ok());
}

#[test]
fn the_weights_go_back_when_the_candidate_is_out_of_rotation_or_gone() {
    let to_stable = "send all traffic to the stable side";
    let out = look(Some(group("v1", 4)), Some(group("v2", 1)), 0);
    assert_eq!(undone(&v1(), &out).unwrap()[0], to_stable);
    let mut gone = v1();
    gone.traffic.as_mut().unwrap().mark = ports::Mark("moved since".to_owned());
    assert_eq!(undone(&v1(), &gone).unwrap(), [to_stable]);
}

#[test]
fn by_replicas_the_stable_side_grows_before_the_other_goes() {
    let mut now = look(Some(group("v1", 2)), Some(group("v2", 2)), 0);
    now.granularity = Some(Granularity::Replicas);
    assert_eq!(
        undone(&v1(), &now).unwrap(),
        [
            "bring the stable side to 4 replicas",
            "take away what stands beside the stable side"
        ]
    );
    now.stable.as_mut().unwrap().ready = 0;
    assert!(
        undone(&v1(), &now)
            .unwrap_err()
            .contains("no replica that is ready")
    );
}

#[test]
fn what_nobody_here_did_is_left_to_a_person() {
    let why = undone(&v1(), &look(Some(group("v3", 4)), None, 0)).unwrap_err();
    assert!(why.contains("runs v3, which is neither v1 nor v2"), "{why}");
    let why = undone(&v1(), &look(Some(group("v1", 4)), Some(group("v3", 1)), 10)).unwrap_err();
    assert!(why.contains("v3 stands beside"), "{why}");
}

#[test]
fn what_was_stopped_in_the_middle_here_is_let_go() {
    let half = look(Some(group("v2", 4)), None, 0);
    let mut stopped = half.clone();
    stopped.stable.as_mut().unwrap().paused = true;
    assert_eq!(
        planned(&half, &stopped, &[]).unwrap(),
        ["bring the stable side to 4 replicas"]
    );
    assert_eq!(planned(&stopped, &stopped, &[]).unwrap(), [""; 0], "it was so");
    let back = planned(&v1(), &stopped, &[]).unwrap();
    assert_eq!(back, ["roll v1 out, replica by replica"], "which lets it go too");
}

#[test]
fn before_the_first_deployment_nothing_ran() {
    let before = look(None, None, 0);
    let now = look(Some(group("v2", 3)), None, 0);
    assert_eq!(
        undone(&before, &now).unwrap(),
        ["bring the stable side to 0 replicas"]
    );
    assert_eq!(undone(&before, &before).unwrap(), [""; 0]);
}

#[test]
fn what_was_not_scaled_here_is_not_cut() {
    let grown = look(Some(group("v1", 10)), Some(group("v2", 1)), 10);
    let retired = [
        "send all traffic to the stable side",
        "take away what stands beside the stable side",
    ];
    assert_eq!(planned(&v1(), &grown, &[]).unwrap(), retired);
    assert_eq!(
        undone(&v1(), &grown).unwrap()[0],
        "bring the stable side to 4 replicas"
    );
    // With less of the traffic it needed fewer.
    let shrunk = look(Some(group("v1", 2)), Some(group("v2", 4)), 50);
    assert_eq!(
        planned(&v1(), &shrunk, &[]).unwrap()[0],
        "bring the stable side to 4 replicas"
    );
}

#[test]
fn by_replicas_the_stable_side_gets_what_both_sides_had() {
    let half = |stable, candidate| Look {
        granularity: None,
        traffic: None,
        ..look(Some(group("v1", stable)), Some(group("v2", candidate)), 0)
    };
    assert_eq!(
        undone(&half(1, 9), &half(1, 9)).unwrap(),
        [
            "bring the stable side to 10 replicas",
            "take away what stands beside the stable side"
        ]
    );
}

#[test]
fn what_was_put_there_by_hand_instead_of_the_first_is_not_taken_away() {
    let by_hand = look(Some(group("v3", 3)), None, 0);
    for before in [look(None, None, 0), look(Some(group("v1", 0)), None, 0)] {
        let why = undone(&before, &by_hand).unwrap_err();
        assert!(why.contains("runs v3, and not v2"), "{why}");
        let ours = look(Some(group("v2", 3)), None, 0);
        assert_eq!(
            undone(&before, &ours).unwrap(),
            ["bring the stable side to 0 replicas"]
        );
    }
}
