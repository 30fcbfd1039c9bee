//! Following tasks by server-sent events.

use std::time::Duration;

use api::mint_token;
use domain::Role;
use futures_util::StreamExt;
use secrecy::ExposeSecret;
use serde_json::Value;

use crate::asker::{asking, work};
use crate::served::{Served, config};

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(30);

/// What is said on one line.
struct Followed {
    response: futures_util::stream::BoxStream<'static, Vec<u8>>,
    text: String,
}

#[derive(Debug)]
struct Said {
    /// What comes back as `Last-Event-ID`.
    id: Option<String>,
    event: String,
    data: Value,
}

impl Followed {
    async fn open(served: &Served, path: &str, last: Option<&str>) -> Self {
        let mut request = served.http.get(served.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        Self::of(request).await
    }

    async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let response = response
            .bytes_stream()
            .map(|bytes| bytes.unwrap_or_default().to_vec());
        Self {
            response: response.boxed(),
            text: String::new(),
        }
    }

    /// The next event; none at the end.
    async fn next(&mut self) -> Option<Said> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let line = block.lines().find_map(|line| line.strip_prefix(name))?;
                    Some(line.trim_start().to_owned())
                };
                if let Some(event) = field("event:") {
                    return Some(Said {
                        id: field("id:"),
                        event,
                        data: serde_json::from_str(&field("data:").unwrap()).unwrap(),
                    });
                }
            }
            let more = tokio::time::timeout(LIMIT, self.response.next())
                .await
                .expect("something is said");
            self.text.push_str(std::str::from_utf8(&more?).unwrap());
        }
    }

    /// `history parked`, `state waiting`…, as they come, up to the one that is wanted.
    async fn until(&mut self, wanted: &str) -> Vec<(String, Said)> {
        let mut heard = Vec::new();
        while let Some(said) = self.next().await {
            let word = said.data["kind"]
                .as_str()
                .or(said.data["state"].as_str())
                .unwrap_or_default();
            let line = format!("{} {word}", said.event).trim().to_owned();
            let found = line == wanted;
            heard.push((line, said));
            if found {
                return heard;
            }
        }
        panic!("the line ended before {wanted:?}: {heard:#?}");
    }
}

fn lines(heard: &[(String, Said)]) -> Vec<&str> {
    heard.iter().map(|(line, _)| line.as_str()).collect()
}

#[tokio::test]
async fn a_task_is_followed_from_its_past_to_its_end_and_from_where_one_left() {
    let served = Served::new().await;
    let _work = work(&served).await;
    let id = asking(&served, &["production"], false).await;
    let path = format!("/api/tasks/{id}/events");
    let mut line = Followed::open(&served, &path, None).await;
    let heard = line.until("state waiting").await;
    assert_eq!(lines(&heard), ["history parked", "state waiting"]);
    let parked = heard[0].1.id.clone().unwrap();
    assert_eq!(heard[0].1.data["task_type"], "ask");
    let state = &heard[1].1.data;
    assert_eq!(
        (&state["steps_done"], &state["step"]),
        (&1.into(), &"approval/production".into())
    );
    assert_eq!(state["waits_for"], "for somebody to approve production");

    assert_eq!(served.post(&format!("/api/tasks/{id}/approve"), "").await.0, 200);
    let heard = line.until("end").await;
    let told = lines(&heard);
    let history: Vec<&&str> = told.iter().filter(|line| line.starts_with("history")).collect();
    assert_eq!(history, [&"history approved"]);
    assert_eq!(told[told.len() - 2..], ["state completed", "end"]);
    assert_eq!(
        heard.last().unwrap().1.data["task"]["result"]["verdict"],
        "succeeded"
    );
    assert!(line.next().await.is_none(), "the line ends with the task");

    let mut line = Followed::open(&served, &path, Some(&parked)).await;
    let heard = line.until("end").await;
    assert_eq!(lines(&heard), ["history approved", "state completed", "end"]);
    assert!(line.next().await.is_none());
    assert_eq!(served.get("/api/tasks/none/events").await.0, 404);
}

async fn event(served: &Served, task: &str, kind: &str) {
    served
        .database
        .sql(&format!(
            "INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('{task}', '{kind}', 1, '')"
        ))
        .await;
}

#[tokio::test]
async fn all_tasks_are_followed_by_type_and_repository_and_nothing_is_missed_between_two_calls() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, repo_id) VALUES ('a', 'deploy', 'r1'), ('b', 'deploy', 'r2'), ('c', 'ask', 'r1')")
        .await;
    event(&served, "a", "past").await;
    let mut all = Followed::open(&served, "/api/events", None).await;
    let mut some = Followed::open(&served, "/api/events?type=deploy&repo_id=r1", None).await;
    for (task, kind) in [("c", "one"), ("b", "two"), ("a", "three")] {
        event(&served, task, kind).await;
    }
    let heard = all.until("history three").await;
    assert_eq!(lines(&heard), ["history one", "history two", "history three"]);
    assert_eq!(lines(&some.until("history three").await), ["history three"]);
    let last = heard[1].1.id.as_deref();
    drop(all);
    event(&served, "a", "four").await;
    let mut again = Followed::open(&served, "/api/events", last).await;
    assert_eq!(
        lines(&again.until("history four").await),
        ["history three", "history four"]
    );
    let wrong = served
        .http
        .get(served.url("/api/events"))
        .header("Last-Event-ID", "x");
    assert_eq!(crate::served::answer(wrong).await.0, 422);
}

#[tokio::test]
async fn who_comes_back_after_very_many_events_is_told_all_of_them_in_several_calls() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type) VALUES ('a', 'deploy'), ('b', 'ask');
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT CASE WHEN i % 500 = 0 THEN 'b' ELSE 'a' END, 'e' || i, 1, '' FROM generate_series(1, 1500) i",
        )
        .await;
    let mut heard = Vec::new();
    let mut last = "0".to_owned();
    for _ in 0..2 {
        let mut line = Followed::open(&served, "/api/events", Some(&last)).await;
        while heard.len() < 1500
            && let Some(said) = line.next().await
        {
            last = said.id.unwrap();
            heard.push(said.data["kind"].as_str().unwrap().to_owned());
        }
    }
    let all: Vec<String> = (1..=1500).map(|i| format!("e{i}")).collect();
    assert_eq!(heard, all);
    let mut asked = Followed::open(&served, "/api/events?type=ask", Some("0")).await;
    assert_eq!(
        lines(&asked.until("history e1500").await),
        ["history e500", "history e1000", "history e1500"]
    );
}

#[tokio::test]
async fn very_many_gaps_that_may_still_be_filled_keep_nobody_in_the_same_place() {
    let served = Served::new().await;
    let mut slow = served.database.session().await;
    slow.sql(
        "BEGIN; INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('a', 'slow', 1, '')",
    )
    .await;
    // Each third id is missing, as after transactions that were undone; while one is open, none is known to be.
    served
        .database
        .sql(
            "INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT 'a', 'e' || i, 1, '' FROM generate_series(1, 2250) i;
             DELETE FROM longshore.task_events WHERE substr(kind, 2)::int % 3 = 0 AND kind LIKE 'e%'",
        )
        .await;
    let (mut heard, mut last) = (Vec::new(), "0".to_owned());
    for _ in 0..2 {
        let mut line = Followed::open(&served, "/api/events", Some(&last)).await;
        while heard.len() < 1500
            && let Some(said) = line.next().await
        {
            last = said.id.unwrap();
            heard.push(said.data["kind"].as_str().unwrap().to_owned());
        }
    }
    let all: Vec<String> = (1..=2250)
        .filter(|i| i % 3 != 0)
        .map(|i| format!("e{i}"))
        .collect();
    assert_eq!(heard, all);
    slow.sql("COMMIT").await;
    event(&served, "a", "next").await;
    for served in [&served, &Served::beside(&served).await] {
        let mut again = Followed::open(served, "/api/events", Some(&last)).await;
        let mut told = lines(&again.until("history next").await)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        told.sort_unstable();
        assert_eq!(told, ["history next", "history slow"]);
    }
}

#[tokio::test]
async fn ids_that_were_undone_before_anybody_followed_are_waited_for_by_nobody() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT 'a', 'e' || i, 1, '' FROM generate_series(1, 20) i;
             DELETE FROM longshore.task_events WHERE kind IN ('e5', 'e7')",
        )
        .await;
    let mut line = Followed::open(&served, "/api/events", Some("0")).await;
    let heard = line.until("history e20").await;
    assert_eq!(heard.len(), 18);
    let last = heard.last().unwrap().1.id.as_deref().unwrap();
    assert!(!last.contains('~'), "{last}");
}

#[tokio::test]
async fn who_comes_back_to_a_task_after_very_many_events_is_told_all_of_them_in_several_calls() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type, status) VALUES ('a', 'deploy', 'completed'), ('b', 'ask', 'waiting');
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT CASE WHEN i % 500 = 0 THEN 'b' ELSE 'a' END, 'e' || i, 1, '' FROM generate_series(0, 2000) i",
        )
        .await;
    let all: Vec<String> = (1..=2000)
        .filter(|i| i % 500 != 0)
        .map(|i| format!("history e{i}"))
        .collect();
    let (mut told, mut last) = (Vec::new(), "1".to_owned());
    while told.len() < all.len() {
        let mut line = Followed::open(&served, "/api/tasks/a/events", Some(&last)).await;
        let before = told.len();
        while let Some(said) = line.next().await {
            if said.event == "history" {
                told.push(format!("history {}", said.data["kind"].as_str().unwrap()));
                last = said.id.unwrap();
            } else {
                // The end is told by the call that tells the last event alone.
                assert_eq!(told.len(), all.len(), "{said:?}");
            }
        }
        assert!(told.len() > before, "a call brings nothing");
    }
    assert_eq!(told, all);
    // Without an id it is the newest of the past.
    let mut line = Followed::open(&served, "/api/tasks/a/events", None).await;
    let heard = line.until("end").await;
    assert_eq!((heard.len(), heard[999].0.as_str()), (1002, "history e1999"));
}

#[tokio::test]
async fn what_holds_a_pending_task_back_is_told_to_who_follows_or_retries_it() {
    let served = Served::new().await;
    let path = "/api/queue/type/deploy";
    let paused = served
        .send("PUT", path, r#"{"paused": true, "reason": "a dump"}"#)
        .await;
    assert_eq!(paused.0, 200);
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('a', 'deploy', 'devops')")
        .await;
    let mut line = Followed::open(&served, "/api/tasks/a/events", None).await;
    let heard = line.until("state pending").await;
    let why = |data: &Value| {
        let why = data["waits_for"].as_str().unwrap_or_default();
        assert!(
            why.starts_with("tasks of the type deploy are paused") && why.ends_with("a dump"),
            "{data}"
        );
    };
    why(&heard.last().unwrap().1.data);
    for verb in ["cancel", "retry"] {
        let (status, told) = served.post(&format!("/api/tasks/a/{verb}"), "").await;
        assert_eq!(status, 200, "{told}");
        match verb {
            "cancel" => assert_eq!(told["task"]["held_back"], Value::Null),
            _ => {
                assert_eq!(told["task"]["held_back"], "paused");
                why(&told["task"]);
            }
        }
    }
    assert_eq!(served.send("DELETE", path, "").await.0, 200);
    let mut line = Followed::open(&served, "/api/tasks/a/events", None).await;
    let heard = line.until("state pending").await;
    assert_eq!(heard.last().unwrap().1.data["waits_for"], Value::Null);
}

#[tokio::test]
async fn an_event_that_commits_after_a_later_one_is_told_too() {
    let served = Served::new().await;
    let mut slow = served.database.session().await;
    slow.sql(
        "BEGIN; INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('a', 'slow', 1, '')",
    )
    .await;
    let mut line = Followed::open(&served, "/api/events", None).await;
    event(&served, "a", "quick").await;
    assert_eq!(lines(&line.until("history quick").await), ["history quick"]);
    slow.sql("COMMIT").await;
    assert_eq!(lines(&line.until("history slow").await), ["history slow"]);
}

#[tokio::test]
async fn who_comes_back_is_told_what_committed_meanwhile_with_a_smaller_id() {
    let served = Served::new().await;
    let mut slow = served.database.session().await;
    slow.sql(
        "BEGIN; INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('a', 'slow', 1, '')",
    )
    .await;
    let mut line = Followed::open(&served, "/api/events", None).await;
    event(&served, "a", "quick").await;
    let heard = line.until("history quick").await;
    drop(line);
    slow.sql("COMMIT").await;
    event(&served, "a", "next").await;
    // The same process, and one that has read nothing yet.
    let other = Served::beside(&served).await;
    for served in [&served, &other] {
        let mut again = Followed::open(served, "/api/events", heard[0].1.id.as_deref()).await;
        let heard = again.until("history next").await;
        assert_eq!(lines(&heard), ["history slow", "history next"]);
        // Once told, it is not told again.
        let mut again = Followed::open(served, "/api/events", heard[0].1.id.as_deref()).await;
        assert_eq!(lines(&again.until("history next").await), ["history next"]);
    }
}

#[tokio::test]
async fn who_follows_one_task_and_comes_back_misses_nothing_either() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, status) VALUES ('a', 'deploy', 'waiting')")
        .await;
    let mut slow = served.database.session().await;
    slow.sql(
        "BEGIN; INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('a', 'slow', 1, '')",
    )
    .await;
    let mut line = Followed::open(&served, "/api/tasks/a/events", None).await;
    line.until("state waiting").await;
    event(&served, "a", "quick").await;
    let heard = line.until("history quick").await;
    drop(line);
    slow.sql("COMMIT").await;
    let last = heard.last().unwrap().1.id.as_deref();
    let mut again = Followed::open(&served, "/api/tasks/a/events", last).await;
    assert_eq!(
        lines(&again.until("state waiting").await),
        ["history slow", "state waiting"]
    );
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let mut guarded = config();
    guarded.open = false;
    let served = Served::with(guarded).await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, status) VALUES ('a', 'deploy', 'waiting')")
        .await;
    for path in ["/api/events", "/api/tasks/a/events"] {
        let (token, new) = mint_token("ada".to_owned(), Role::Read, None);
        served.store.add_token(&new).await.unwrap();
        let request = served
            .http
            .get(served.url(path))
            .bearer_auth(token.expose_secret());
        let mut line = Followed::of(request).await;
        served.store.revoke_token("ada").await.unwrap();
        let heard = line.until("denied").await;
        let told = &heard.last().unwrap().1.data;
        assert!(
            told["what"].as_str().unwrap().contains("ada was revoked"),
            "{told}"
        );
        assert!(line.next().await.is_none(), "the line ends");
    }
}

#[tokio::test]
async fn who_follows_a_task_that_is_deleted_is_told_so() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, status) VALUES ('a', 'deploy', 'waiting'), ('b', 'deploy', 'waiting')")
        .await;
    let mut line = Followed::open(&served, "/api/tasks/a/events", None).await;
    line.until("state waiting").await;
    served.database.sql("DELETE FROM tasks WHERE id = 'b'").await;
    served.database.sql("DELETE FROM tasks WHERE id = 'a'").await;
    let heard = line.until("gone").await;
    assert_eq!(
        (lines(&heard), &heard[0].1.data["task_id"]),
        (vec!["gone"], &"a".into())
    );
    assert!(line.next().await.is_none(), "the line ends");
}

#[tokio::test]
async fn followers_are_bounded_and_a_place_is_free_again_when_one_goes() {
    let served = Served::new().await;
    let mut followers = Vec::new();
    for _ in 0..256 {
        followers.push(Followed::open(&served, "/api/events", None).await);
    }
    let (status, told) = served.get("/api/events").await;
    assert_eq!(
        (status, told["error"]["kind"].as_str()),
        (503, Some("unavailable"))
    );
    drop(followers.pop());
    for _ in 0..1000 {
        let response = served.http.get(served.url("/api/events")).send().await.unwrap();
        if response.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place of one who went is not given again");
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let served = Served::with(config()).await;
    let mut line = Followed::open(&served, "/api/events", None).await;
    served.stop();
    assert!(line.next().await.is_none());
}
