//! `longshore dora`, over a log whose figures were worked out by hand.

use serde_json::json;
use testkit::postgres;

use crate::process::{answer, over, words};

/// Ten days of one service, from 1 March on, and of another one.
///
/// | id | what | committed → ended | failed |
/// |---|---|---|---|
/// | d1 | a | 1st 08:00 → 10:00 | |
/// | d2 | b, rolled back | 2nd 08:00 → 12:00 | 11:30 to 12:00 |
/// | d3 | c | 3rd 06:00 → 12:00 | 13:00 to 15:00, and 14:00 to 16:30 |
/// | d4 | rollback to a, while c's first failure is open | → 3rd 15:00 | |
/// | d5 | d, asked for while c's second failure is open | 3rd 15:20 → 16:30 | |
/// | d9 | g, rolled back | 4th 08:00 → 09:30 | 09:20 to 09:30 |
/// | d9#2 | g, the same task tried again | 4th 08:00 → 12:00 | |
/// | d6 | e, its commit not known | → 5th 12:00 | since 6th 09:00 |
/// | d7 | f, whose smoke test failed: nobody was reached | 7th 08:00 → 09:00 | |
/// | d8 | f to staging | 7th 08:00 → 08:30 | |
/// | o1 | another repository's | 8th 06:00 → 7:00 | |
const LOG: &str = "
INSERT INTO repos (id, name, gitlab_project_id) VALUES ('r1', 'shop', 'group/shop'), ('r2', 'blog', 'group/blog');
INSERT INTO longshore.deployments
       (id, repo_id, environment, kind, version, previous, sha, committed_at, asked_at, started_at, reached_at, ended_at, outcome,
        task_id, workload, strategy)
SELECT id, repo, environment, kind, version, previous, sha, at(committed), at(started), at(started), at(reached), at(ended), outcome,
       'task-' || id, 'shop', 'canary'
  FROM (VALUES
        ('d1', 'r1', 'production', 'deploy', 'a', NULL, 'aa', '01 08:00', '01 09:50', '01 09:55', '01 10:00', 'succeeded'),
        ('d2', 'r1', 'production', 'deploy', 'b', 'a', 'bb', '02 08:00', '02 11:00', '02 11:10', '02 12:00', 'rolled_back'),
        ('d3', 'r1', 'production', 'deploy', 'c', 'a', 'cc', '03 06:00', '03 11:50', '03 11:55', '03 12:00', 'succeeded'),
        ('d4', 'r1', 'production', 'rollback', 'a', 'c', 'aa', '01 08:00', '03 14:50', '03 14:50', '03 15:00', 'succeeded'),
        ('d5', 'r1', 'production', 'deploy', 'd', 'a', 'dd', '03 15:20', '03 15:30', '03 15:40', '03 16:30', 'succeeded'),
        ('d9', 'r1', 'production', 'deploy', 'g', 'd', 'gg', '04 08:00', '04 09:00', '04 09:10', '04 09:30', 'rolled_back'),
        ('d9#2', 'r1', 'production', 'deploy', 'g', 'd', 'gg', '04 08:00', '04 11:30', '04 11:40', '04 12:00', 'succeeded'),
        ('d6', 'r1', 'production', 'deploy', 'e', 'g', NULL, NULL, '05 11:50', '05 11:55', '05 12:00', 'succeeded'),
        ('d7', 'r1', 'production', 'deploy', 'f', 'e', 'ff', '07 08:00', '07 08:50', NULL, '07 09:00', 'failed'),
        ('d8', 'r1', 'staging', 'deploy', 'f', 'e', 'ff', '07 08:00', '07 08:20', '07 08:21', '07 08:30', 'succeeded'),
        ('o1', 'r2', 'production', 'deploy', 'z', 'y', 'zz', '08 06:00', '08 06:50', '08 06:55', '08 07:00', 'succeeded')
       ) AS log (id, repo, environment, kind, version, previous, sha, committed, started, reached, ended, outcome);
INSERT INTO longshore.deployment_failures (id, deployment_id, cause, began_at, recovered_at) VALUES
       ('f1', 'd2', 'errors', at('02 11:30'), at('02 12:00')),
       ('f2', 'd3', 'errors', at('03 13:00'), at('03 15:00')),
       ('f3', 'd3', 'slow', at('03 14:00'), at('03 16:30')),
       ('f5', 'd9', 'errors', at('04 09:20'), at('04 09:30')),
       ('f4', 'd6', 'errors', at('06 09:00'), NULL);
";

#[tokio::test]
async fn the_five_figures_come_with_what_they_rest_on() {
    let db = postgres::database().await;
    db.manual_clock("2026-03-11T00:00:00Z".parse().unwrap()).await;
    db.sql(&format!(
        "CREATE FUNCTION at(text) RETURNS timestamptz LANGUAGE sql AS $$ SELECT ('2026-03-' || $1 || ':00Z')::timestamptz $$; {LOG}"
    ))
    .await;

    let (code, text, _) = words(over(&db, &["dora", "--repo", "group/shop", "--since", "10d"]));
    assert_eq!(code, 0, "{text}");
    for line in [
        "Deployments to production  2026-03-01 00:00:00Z to 2026-03-11 00:00:00Z",
        "  deployment frequency             5.6 a week            8 in 10.0 days",
        "  change lead time                 3h (median)           4 of 5 changes whose commit's time is known, mean 3h17m",
        "  change fail rate                 50.0 %                4 of 8 deployments",
        "  failed deployment recovery time  30m (median)          3 of 4 failed deployments that are made good, mean 1h23m",
        "  deployment rework rate           25.0 %                2 of 8 deployments",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "{line:?} is not in\n{text}"
        );
    }

    let (code, told) = answer(over(
        &db,
        &["dora", "--json", "--repo", "r1", "--since", "2026-03-01"],
    ));
    let measures = &told["measures"];
    assert_eq!(code, 0, "{told}");
    assert_eq!(
        measures["frequency"]["ids"],
        json!(["d1", "d2", "d3", "d4", "d5", "d9", "d9#2", "d6"])
    );
    assert_eq!(
        measures["lead_time"]["each"],
        json!([["d1", 7200.0], ["d3", 21600.0], ["d5", 4200.0], ["d9#2", 14400.0]])
    );
    assert_eq!(measures["lead_time"]["without"], json!(["d6"]));
    assert_eq!(
        measures["change_fail_rate"]["ids"],
        json!(["d2", "d3", "d9", "d6"])
    );
    assert_eq!(
        measures["recovery_time"]["each"],
        json!([["d2", 1800.0], ["d3", 12600.0], ["d9", 600.0]])
    );
    assert_eq!(measures["recovery_time"]["without"], json!(["d6"]));
    assert_eq!(measures["rework_rate"]["ids"], json!(["d4", "d5"]));

    // All repositories: each apart too.
    let (_, text, _) = words(over(&db, &["dora", "--since", "10d", "--ids"]));
    for line in ["group/shop", "group/blog", "  d2 d3 d9 d6"] {
        assert!(
            text.lines().any(|told| told == line),
            "{line:?} is not in\n{text}"
        );
    }
    let (_, staging) = answer(over(&db, &["dora", "--json", "--environment", "staging"]));
    assert_eq!(staging["measures"]["frequency"]["ids"], json!(["d8"]));
}

#[tokio::test]
async fn what_cannot_be_counted_is_told() {
    let db = postgres::database().await;
    let (code, _, told) = words(over(&db, &["dora", "--since", "soon"]));
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("neither a length of time nor a date"), "{told}");
    let (code, _, told) = words(over(&db, &["dora", "--repo", "nowhere"]));
    assert_eq!(code, 1, "{told}");
    let (code, text, _) = words(over(&db, &["dora"]));
    assert_eq!(code, 0);
    assert!(text.contains("none                  0 in 30.0 days"), "{text}");
}
