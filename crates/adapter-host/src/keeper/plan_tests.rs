use ports::{Launch, RollOut, Side};

use super::*;
use crate::status::Phase;
use crate::wishes::Wishes;

const QUARTER: Pace = Pace {
    max_unavailable: Portion::Percent(25),
    max_surge: Portion::Percent(25),
};

fn pace(max_unavailable: u32, max_surge: u32) -> Pace {
    Pace {
        max_unavailable: Portion::Replicas(max_unavailable),
        max_surge: Portion::Replicas(max_surge),
    }
}

fn wish(version: &str, replicas: u32) -> Wishes {
    let mut wishes = Wishes::default();
    let wanted = RollOut {
        version: version.to_owned(),
        replicas,
        pace: None,
    };
    wishes.roll_out(&wanted, None, None).expect("is wished for");
    wishes
}

fn replica(id: u64, version: &str, ready: bool) -> Replica {
    Replica {
        id,
        side: Side::Stable,
        version: version.to_owned(),
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        port: 1,
        phase: Phase::Running,
        run: id,
        healthy: ready,
        slot: None,
        routed: ready,
        restarts: 0,
        trouble: None,
    }
}

fn next(wishes: &Wishes, replicas: &[Replica], pace: Pace) -> (usize, Vec<u64>) {
    let all: Vec<_> = replicas.iter().collect();
    let plan = plan(wishes.stable.as_ref(), &all, pace);
    (plan.start.len(), plan.stop)
}

/// Carries plans out until nothing is left to do. `works` says which versions get ready. Answers the most that there
/// were, the fewest that were available, and what there is in the end.
fn carry_out(
    wishes: &Wishes,
    mut all: Vec<Replica>,
    pace: Pace,
    works: fn(&str) -> bool,
) -> (usize, usize, Vec<Replica>) {
    let (mut most, mut fewest, mut last) = (all.len(), usize::MAX, 100);
    for _ in 0..100 {
        let references: Vec<_> = all.iter().collect();
        let plan = plan(wishes.stable.as_ref(), &references, pace);
        for gone in all.iter_mut().filter(|r| plan.stop.contains(&r.id)) {
            gone.phase = Phase::Draining;
        }
        for version in plan.start {
            last += 1;
            all.push(replica(last, &version, false));
        }
        most = most.max(all.len());
        fewest = fewest.min(all.iter().filter(|r| r.is_available()).count());
        // One after the other gets ready and goes away.
        if let Some(place) = all.iter().position(Replica::goes) {
            all.remove(place);
        } else if let Some(new) = all.iter_mut().find(|r| !r.healthy && works(&r.version)) {
            (new.healthy, new.routed) = (true, true);
        }
    }
    (most, fewest, all)
}

#[test]
fn a_roll_out_keeps_to_its_pace_and_ends() {
    for (wanted, pace, most, fewest) in [
        (4, QUARTER, 5, 3),
        (1, QUARTER, 2, 1),
        (3, pace(0, 1), 4, 3),
        (3, pace(1, 0), 3, 2),
        (3, pace(0, 0), 3, 2),
        (3, pace(3, 3), 6, 0),
        (10, pace(2, 5), 15, 8),
    ] {
        let old = (1..=u64::from(wanted))
            .map(|id| replica(id, "v1", true))
            .collect();
        let (had, had_least, left) = carry_out(&wish("v2", wanted), old, pace, |_| true);
        assert!(
            had <= most && had_least >= fewest,
            "{wanted} {pace:?}: {had} at most, {had_least} at least"
        );
        assert_eq!(left.len(), wanted as usize, "{pace:?}");
        assert!(
            left.iter().all(|r| r.version == "v2" && r.is_available()),
            "{left:?}"
        );
    }
}

#[test]
fn what_never_gets_ready_takes_no_more_than_may_be_missing() {
    for (pace, fewest) in [(QUARTER, 3), (pace(0, 2), 4), (pace(1, 0), 3), (pace(2, 2), 2)] {
        let old = (1..=4).map(|id| replica(id, "v1", true)).collect();
        let (_, least, left) = carry_out(&wish("v2", 4), old, pace, |version| version == "v1");
        assert_eq!(least, fewest, "{pace:?}");
        assert!(left.iter().any(|r| r.version == "v2"), "it is tried: {left:?}");
    }
}

#[test]
fn a_number_is_kept_in_both_directions() {
    let three: Vec<_> = (1..=3).map(|id| replica(id, "v1", id != 2)).collect();
    assert_eq!(next(&wish("v1", 3), &three, QUARTER), (0, vec![]));
    assert_eq!(
        next(&wish("v1", 2), &three, QUARTER),
        (0, vec![2]),
        "what is of no use goes first"
    );
    assert_eq!(
        next(&wish("v1", 1), &three, QUARTER),
        (0, vec![2, 3]),
        "then the newest"
    );
    assert_eq!(next(&wish("v1", 5), &three, QUARTER).0, 2);
    assert_eq!(next(&wish("v1", 0), &three, QUARTER).1.len(), 3);
    assert_eq!(next(&Wishes::default(), &three, QUARTER), (0, vec![1, 2, 3]));
}

#[test]
fn what_waits_is_scaled_as_it_stands() {
    let mut wishes = wish("v1", 2);
    let seen = wishes.stable.as_ref().expect("a wish").mark();
    wishes.pause(true, &seen).expect("pauses");
    wishes.stable.as_mut().expect("a wish").version = "v2".to_owned();
    let two: Vec<_> = (1..=2).map(|id| replica(id, "v1", true)).collect();
    assert_eq!(next(&wishes, &two, QUARTER), (0, vec![]));
    wishes.stable.as_mut().expect("a wish").replicas = 3;
    let all: Vec<_> = two.iter().collect();
    assert_eq!(plan(wishes.stable.as_ref(), &all, QUARTER).start, ["v1"]);
    wishes.stable.as_mut().expect("a wish").replicas = 1;
    assert_eq!(next(&wishes, &two, QUARTER), (0, vec![2]));
}

#[test]
fn a_candidate_that_goes_away_may_be_followed_by_another() {
    let mut wishes = wish("v1", 2);
    let wanted = Launch {
        version: "v2".to_owned(),
        replicas: 1,
    };
    let first = wishes.launch(&wanted, None).expect("launches");
    wishes.retire(Some(&first)).expect("retires");
    let gone = wishes.retired_mark();
    let mut same = wishes.clone();
    let second = same.launch(&wanted, None).expect("nothing is there");
    assert_ne!(second, first);
    assert_eq!(
        wishes.launch(&wanted, Some(&gone)),
        Ok(second),
        "who has seen it go has seen what is there"
    );
    assert!(
        wishes
            .launch(
                &Launch {
                    replicas: 2,
                    ..wanted
                },
                Some(&gone)
            )
            .is_err()
    );
}
