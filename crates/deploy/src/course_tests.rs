use super::*;
use ports::{Flag, Group, Mark, Pace, Portion, Share, Traffic};
use serde_json::json;

pub(crate) fn environment() -> Environment {
    serde_json::from_value(json!({"target": "cluster", "workload": "shop", "replicas": 3})).unwrap()
}

pub(crate) fn group(version: &str, replicas: u32) -> Group {
    Group {
        version: version.to_owned(),
        mark: Mark(version.to_owned()),
        observed: true,
        paused: false,
        wanted: replicas,
        total: replicas,
        updated: replicas,
        ready: replicas,
        available: replicas,
        restarts: 0,
        trouble: Vec::new(),
    }
}

pub(crate) fn look(stable: Option<Group>, candidate: Option<Group>, percent: u32) -> Look {
    Look {
        stable,
        candidate,
        granularity: Some(Granularity::Parts(100)),
        traffic: Some(Traffic {
            candidate: Share {
                part: percent,
                of: 100,
            },
            mark: Mark("route".to_owned()),
        }),
        ..Look::default()
    }
}

fn words(course: &Course) -> Vec<String> {
    course.acts.iter().map(Act::what).collect()
}

fn steps(weights: &[u32]) -> Vec<Step> {
    weights
        .iter()
        .flat_map(|weight| [Step::SetWeight(*weight), Step::Analyse])
        .collect()
}

fn canary(weights: &[u32]) -> Strategy {
    Strategy::Canary {
        steps: steps(weights),
    }
}

fn rolling() -> Strategy {
    Strategy::Rolling {
        pace: Pace {
            max_unavailable: Portion::Replicas(0),
            max_surge: Portion::Replicas(1),
        },
    }
}

fn blue_green(switch: Switch) -> Strategy {
    Strategy::BlueGreen {
        switch,
        keep_warm: Span::seconds(600),
    }
}

fn charted(strategy: &Strategy, look: &Look) -> Result<Course, String> {
    chart(&environment(), strategy, "v2", look).map_err(|error| error.to_string())
}

#[test]
fn the_first_deployment_has_nothing_to_compare_with_whatever_its_strategy() {
    for strategy in [rolling(), canary(&[10]), blue_green(Switch::Manual)] {
        let course = charted(&strategy, &look(None, None, 0)).unwrap();
        assert_eq!(course.kind, Kind::First);
        let first = Act::RollOut {
            version: "v2".to_owned(),
            replicas: 3,
            pace: None,
        };
        assert_eq!(course.acts, [first, Act::Health]);
    }
}

#[test]
fn a_workload_that_was_left_without_replicas_gets_them_as_if_it_were_the_first() {
    for left in ["v1", "v2"] {
        let course = charted(&canary(&[10]), &look(Some(group(left, 0)), None, 0)).unwrap();
        assert_eq!(course.kind, Kind::First);
        assert_eq!(
            words(&course),
            [
                "roll v2 out, replica by replica",
                "bring the stable side to 3 replicas",
                "check what users reach"
            ]
        );
    }
    let error = charted(
        &canary(&[10]),
        &look(Some(group("v1", 0)), Some(group("v2", 1)), 10),
    )
    .unwrap_err();
    assert!(
        error.contains("the stable side of shop has no replicas"),
        "{error}"
    );
}

#[test]
fn without_a_router_the_stable_side_gets_the_candidates_replicas_before_it_goes() {
    let finished = |stable, candidate| {
        let mut left = look(Some(group("v2", stable)), Some(group("v2", candidate)), 0);
        left.granularity = None;
        left.traffic = None;
        words(&charted(&canary(&[10]), &left).unwrap())
    };
    let retired = "take away what stands beside the stable side";
    assert_eq!(
        finished(1, 9)[..2],
        ["bring the stable side to 10 replicas", retired]
    );
    assert_eq!(
        finished(1, 3)[..2],
        ["bring the stable side to 3 replicas", retired],
        "one of the four was made by the split"
    );
    assert_eq!(finished(3, 2)[0], retired, "it has them already");
}

#[test]
fn what_runs_already_is_only_looked_at_and_what_was_left_is_finished() {
    let course = charted(&canary(&[10]), &look(Some(group("v2", 4)), None, 0)).unwrap();
    assert_eq!((course.kind, course.acts), (Kind::There, vec![Act::Health]));
    // Promoted, and killed before the candidate was taken away.
    let left = look(Some(group("v2", 4)), Some(group("v2", 4)), 100);
    let course = charted(&canary(&[10]), &left).unwrap();
    assert_eq!(course.kind, Kind::Resumed);
    assert_eq!(
        words(&course),
        [
            "send all traffic to the stable side",
            "take away what stands beside the stable side",
            "check what users reach"
        ]
    );
    // Told to run it, and not there yet.
    let mut going = group("v2", 4);
    going.ready = 1;
    let course = charted(&rolling(), &look(Some(going), None, 0)).unwrap();
    assert_eq!(course.kind, Kind::Resumed);
    assert_eq!(words(&course)[0], "roll v2 out, replica by replica");
}

#[test]
fn a_canary_brings_as_many_replicas_as_its_share_needs() {
    let course = charted(&canary(&[10, 60]), &look(Some(group("v1", 5)), None, 0)).unwrap();
    assert_eq!(
        words(&course),
        [
            "start 1 replica of v2 beside what serves",
            "check the new version before users get it",
            "send 10 % of the traffic to the new version",
            "judge the time since the last change",
            "bring the candidate side to 3 replicas",
            "send 60 % of the traffic to the new version",
            "judge the time since the last change",
            "bring the candidate side to 5 replicas",
            "send 100 % of the traffic to the new version",
            "roll v2 out, replica by replica",
            "send all traffic to the stable side",
            "take away what stands beside the stable side",
            "check what users reach"
        ]
    );
}

#[test]
fn a_scale_by_hand_is_kept_until_everything_is_carried() {
    let strategy = Strategy::Canary {
        steps: vec![Step::SetScale(2), Step::SetWeight(90), Step::SetScale(3)],
    };
    let course = charted(&strategy, &look(Some(group("v1", 5)), None, 0)).unwrap();
    let words = words(&course);
    assert_eq!(words[0], "start 2 replicas of v2 beside what serves");
    assert_eq!(words[2], "send 90 % of the traffic to the new version");
    assert_eq!(words[3], "bring the candidate side to 3 replicas");
    assert_eq!(words[4], "bring the candidate side to 5 replicas");
}

#[test]
fn a_canary_that_is_half_out_goes_on_from_there() {
    let half = look(Some(group("v1", 5)), Some(group("v2", 3)), 50);
    let course = charted(&canary(&[10, 50, 90]), &half).unwrap();
    assert_eq!(course.kind, Kind::Resumed);
    let words = words(&course);
    assert_eq!(words[0], "start 5 replicas of v2 beside what serves");
    assert_eq!(
        words[2..4],
        [
            "judge the time since the last change",
            "send 90 % of the traffic to the new version",
        ],
        "where it stands is judged first: {words:?}"
    );
    let all = look(Some(group("v1", 5)), Some(group("v2", 5)), 90);
    let course = charted(&canary(&[10, 50, 90]), &all).unwrap();
    assert_eq!(self::words(&course)[2], "judge the time since the last change");
    let other = look(Some(group("v1", 5)), Some(group("v3", 3)), 50);
    let error = charted(&canary(&[10]), &other).unwrap_err();
    assert!(error.contains("v3 stands beside what serves of shop"), "{error}");
    let error = charted(&rolling(), &half).unwrap_err();
    assert!(error.contains("half out beside v1"), "{error}");
}

#[test]
fn without_a_router_replicas_make_the_share_and_say_so() {
    let mut by_replicas = look(Some(group("v1", 4)), None, 0);
    by_replicas.granularity = None;
    by_replicas.traffic = None;
    let course = charted(&canary(&[10, 50]), &by_replicas).unwrap();
    assert_eq!(
        words(&course),
        [
            "start 1 replica of v2 beside what serves",
            "check the new version before users get it",
            "give the new version 20 % by replicas, 1 of 5 (asked: 10 %)",
            "judge the time since the last change",
            "give the new version 50 % by replicas, 2 of 4 (asked: 50 %)",
            "judge the time since the last change",
            "roll v2 out, replica by replica",
            "bring the stable side to 4 replicas",
            "take away what stands beside the stable side",
            "check what users reach"
        ]
    );
    by_replicas.granularity = Some(Granularity::Replicas);
    assert_eq!(charted(&canary(&[10, 50]), &by_replicas).unwrap(), course);
}

#[test]
fn blue_green_switches_everything_and_keeps_the_old_one_warm() {
    let mut stands = look(Some(group("v1", 4)), None, 0);
    stands.granularity = Some(Granularity::AllOrNothing);
    let course = charted(&blue_green(Switch::Manual), &stands).unwrap();
    assert_eq!(
        words(&course),
        [
            "start 4 replicas of v2 beside what serves",
            "check the new version before users get it",
            "ask a person: switch all traffic?",
            "send 100 % of the traffic to the new version",
            "check what users reach",
            "wait 10m",
            "judge the time since the last change",
            "roll v2 out, replica by replica",
            "send all traffic to the stable side",
            "take away what stands beside the stable side",
            "check what users reach"
        ]
    );
    let automatic = charted(&blue_green(Switch::Automatic), &stands).unwrap();
    assert_eq!(automatic.acts.len(), course.acts.len() - 1);
}

#[test]
fn what_cannot_be_done_there_is_told() {
    let mut stands = look(Some(group("v1", 4)), None, 0);
    stands.granularity = Some(Granularity::Replicas);
    let error = charted(&blue_green(Switch::Automatic), &stands).unwrap_err();
    assert!(
        error.contains("needs a router that can switch all traffic"),
        "{error}"
    );
    stands.granularity = Some(Granularity::AllOrNothing);
    let error = charted(&canary(&[10]), &stands).unwrap_err();
    assert!(error.contains("sends all or nothing"), "{error}");
    let mut unwell = group("v1", 4);
    unwell.ready = 2;
    let unwell = look(Some(unwell), None, 0);
    let error = charted(&canary(&[10]), &unwell).unwrap_err();
    assert!(error.contains("is not well (2 of 4 ready)"), "{error}");
    assert!(
        charted(&rolling(), &unwell).is_ok(),
        "a fix may be rolled out over what is broken"
    );
    let mut paused = group("v1", 4);
    paused.paused = true;
    let error = charted(&rolling(), &look(Some(paused), None, 0)).unwrap_err();
    assert!(error.contains("shop is paused"), "{error}");
    // By hand in the middle of that very version, or with nothing there.
    let mut half = group("v2", 4);
    (half.paused, half.ready) = (true, 2);
    let mut nothing = group("v1", 0);
    nothing.paused = true;
    for paused in [half.clone(), nothing] {
        let error = charted(&rolling(), &look(Some(paused), None, 0)).unwrap_err();
        assert!(error.contains("shop is paused"), "{error}");
    }
    half.ready = 4;
    let there = charted(&rolling(), &look(Some(half), None, 0)).unwrap();
    assert_eq!(there.kind, Kind::There, "nothing is replaced there");
    let gone = look(None, Some(group("v2", 1)), 10);
    let error = charted(&canary(&[10]), &gone).unwrap_err();
    assert!(error.contains("the stable side of shop is gone"), "{error}");
}

#[test]
fn what_was_changed_just_now_is_looked_at_again() {
    let mut between = group("v1", 4);
    between.observed = false;
    let chart = |stable: &Group| {
        let look = look(Some(stable.clone()), None, 0);
        chart(&environment(), &canary(&[10]), "v2", &look).unwrap_err()
    };
    assert!(chart(&between).is_transient());
    between.ready = 3;
    assert!(!chart(&between).is_transient(), "that was not well before either");
}

#[test]
fn a_flag_is_turned_on_step_by_step_from_where_it_is() {
    let flag = |percent| Look {
        flag: Some(Flag {
            percent,
            mark: Mark("1".to_owned()),
        }),
        ..Look::default()
    };
    let strategy = Strategy::FeatureFlag {
        steps: steps(&[10, 50]),
    };
    let on = |course: &Course| -> Vec<u32> {
        let percent = |act: &Act| match act {
            Act::Flag { percent } => Some(*percent),
            _ => None,
        };
        course.acts.iter().filter_map(percent).collect()
    };
    assert_eq!(on(&charted(&strategy, &flag(0)).unwrap()), [10, 50, 100]);
    assert_eq!(on(&charted(&strategy, &flag(10)).unwrap()), [50, 100]);
    let there = charted(&strategy, &flag(100)).unwrap();
    assert_eq!((there.kind, on(&there)), (Kind::There, vec![]));
    let error = charted(&strategy, &Look::default()).unwrap_err();
    assert!(error.contains("has no `flag`"), "{error}");
}
