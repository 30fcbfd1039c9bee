use super::*;

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-03-{text}:00Z").parse().unwrap()
}

/// Commit and end by day and time in March 2026; it starts ten minutes before its end.
fn deployment(id: &str, commit: (&str, &str), end: &str) -> Deployment {
    Deployment {
        id: id.to_owned(),
        task_id: format!("task-{id}"),
        repo: "shop".to_owned(),
        environment: "production".to_owned(),
        version: format!("v-{}", commit.0),
        commit: commit.0.to_owned(),
        commit_time: Some(at(commit.1)),
        started: at(end) - TimeDelta::minutes(10),
        finished: Some(at(end)),
        outcome: DeploymentOutcome::Succeeded,
        kind: DeploymentKind::Deploy,
        because_of: Vec::new(),
        incidents: Vec::new(),
    }
}

fn incident(id: &str, detected: &str, recovered: Option<&str>) -> Incident {
    Incident {
        id: id.to_owned(),
        detected: at(detected),
        recovered: recovered.map(at),
    }
}

fn march() -> Scope {
    Scope {
        repo: Some("shop".to_owned()),
        environment: "production".to_owned(),
        from: at("01T00:00"),
        to: at("11T00:00"),
    }
}

/// Ten days of one service, worked out by hand in the tests below.
///
/// | id | what | commit → end | intervention |
/// |---|---|---|---|
/// | d1 | deploy a | 1st 08:00 → 1st 10:00 | |
/// | d2 | deploy b, canary rolled back | 2nd 08:00 → 2nd 12:00 | inc-1, 11:30 to 12:00 |
/// | d3 | deploy c, its task claimed by two workers one after the other: one record | 3rd 06:00 → 3rd 12:00 | |
/// | d4 | deploy d | 4th 09:00 → 4th 12:00 | inc-2, 13:00 to 15:00, and inc-3, 14:00 to 16:30 |
/// | d5 | rollback to c because of inc-2 | 3rd 06:00 → 4th 15:00 | |
/// | d6 | hotfix e because of inc-3 | 4th 15:30 → 4th 16:30 | |
/// | d7 | deploy f refused by its checks before the switch | 5th 08:00 → 5th 09:00 | reached nobody |
/// | d8 | the same commit f once more, as a new task | 5th 08:00 → 5th 18:00 | |
/// | d9 | redeploy of f, planned | 5th 08:00 → 6th 10:00 | |
/// | d10 | deploy g | unknown → 7th 12:00 | inc-4 from 8th 09:00, open |
/// | d11 | redeploy of g because of inc-4 | unknown → 8th 10:00 | |
/// | d12 | deploy h, cancelled | 9th 08:00 → 9th 09:00 | |
/// | d13 | deploy i, still running | 10th 08:00 → | |
/// | s1 | deploy a to staging | | inc-5 |
/// | o1 | deploy of another repository | | |
/// | x1 | deploy before the scope | | |
fn fixture() -> Vec<Deployment> {
    use DeploymentKind::{Hotfix, Redeploy, Rollback};
    use DeploymentOutcome::{Cancelled, FailedBefore, RolledBack, Running};
    let because = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let unknown = |d: Deployment| Deployment {
        commit_time: None,
        ..d
    };
    vec![
        deployment("d1", ("a", "01T08:00"), "01T10:00"),
        Deployment {
            outcome: RolledBack,
            incidents: vec![incident("inc-1", "02T11:30", Some("02T12:00"))],
            ..deployment("d2", ("b", "02T08:00"), "02T12:00")
        },
        deployment("d3", ("c", "03T06:00"), "03T12:00"),
        Deployment {
            incidents: vec![
                incident("inc-2", "04T13:00", Some("04T15:00")),
                incident("inc-3", "04T14:00", Some("04T16:30")),
            ],
            ..deployment("d4", ("d", "04T09:00"), "04T12:00")
        },
        Deployment {
            kind: Rollback,
            because_of: because(&["inc-2"]),
            ..deployment("d5", ("c", "03T06:00"), "04T15:00")
        },
        Deployment {
            kind: Hotfix,
            because_of: because(&["inc-3"]),
            ..deployment("d6", ("e", "04T15:30"), "04T16:30")
        },
        Deployment {
            outcome: FailedBefore,
            ..deployment("d7", ("f", "05T08:00"), "05T09:00")
        },
        deployment("d8", ("f", "05T08:00"), "05T18:00"),
        Deployment {
            kind: Redeploy,
            ..deployment("d9", ("f", "05T08:00"), "06T10:00")
        },
        unknown(Deployment {
            incidents: vec![incident("inc-4", "08T09:00", None)],
            ..deployment("d10", ("g", "07T08:00"), "07T12:00")
        }),
        unknown(Deployment {
            kind: Redeploy,
            because_of: because(&["inc-4"]),
            ..deployment("d11", ("g", "07T08:00"), "08T10:00")
        }),
        Deployment {
            outcome: Cancelled,
            ..deployment("d12", ("h", "09T08:00"), "09T09:00")
        },
        Deployment {
            outcome: Running,
            finished: None,
            ..deployment("d13", ("i", "10T08:00"), "10T09:00")
        },
        Deployment {
            environment: "staging".to_owned(),
            incidents: vec![incident("inc-5", "01T10:00", Some("01T11:00"))],
            ..deployment("s1", ("a", "01T08:00"), "01T09:00")
        },
        Deployment {
            repo: "mail".to_owned(),
            ..deployment("o1", ("z", "02T08:00"), "02T09:00")
        },
        Deployment {
            finished: Some(at("01T00:00") - TimeDelta::seconds(1)),
            ..deployment("x1", ("y", "01T00:00"), "01T00:00")
        },
    ]
}

const HOUR: f64 = 3600.0;

/// Users were not reached by d7 (refused), d12 (cancelled) and d13 (running).
const REACHED: [&str; 10] = ["d1", "d2", "d3", "d4", "d5", "d6", "d8", "d9", "d10", "d11"];

#[test]
fn deployment_frequency_counts_what_reached_users() {
    let frequency = measures(&fixture(), &march()).frequency;
    assert_eq!(frequency.ids, REACHED);
    assert_eq!(
        (frequency.n, frequency.days, frequency.per_day),
        (10, 10.0, Some(1.0))
    );
    // Ends: 1st 10, 2nd 12, 3rd 12, 4th 12, 15, 16:30, 5th 18, 6th 10, 7th 12, 8th 10; hours between:
    // 26, 24, 24, 3, 1.5, 25.5, 16, 26, 22. Sorted: 1.5 3 16 22 [24] 24 25.5 26 26.
    assert_eq!(frequency.median_between_s, Some(24.0 * HOUR));
}

#[test]
fn lead_time_is_of_changes_that_stayed() {
    let lead = measures(&fixture(), &march()).lead_time;
    // a 2 h, c 6 h, d 3 h, e 1 h, f 10 h; b was taken back, d5 brought c again, d9 f again, g's commit time is not known.
    let each = [("d1", 2.0), ("d3", 6.0), ("d4", 3.0), ("d6", 1.0), ("d8", 10.0)];
    assert_eq!(lead.each, each.map(|(id, hours)| (id.to_owned(), hours * HOUR)));
    assert_eq!(lead.without, ["d10"]);
    assert_eq!((lead.n, lead.of), (5, 6));
    assert_eq!(lead.median_s, Some(3.0 * HOUR));
    assert_eq!(lead.mean_s, Some(15_840.0));
}

#[test]
fn a_failure_is_a_deployment_however_many_incidents_it_has() {
    let failed = measures(&fixture(), &march()).change_fail_rate;
    assert_eq!(failed.ids, ["d2", "d4", "d10"]);
    assert_eq!(failed.of_ids, REACHED);
    assert_eq!((failed.n, failed.of, failed.rate), (3, 10, Some(0.3)));
}

#[test]
fn incidents_that_overlap_are_one_outage_and_an_open_one_has_no_recovery() {
    let recovery = measures(&fixture(), &march()).recovery_time;
    // d2: 11:30 to 12:00. d4: 13:00 to 16:30, two incidents that overlap.
    assert_eq!(
        recovery.each,
        [("d2".to_owned(), 0.5 * HOUR), ("d4".to_owned(), 3.5 * HOUR)]
    );
    assert_eq!(recovery.without, ["d10"]);
    assert_eq!((recovery.n, recovery.of), (2, 3));
    assert_eq!(
        (recovery.median_s, recovery.mean_s),
        (Some(2.0 * HOUR), Some(2.0 * HOUR))
    );
}

#[test]
fn rework_is_what_an_incident_made_somebody_deploy() {
    let rework = measures(&fixture(), &march()).rework_rate;
    assert_eq!(rework.ids, ["d5", "d6", "d11"]);
    assert_eq!((rework.n, rework.of, rework.rate), (3, 10, Some(0.3)));
}

#[test]
fn the_order_of_records_and_copies_of_one_make_no_difference() {
    let mut turned = fixture();
    turned.reverse();
    turned.push(turned[5].clone());
    assert_eq!(measures(&turned, &march()), measures(&fixture(), &march()));
}

/// From 13:00 to 14:00 and from 20:00 to 21:00: the service was well between, and was not being recovered.
#[test]
fn incidents_that_lie_apart_are_outages_of_their_own() {
    let record = Deployment {
        incidents: vec![
            incident("late", "01T20:00", Some("01T21:00")),
            incident("early", "01T13:00", Some("01T14:00")),
            incident("within", "01T13:10", Some("01T13:20")),
        ],
        ..deployment("d1", ("a", "01T08:00"), "01T10:00")
    };
    let recovery = measures(&[record], &march()).recovery_time;
    assert_eq!(recovery.each, [("d1".to_owned(), 2.0 * HOUR)]);
}

#[test]
fn nothing_has_no_rate() {
    let nothing = measures(&[], &march());
    assert_eq!(
        (nothing.change_fail_rate.rate, nothing.rework_rate.rate),
        (None, None)
    );
    assert_eq!(
        (nothing.lead_time.median_s, nothing.recovery_time.mean_s),
        (None, None)
    );
    assert_eq!(
        (nothing.frequency.per_day, nothing.frequency.median_between_s),
        (Some(0.0), None)
    );
}

#[test]
fn repositories_are_shown_apart() {
    let all = Scope {
        repo: None,
        ..march()
    };
    assert_eq!(measures(&fixture(), &all).frequency.n, 11);
    let apart = by_repo(&fixture(), &all);
    assert_eq!(apart.keys().collect::<Vec<_>>(), ["mail", "shop"]);
    assert_eq!(apart["shop"].frequency.n, 10);
}
