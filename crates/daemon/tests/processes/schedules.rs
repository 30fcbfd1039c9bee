//! `longshore schedules …` as its user meets it.

use serde_json::json;
use testkit::postgres;

use crate::process::{answer, over, words};

#[tokio::test]
async fn a_schedule_is_made_listed_run_and_taken_away() {
    let db = postgres::database().await;
    db.manual_clock("2026-07-01T10:30:00Z".parse().unwrap()).await;
    let set = [
        "schedules",
        "set",
        "nightly",
        "--cron",
        "30 3 * * MON-FRI",
        "--time-zone",
        "Europe/Berlin",
        "--task-type",
        "deploy",
        "--agent",
        "devops",
        "--instruction",
        "deploy latest to staging",
    ];
    let (code, said, error) = words(over(&db, &set));
    assert_eq!(
        (code, said.trim()),
        (0, "nightly runs next at 2026-07-02 01:30:00Z."),
        "{error}"
    );
    let (_, table, _) = words(over(&db, &["schedules", "list"]));
    let line: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        line.join(" "),
        "nightly 30 3 * * MON-FRI Europe/Berlin deploy 2026-07-02 01:30:00Z",
        "{table}"
    );

    let (code, made) = answer(over(&db, &["schedules", "run-now", "nightly", "--json"]));
    assert_eq!((code, &made["status"]), (0, &json!("created")));
    let (code, again, _) = words(over(&db, &["schedules", "run-now", "nightly"]));
    assert_eq!(code, 0);
    assert!(
        again.contains(made["task_id"].as_str().unwrap()) && again.contains("no other was made"),
        "{again}"
    );
    let (_, shown, _) = words(over(&db, &["schedules", "show", "nightly"]));
    for line in [
        "In words:",
        "Next run:      2026-07-02 01:30:00Z",
        "(pending)",
        "Missed runs:   once",
        "Z: run by ",
        "Z: made by ",
        " at the command line",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let (code, off, _) = words(over(&db, &["schedules", "disable", "nightly"]));
    assert_eq!((code, off.trim()), (0, "nightly is disabled."));
    assert_eq!(words(over(&db, &["schedules", "delete", "nightly"])).0, 0);
    assert_eq!(
        answer(over(&db, &["schedules", "list", "--json"])),
        (0, json!({"schedules": []}))
    );

    let (code, _, error) = words(over(&db, &["schedules", "show", "nightly"]));
    assert!(
        code == 1 && error.contains("was deleted by ") && error.contains("there is no schedule"),
        "{code}: {error}"
    );
    let mut wrong = set;
    wrong[4] = "often";
    let (code, _, error) = words(over(&db, &wrong));
    assert!(
        code == 2 && error.contains("`cron`") && error.contains("next:"),
        "{code}: {error}"
    );
}

#[tokio::test]
async fn create_task_with_a_key_says_that_the_task_is_there() {
    let db = postgres::database().await;
    let create = [
        "create-task",
        "--task-type",
        "deploy",
        "--instruction",
        "deploy v1 to staging",
        "--dedupe-key",
        "k",
    ];
    let (code, made) = answer(over(&db, &[&create[..], &["--json"]].concat()));
    assert_eq!((code, &made["status"]), (0, &json!("created")));
    let (code, again) = answer(over(&db, &[&create[..], &["--json"]].concat()));
    assert_eq!(
        (code, &again["status"], &again["task_id"]),
        (0, &json!("exists"), &made["task_id"])
    );
    let (code, said, _) = words(over(&db, &create));
    assert!(code == 0 && said.contains("no other was made"), "{said}");
}
