use chrono::TimeDelta;
use domain::TaskId;
use ports::NewDeployment;

use super::*;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
}

/// Committed an hour before it is asked for at `asked`, begun at once, over an hour later.
fn entry(id: &str, asked: i64, outcome: DeploymentOutcome) -> Deployment {
    Deployment {
        what: NewDeployment {
            id: id.to_owned(),
            task_id: TaskId::from(id),
            repo_id: "shop".to_owned(),
            environment: "production".to_owned(),
            workload: "shop/checkout".to_owned(),
            kind: DeploymentKind::Deploy,
            version: format!("v-{id}"),
            strategy: "canary".to_owned(),
            git_ref: None,
            sha: Some(format!("sha-{id}")),
            committed_at: Some(at(asked - 1)),
        },
        previous: Some("v-before".to_owned()),
        asked_at: at(asked),
        started_at: Some(at(asked)),
        reached_at: Some(at(asked)),
        ended_at: Some(at(asked + 1)),
        outcome: Some(outcome),
        cause: None,
        failures: Vec::new(),
    }
}

fn failure(id: &str, began: i64, recovered: Option<i64>) -> Failure {
    Failure {
        id: id.to_owned(),
        cause: "slow".to_owned(),
        began_at: at(began),
        recovered_at: recovered.map(at),
    }
}

/// | id | what | failures |
/// |---|---|---|
/// | good | a deployment | two: 10 to 14, and 11 to 15 |
/// | back | rollback, from 12 to 13 | |
/// | fix | deployed at 13 while both last | |
/// | waited | asked for at 9, begins at 13 behind the others: planned | |
/// | early | failed its smoke check: reached nobody | early/rollout |
/// | stopped | cancelled by a rollback and blamed | stopped/rollout |
/// | given-up | cancelled by who had asked for it | |
/// | open | a deployment whose failure lasts | 50, open |
/// | again | the version that is there, while that lasts | |
/// | runs | not over | |
fn log() -> Vec<Deployment> {
    use DeploymentOutcome::{Cancelled, RolledBack, Succeeded};
    let mut good = entry("good", 1, Succeeded);
    good.failures = vec![failure("i1", 10, Some(14)), failure("i2", 11, Some(15))];
    let mut back = entry("back", 12, Succeeded);
    back.what.kind = DeploymentKind::Rollback;
    back.reached_at = None;
    let fix = entry("fix", 13, Succeeded);
    let mut waited = entry("waited", 13, Succeeded);
    waited.asked_at = at(9);
    let mut early = entry("early", 20, RolledBack);
    early.reached_at = None;
    early.failures = vec![failure("early/rollout", 21, Some(21))];
    let mut stopped = entry("stopped", 30, Cancelled);
    stopped.failures = vec![failure("stopped/rollout", 31, Some(32))];
    let given_up = entry("given-up", 35, Cancelled);
    let mut open = entry("open", 40, Succeeded);
    open.failures = vec![failure("i3", 50, None)];
    let mut again = entry("again", 51, Succeeded);
    again.previous = Some(again.what.version.clone());
    let mut runs = entry("runs", 60, Succeeded);
    (runs.outcome, runs.ended_at) = (None, None);
    vec![
        good, back, fix, waited, early, stopped, given_up, open, again, runs,
    ]
}

#[test]
fn outcomes_and_kinds_are_what_happened() {
    use dora::{DeploymentKind as Kind, DeploymentOutcome as Outcome};
    let records = of_log(&log());
    let found: Vec<_> = records
        .iter()
        .map(|r| (r.id.as_str(), r.kind, r.outcome))
        .collect();
    assert_eq!(
        found,
        [
            ("good", Kind::Deploy, Outcome::Succeeded),
            ("back", Kind::Rollback, Outcome::Succeeded),
            ("fix", Kind::Hotfix, Outcome::Succeeded),
            ("waited", Kind::Deploy, Outcome::Succeeded),
            ("early", Kind::Deploy, Outcome::FailedBefore),
            ("stopped", Kind::Deploy, Outcome::RolledBack),
            ("given-up", Kind::Deploy, Outcome::Cancelled),
            ("open", Kind::Deploy, Outcome::Succeeded),
            ("again", Kind::Redeploy, Outcome::Succeeded),
            ("runs", Kind::Hotfix, Outcome::Running),
        ]
    );
    assert_eq!(records[1].because_of, ["i1", "i2"]);
    assert_eq!(records[8].because_of, ["i3"]);
}

#[test]
fn the_five_figures_of_the_log_are_those_worked_out_by_hand() {
    let scope = dora::Scope {
        repo: Some("shop".to_owned()),
        environment: "production".to_owned(),
        from: at(0),
        to: at(100),
    };
    let found = dora::measures(&of_log(&log()), &scope);
    // Reached users and over: good, back, fix, waited, stopped, open, again.
    assert_eq!(found.frequency.n, 7);
    let share = |share: &dora::Share| (share.ids.join(" "), share.of);
    assert_eq!(
        share(&found.change_fail_rate),
        ("good stopped open".to_owned(), 7)
    );
    assert_eq!(share(&found.rework_rate), ("back fix again".to_owned(), 7));
    // From 10 to 15 once, and from 31 to 32; the third lasts.
    let recovery = &found.recovery_time;
    let hours = |hours: f64| hours * 3600.0;
    assert_eq!(
        recovery.each,
        [
            ("good".to_owned(), hours(5.0)),
            ("stopped".to_owned(), hours(1.0))
        ]
    );
    assert_eq!(recovery.without, ["open"]);
    // Two hours from each commit, of what brought a change and stayed; of `waited`, that began later, too.
    let lead: Vec<_> = found
        .lead_time
        .each
        .iter()
        .map(|(id, s)| (id.as_str(), *s))
        .collect();
    assert_eq!(
        lead,
        [
            ("good", hours(2.0)),
            ("fix", hours(2.0)),
            ("waited", hours(2.0)),
            ("open", hours(2.0))
        ]
    );
}

#[test]
fn another_environments_failures_are_no_reason() {
    let mut log = log();
    for known in &mut log {
        if known.what.id == "good" {
            known.what.environment = "staging".to_owned();
        }
    }
    let fix = of_log(&log).remove(2);
    assert_eq!(
        (fix.kind, fix.because_of),
        (dora::DeploymentKind::Deploy, Vec::new())
    );
}
