//! Schedules: each run makes one task, whoever looks, and outages, overlaps and faults have one answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{ErrorKind, NewTask};
use futures_util::future::join_all;
use serde_json::json;
use store::{Missed, NewSchedule, Overlap, Store};
use testkit::postgres::{self, Database, ManualClock};

const HOUR: Duration = Duration::from_secs(3600);

async fn start() -> (Database, Store, ManualClock) {
    let db = postgres::database().await;
    let store = db.store().await;
    let clock = db.manual_clock(at("2026-07-01T10:30:00Z")).await;
    (db, store, clock)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a moment")
}

fn hourly(name: &str) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: "0 * * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        task: NewTask::new("deploy", json!({"instruction": "deploy latest to staging"}))
            .assigned_to("devops"),
        overlap: Overlap::Skip,
        missed: Missed::Once,
        enabled: true,
    }
}

async fn tasks(db: &Database) -> usize {
    db.value("SELECT count(*) FROM tasks")
        .await
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_run_makes_its_task_once_however_many_look() {
    let (db, store, clock) = start().await;
    let set = store.set_schedule(&hourly("staging")).await.unwrap();
    assert_eq!(set.next_run, Some(at("2026-07-01T11:00:00Z")));
    let early = store.fire_schedules().await.unwrap();
    assert_eq!(
        (early.made.len(), early.next),
        (0, Some(Duration::from_secs(1800)))
    );

    for run in 1..=3 {
        clock.advance(HOUR).await;
        let others = db.worker_store().await;
        let fired = join_all((0..6).map(|n| {
            if n % 2 == 0 {
                store.fire_schedules()
            } else {
                others.fire_schedules()
            }
        }))
        .await;
        let made: usize = fired
            .into_iter()
            .map(|fired| fired.expect("no error").made.len())
            .sum();
        assert_eq!((made, tasks(&db).await), (1, run));
        db.sql("UPDATE tasks SET status = 'completed'").await;
    }
    let row = db
        .value("SELECT concat_ws('|', task_type, assigned_to, created_by, dedupe_key, payload->>'instruction') FROM tasks LIMIT 1")
        .await;
    assert_eq!(
        row.as_deref(),
        Some("deploy|devops|schedule:staging|schedule:staging|deploy latest to staging")
    );
    let staging = store.schedule("staging").await.unwrap();
    assert_eq!(staging.last_run, Some(at("2026-07-01T13:00:00Z")));
    assert_eq!(staging.next_run, Some(at("2026-07-01T14:00:00Z")));
    assert_eq!(staging.last_task_status.as_deref(), Some("completed"));
}

#[tokio::test]
async fn runs_missed_in_an_outage_are_made_up_once_or_left_out() {
    let (db, store, clock) = start().await;
    store.set_schedule(&hourly("made-up")).await.unwrap();
    store
        .set_schedule(&NewSchedule {
            missed: Missed::Skip,
            ..hourly("left-out")
        })
        .await
        .unwrap();
    clock.advance(Duration::from_secs(7 * 3600)).await; // 17:30: seven runs were missed
    let fired = store.fire_schedules().await.unwrap();
    let made: Vec<&str> = fired.made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        (made, fired.skipped.len()),
        (vec!["made-up"], 1),
        "{:?}",
        fired.skipped
    );
    let made_up = store.schedule("made-up").await.unwrap();
    assert_eq!(
        made_up.last_run,
        Some(at("2026-07-01T17:00:00Z")),
        "the last of those that were missed"
    );
    assert_eq!(made_up.next_run, Some(at("2026-07-01T18:00:00Z")));
    let left_out = store.schedule("left-out").await.unwrap();
    assert_eq!(
        (left_out.last_run, left_out.next_run),
        (None, Some(at("2026-07-01T18:00:00Z")))
    );
    assert!(left_out.skipped_why.unwrap().contains("missed"));

    // A run that is a little late is no missed one.
    db.sql("UPDATE tasks SET status = 'completed'").await;
    clock.advance(Duration::from_secs(30 * 60 + 240)).await;
    assert_eq!(store.fire_schedules().await.unwrap().made.len(), 2);
}

#[tokio::test]
async fn a_run_over_an_unfinished_task_is_skipped_unless_overlaps_are_wanted() {
    let (db, store, clock) = start().await;
    store.set_schedule(&hourly("one")).await.unwrap();
    store
        .set_schedule(&NewSchedule {
            overlap: Overlap::Allow,
            ..hourly("many")
        })
        .await
        .unwrap();
    for _ in 0..3 {
        clock.advance(HOUR).await;
        store.fire_schedules().await.unwrap();
    }
    let by = |name: &str| format!("SELECT count(*) FROM tasks WHERE created_by = 'schedule:{name}'");
    assert_eq!(db.value(&by("one")).await.as_deref(), Some("1"));
    assert_eq!(db.value(&by("many")).await.as_deref(), Some("3"));
    let one = store.schedule("one").await.unwrap();
    assert_eq!(one.skipped_run, Some(at("2026-07-01T13:00:00Z")));
    assert!(one.skipped_why.unwrap().contains(&one.last_task.unwrap()));

    db.sql("UPDATE tasks SET status = 'failed'").await;
    clock.advance(HOUR).await;
    store.fire_schedules().await.unwrap();
    assert_eq!(
        db.value(&by("one")).await.as_deref(),
        Some("2"),
        "a failed one is finished"
    );
}

#[tokio::test]
async fn a_fault_stops_its_own_schedule_alone_and_is_shown() {
    let (db, store, clock) = start().await;
    db.sql("INSERT INTO repos (id, name, active) VALUES ('r1', 'r', true)")
        .await;
    let mut of_repo = hourly("a-gone-repo");
    of_repo.task.repo_id = Some("r1".to_owned());
    store.set_schedule(&of_repo).await.unwrap();
    store.set_schedule(&hourly("b-by-hand")).await.unwrap();
    store.set_schedule(&hourly("c-refused")).await.unwrap();
    store.set_schedule(&hourly("d-fine")).await.unwrap();
    db.sql(
        "DELETE FROM repos; UPDATE longshore.schedules SET cron = 'often' WHERE name = 'b-by-hand';
         ALTER TABLE tasks ADD CONSTRAINT theirs CHECK (created_by <> 'schedule:c-refused')",
    )
    .await;
    clock.advance(HOUR).await;
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!(
        fired
            .made
            .iter()
            .map(|(name, _)| name.as_str())
            .collect::<Vec<_>>(),
        ["d-fine"]
    );
    let why = |name: &str| {
        fired
            .skipped
            .iter()
            .find(|(of, _)| of == name)
            .expect(name)
            .1
            .clone()
    };
    assert!(why("a-gone-repo").contains("`repo_id`"), "{}", why("a-gone-repo"));
    assert!(why("b-by-hand").contains("`cron`"), "{}", why("b-by-hand"));
    assert!(why("c-refused").contains("theirs"), "{}", why("c-refused"));
    let shown = store.schedule("c-refused").await.unwrap();
    assert!(shown.skipped_why.is_some() && shown.next_run == Some(at("2026-07-01T12:00:00Z")));
    assert_eq!(
        store.schedule("b-by-hand").await.unwrap().next_run,
        None,
        "until it is set right"
    );
}

#[tokio::test]
async fn a_worker_that_dies_while_firing_leaves_the_run_to_the_next() {
    let (db, store, clock) = start().await;
    store.set_schedule(&hourly("staging")).await.unwrap();
    clock.advance(HOUR).await;
    // Another worker has taken the schedule and made its task, and goes before its commit.
    let mut dying = db.session().await;
    dying
        .sql(
            "BEGIN; SELECT FROM longshore.schedules FOR UPDATE;
             INSERT INTO tasks (task_type, dedupe_key) VALUES ('deploy', 'schedule:staging');
             UPDATE longshore.schedules SET next_run = next_run + interval '1 hour'",
        )
        .await;
    assert_eq!(
        store.fire_schedules().await.unwrap().made.len(),
        0,
        "it is that one's to fire"
    );
    drop(dying);
    let fired = async {
        loop {
            let fired = store.fire_schedules().await.unwrap();
            if !fired.made.is_empty() {
                return fired;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let fired = tokio::time::timeout(Duration::from_secs(20), fired)
        .await
        .expect("it is fired");
    assert_eq!((fired.made.len(), tasks(&db).await), (1, 1));
}

#[tokio::test]
async fn it_is_changed_disabled_run_by_hand_and_deleted() {
    let (db, store, clock) = start().await;
    store.set_schedule(&hourly("staging")).await.unwrap();
    clock.advance(HOUR).await;
    // A change of the task alone keeps the run that is due.
    let mut changed = hourly("staging");
    changed.task.payload = json!({"instruction": "deploy v2 to staging"});
    assert_eq!(
        store.set_schedule(&changed).await.unwrap().next_run,
        Some(at("2026-07-01T11:00:00Z"))
    );
    changed.cron = "0 3 * * *".to_owned();
    assert_eq!(
        store.set_schedule(&changed).await.unwrap().next_run,
        Some(at("2026-07-02T01:00:00Z"))
    );

    let off = store.enable_schedule("staging", false).await.unwrap();
    assert_eq!((off.enabled, off.next_run), (false, None));
    clock.advance(Duration::from_secs(72 * 3600)).await;
    assert_eq!(store.fire_schedules().await.unwrap().made.len(), 0);
    let made = store.run_schedule("staging").await.unwrap();
    assert!(
        !made.exists && store.run_schedule("staging").await.unwrap().exists,
        "the first is unfinished"
    );
    assert_eq!(
        store.schedule("staging").await.unwrap().last_task,
        Some(made.id.to_string())
    );
    let on = store.enable_schedule("staging", true).await.unwrap();
    assert_eq!(
        on.next_run,
        Some(at("2026-07-05T01:00:00Z")),
        "what fell into the pause is not missed"
    );

    store.delete_schedule("staging").await.unwrap();
    for error in [
        store.delete_schedule("staging").await.unwrap_err(),
        store.schedule("staging").await.unwrap_err(),
        store.enable_schedule("staging", true).await.unwrap_err(),
        store.run_schedule("staging").await.unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    assert_eq!(tasks(&db).await, 1, "its task stays");
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_named_and_nothing_is_stored() {
    let (_db, store, _clock) = start().await;
    let with = |change: &dyn Fn(&mut NewSchedule)| {
        let mut schedule = hourly("staging");
        change(&mut schedule);
        schedule
    };
    for (wrong, named) in [
        (with(&|s| s.name = "a b".to_owned()), "`name`"),
        (with(&|s| s.cron = "61 * * * *".to_owned()), "`cron`"),
        (with(&|s| s.cron = "0 0 30 2 *".to_owned()), "`cron`"),
        (with(&|s| s.time_zone = "CEST".to_owned()), "`time_zone`"),
        (with(&|s| s.task.task_type = " ".to_owned()), "`type`"),
        (
            with(&|s| s.task.repo_id = Some("nowhere".to_owned())),
            "`repo_id`",
        ),
        (with(&|s| s.task.parent = Some("p".into())), "`parent_task_id`"),
        (
            with(&|s| s.task.run_at = Some(chrono::DateTime::UNIX_EPOCH)),
            "`run_at`",
        ),
    ] {
        let error = store.set_schedule(&wrong).await.expect_err(named);
        assert!(
            error.kind == ErrorKind::Invalid && error.to_string().contains(named),
            "{error}"
        );
        assert!(error.next.is_some(), "{error:?}");
    }
    assert!(store.schedules().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_passing_fault_at_one_schedule_keeps_no_other_waiting() {
    let (db, store, clock) = start().await;
    let mut faulty = hourly("faulty");
    faulty.task.task_type = "faulty".to_owned();
    store.set_schedule(&faulty).await.unwrap();
    let later = NewSchedule {
        cron: "15 * * * *".to_owned(),
        ..hourly("later")
    };
    store.set_schedule(&later).await.unwrap();
    db.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'busy' USING ERRCODE = 'lock_not_available'; END $$;
         CREATE TRIGGER fails BEFORE INSERT ON tasks FOR EACH ROW WHEN (NEW.task_type = 'faulty') EXECUTE FUNCTION fail()",
    )
    .await;
    clock.advance(HOUR).await;
    for made in [1, 0] {
        let fired = store.fire_schedules().await.unwrap();
        assert_eq!((fired.made.len(), fired.failed.len()), (made, 1), "{fired:?}");
        assert_eq!(fired.failed[0].0, "faulty");
        assert_eq!(fired.next, Some(Duration::from_secs(45 * 60)), "of the others");
    }
    db.sql("DROP TRIGGER fails ON tasks").await;
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!(
        (fired.made.len(), fired.failed.len()),
        (1, 0),
        "it was due all the time"
    );
}

#[tokio::test]
async fn a_schedule_whose_look_panics_each_time_keeps_no_other_waiting_and_tells_why() {
    let (db, store, _clock) = start().await;
    let of = |name: &str, zone: &str| NewSchedule {
        time_zone: zone.to_owned(),
        ..hourly(name)
    };
    store.set_schedule(&of("faulty", "Asia/Tokyo")).await.unwrap();
    store.set_schedule(&of("fine", "America/New_York")).await.unwrap();
    db.sql("UPDATE longshore.schedules SET next_run = next_run - interval '1 minute' WHERE name = 'faulty'")
        .await;
    // The last hours that there are for chrono: it knows no local time for them in Tokyo, and panics where it is asked.
    db.sql("UPDATE longshore.test_clock SET at = '262142-12-31 19:00:00+00'")
        .await;
    for made in [1, 0] {
        let fired = store.fire_schedules().await.unwrap();
        assert_eq!((fired.made.len(), fired.failed.len()), (made, 1), "{fired:?}");
        let (name, error) = &fired.failed[0];
        assert_eq!((name.as_str(), error.kind), ("faulty", ErrorKind::Internal));
        assert!(error.to_string().contains("panicked at"), "{error}");
    }
    let told = db
        .value("SELECT skipped_why FROM longshore.schedules WHERE name = 'faulty' AND next_run <= longshore.now()")
        .await;
    assert!(
        told.as_deref().is_some_and(|why| why.contains("panicked at")),
        "{told:?}"
    );
    let looked_ahead = store.recount_schedules().await;
    assert!(looked_ahead.is_ok(), "{looked_ahead:?}");
}

#[tokio::test]
async fn times_written_by_hand_that_no_calendar_shows_stop_no_schedule() {
    let (db, store, clock) = start().await;
    for name in ["always", "ever", "never", "staging"] {
        store.set_schedule(&hourly(name)).await.unwrap();
    }
    db.sql(
        "UPDATE longshore.schedules SET next_run = '-infinity' WHERE name = 'always';
         UPDATE longshore.schedules SET last_run = 'infinity', skipped_run = '294000-01-01' WHERE name = 'ever';
         UPDATE longshore.schedules SET next_run = 'infinity', updated_at = '294000-01-01' WHERE name = 'never'",
    )
    .await;
    assert_eq!(store.schedules().await.unwrap().len(), 4);
    assert_eq!(store.recount_schedules().await.unwrap(), ["never"]);
    db.sql("UPDATE longshore.schedules SET next_run = 'infinity' WHERE name = 'never'")
        .await;
    clock.advance(HOUR).await;
    let fired = store.fire_schedules().await.unwrap();
    let made: Vec<&str> = fired.made.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(made, ["always", "ever", "staging"], "{fired:?}");
    db.sql("DELETE FROM longshore.schedules WHERE name <> 'never'")
        .await;
    assert_eq!(store.fire_schedules().await.unwrap().next, None, "none ever");
}

#[tokio::test]
async fn a_clock_that_is_set_back_silences_no_schedule_and_a_little_back_repeats_no_run() {
    let (db, store, _clock) = start().await;
    store.set_schedule(&hourly("staging")).await.unwrap();
    let allow = NewSchedule {
        overlap: Overlap::Allow,
        ..hourly("always")
    };
    store.set_schedule(&allow).await.unwrap();
    // A year ahead by mistake: what was "missed" is made up for once.
    db.manual_clock(at("2027-07-01T10:30:00Z")).await;
    assert_eq!(store.fire_schedules().await.unwrap().made.len(), 2);
    store.set_schedule(&hourly("new")).await.unwrap();
    // Set right again, a few minutes after it went wrong.
    db.manual_clock(at("2026-07-01T10:40:00Z")).await;
    assert_eq!(
        store.recount_schedules().await.unwrap(),
        ["always", "new", "staging"]
    );
    assert_eq!(
        store.recount_schedules().await.unwrap(),
        Vec::<String>::new(),
        "once"
    );
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!(
        (fired.made.len(), fired.next),
        (0, Some(Duration::from_secs(20 * 60)))
    );
    let clock = db.manual_clock(at("2026-07-01T11:00:00Z")).await;
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!(
        fired.made.len() + fired.skipped.len(),
        3,
        "all run again: {fired:?}"
    );
    // Half an hour back: the run of 11:00 was made and does not come twice.
    db.manual_clock(at("2026-07-01T10:31:00Z")).await;
    assert!(store.recount_schedules().await.unwrap().is_empty());
    clock.advance(HOUR / 2).await;
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!((fired.made.len(), fired.skipped.len()), (0, 0), "{fired:?}");
    clock.advance(HOUR).await;
    assert_eq!(
        store.schedule("always").await.unwrap().next_run,
        Some(at("2026-07-01T12:00:00Z"))
    );
    let fired = store.fire_schedules().await.unwrap();
    assert_eq!(fired.made.len() + fired.skipped.len(), 3, "{fired:?}");
}
