//! `GET /api/tasks/{id}`: one task with its attempts, steps and history.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use domain::TaskId;
use serde::Serialize;
use store::{StepRow, Store, TaskEvent, TaskRow};
use utoipa::ToSchema;

use crate::error::{ApiResult, ErrorBody};
use crate::server::Api;
use crate::tasks::task_id;
use crate::view::{EventView, StepView, TaskView, rfc3339};

/// So many of the newest events are shown.
const EVENTS: u32 = 1000;

/// Events that end an attempt.
const ENDS: [&str; 7] = [
    "parked",
    "retried",
    "held",
    "completed",
    "failed",
    "cancelled",
    "reset",
];

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TaskDetail {
    pub task: TaskView,
    /// The first first.
    pub attempts: Vec<AttemptView>,
    /// In the order of their making.
    pub steps: Vec<StepView>,
    /// The newest 1000, the oldest of them first.
    pub events: Vec<EventView>,
}

/// What one attempt did, as far as its steps and events tell: one that did neither is not seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Attempt)]
pub struct AttemptView {
    pub attempt: i64,
    pub worker_id: Option<String>,
    /// Its first sign of life.
    pub from: String,
    /// Its last.
    pub to: String,
    /// Steps that it was the last to write.
    pub steps: usize,
    /// How it ended: `parked`, `retried`, `held`, `completed`, `failed`, `cancelled`, `reset`; `lost` when a later one
    /// began without that, as after a crash; none while it runs.
    pub ended: Option<String>,
}

impl TaskDetail {
    pub async fn read(store: &Store, id: &TaskId) -> domain::Result<(TaskRow, Self)> {
        let task = store.task(id).await?;
        let events = store.events(id, EVENTS).await?;
        let steps = store.steps(id).await?;
        let detail = Self {
            task: TaskView::from(&task),
            attempts: attempts(&Now::of(&task), &steps, &events),
            steps: steps.iter().map(StepView::from).collect(),
            events: events.iter().map(EventView::from).collect(),
        };
        Ok((task, detail))
    }
}

/// Show a task with its attempts, steps and history
#[utoipa::path(get, path = "/api/tasks/{id}", tag = "tasks", params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "All that is known of it", body = TaskDetail),
    (status = 404, description = "There is no such task", body = ErrorBody)))]
pub async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<TaskDetail>> {
    let (_, detail) = TaskDetail::read(&api.store, &task_id(id)?).await?;
    Ok(Json(detail))
}

/// What was seen of each attempt.
#[derive(Default)]
struct Seen(BTreeMap<i64, Signs>);

struct Signs {
    worker: Option<String>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    steps: usize,
    ended: Option<String>,
}

impl Seen {
    /// A sign of life. What happened before the first attempt is nobody's.
    fn sign(&mut self, attempt: i64, at: DateTime<Utc>) -> Option<&mut Signs> {
        if attempt < 1 {
            return None;
        }
        let signs = self.0.entry(attempt).or_insert(Signs {
            worker: None,
            from: at,
            to: at,
            steps: 0,
            ended: None,
        });
        signs.from = signs.from.min(at);
        signs.to = signs.to.max(at);
        Some(signs)
    }
}

/// How the newest attempt stands.
struct Now {
    attempt: i64,
    /// The task's end, which writes no event where all went well.
    over: Option<(&'static str, DateTime<Utc>)>,
}

impl Now {
    fn of(task: &TaskRow) -> Self {
        let is_over = task.status.is_terminal() && task.worker_id.is_none();
        let over = task.completed_at.filter(|_| is_over);
        Self {
            attempt: task.attempt,
            over: over.map(|at| (task.status.as_str(), at)),
        }
    }
}

fn attempts(now: &Now, steps: &[StepRow], events: &[TaskEvent]) -> Vec<AttemptView> {
    let mut seen = Seen::default();
    for step in steps {
        // A wait is begun by one attempt and taken by another, which its row names.
        let at = step.done_at.unwrap_or(step.started_at);
        if let Some(signs) = seen.sign(step.attempt, at) {
            signs.steps += 1;
        }
    }
    for event in events {
        let by_worker = event.worker_id.is_some();
        let ends = ENDS.contains(&event.kind.as_str());
        // A person's wish is no sign of the attempt's life.
        if !by_worker && !ends {
            continue;
        }
        if let Some(signs) = seen.sign(event.attempt, event.at) {
            signs.worker = signs.worker.take().or_else(|| event.worker_id.clone());
            if ends {
                signs.ended = Some(event.kind.clone());
            }
        }
    }
    if let Some((status, at)) = now.over
        && let Some(signs) = seen.sign(now.attempt, at)
    {
        signs.ended = Some(status.to_owned());
    }
    seen.0
        .into_iter()
        .map(|(attempt, signs)| AttemptView {
            attempt,
            worker_id: signs.worker,
            from: rfc3339(signs.from),
            to: rfc3339(signs.to),
            steps: signs.steps,
            // The newest one may still run, or be about to show a sign of its end.
            ended: signs
                .ended
                .or_else(|| (attempt < now.attempt).then(|| "lost".to_owned())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn now(attempt: i64) -> Now {
        Now { attempt, over: None }
    }

    fn step(attempt: i64, second: i64) -> StepRow {
        StepRow {
            scope: "run".to_owned(),
            key: format!("s{second}"),
            kind: "step".to_owned(),
            attempt,
            started_at: at(second),
            done_at: Some(at(second + 1)),
            deadline: None,
            error: None,
        }
    }

    fn event(attempt: i64, second: i64, kind: &str, worker: Option<&str>) -> TaskEvent {
        TaskEvent {
            id: second,
            at: at(second),
            kind: kind.to_owned(),
            attempt,
            worker_id: worker.map(str::to_owned),
            summary: String::new(),
        }
    }

    #[test]
    fn attempts_are_told_apart_with_how_each_ended() {
        let steps = [step(1, 1), step(1, 3), step(2, 10), step(3, 20)];
        let events = [
            event(0, 0, "cancel asked", None),
            event(1, 5, "parked", Some("w1")),
            event(1, 8, "approved", None),
            event(3, 22, "told", Some("w3")),
        ];
        let told: Vec<_> = attempts(&now(3), &steps, &events)
            .into_iter()
            .map(|a| (a.attempt, a.worker_id, a.steps, a.ended, a.to))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (1, text("w1"), 2, text("parked"), rfc3339(at(5))),
                (2, None, 1, text("lost"), rfc3339(at(11))),
                (3, text("w3"), 1, None, rfc3339(at(22))),
            ]
        );
    }

    #[test]
    fn an_end_without_an_event_is_the_last_attempts() {
        let mut now = now(1);
        assert_eq!(attempts(&now, &[step(1, 1)], &[])[0].ended, None);
        now.over = Some(("completed", at(9)));
        let told = attempts(&now, &[step(1, 1)], &[]);
        assert_eq!(
            (told[0].ended.as_deref(), told[0].to.as_str()),
            (Some("completed"), rfc3339(at(9)).as_str())
        );
    }
}
