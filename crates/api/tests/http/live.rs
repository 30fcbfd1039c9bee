//! Following tasks by server-sent events.

use std::time::Duration;

use futures_util::StreamExt;
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
    id: Option<i64>,
    event: String,
    data: Value,
}

impl Followed {
    async fn open(served: &Served, path: &str, last: Option<i64>) -> Self {
        let mut request = served.http.get(served.url(path));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last.to_string());
        }
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
                        id: field("id:").map(|id| id.parse().unwrap()),
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
    let parked = heard[0].1.id.unwrap();
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

    let mut line = Followed::open(&served, &path, Some(parked)).await;
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
    let last = heard[1].1.id;
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
    let mut last = 0;
    for _ in 0..2 {
        let mut line = Followed::open(&served, "/api/events", Some(last)).await;
        while heard.len() < 1500
            && let Some(said) = line.next().await
        {
            last = said.id.unwrap();
            heard.push(said.data["kind"].as_str().unwrap().to_owned());
        }
    }
    let all: Vec<String> = (1..=1500).map(|i| format!("e{i}")).collect();
    assert_eq!(heard, all);
    let mut asked = Followed::open(&served, "/api/events?type=ask", Some(0)).await;
    assert_eq!(
        lines(&asked.until("history e1500").await),
        ["history e500", "history e1000", "history e1500"]
    );
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
