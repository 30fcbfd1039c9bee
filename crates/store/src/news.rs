//! What happens to tasks, for those who follow it live: read for all followers at once.

use std::time::Duration;

use domain::{Result, TaskId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};

use crate::error::SqlResult;
use crate::{Store, TaskEvent, TaskRow};

/// An event with what tells whether somebody wants to hear of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub task: TaskId,
    /// None where the task is gone.
    pub task_type: Option<String>,
    pub repo_id: Option<String>,
    pub event: TaskEvent,
}

/// How far a task is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Without payload and result, which may be large.
    pub task: TaskRow,
    /// Steps that are done.
    pub steps_done: i64,
    /// The step that was begun last.
    pub step: Option<String>,
}

/// Which events of the past are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    /// Before `after`, these.
    pub late: &'a [i64],
    /// Those after this one…
    pub after: i64,
    /// …up to this one…
    pub until: i64,
    /// …but for these.
    pub except: &'a [i64],
    /// Only of tasks of this type and repository, where they are named.
    pub task_type: Option<&'a str>,
    pub repo_id: Option<&'a str>,
    pub limit: u32,
}

/// How Postgres's transactions stand at a moment, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// All before this one are over.
    pub oldest: i64,
    /// None has begun to write from this one on.
    pub next: i64,
}

const DOING: &str = "read the news";

impl Store {
    /// No event has an id past this one, also of those that are not committed yet.
    pub async fn last_event_id(&self) -> Result<i64> {
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            // None for a user who may not read the sequence.
            let row = self
                .query(
                    "SELECT greatest(pg_sequence_last_value(pg_get_serial_sequence('longshore.task_events', 'id')::regclass),
                                     (SELECT max(id) FROM longshore.task_events), 0)",
                )
                .fetch_one(&mut *tx)
                .await
                .doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            row.try_get(0).doing(DOING)
        };
        self.within(DOING, read).await
    }

    /// The ids of the newest events, in order: at least `at_least`, and all of the last `span`, but no more than `at_most`.
    /// None is passed over whose transaction may still be open, where those last no longer than `span`.
    pub async fn newest_events(&self, at_least: u32, at_most: u32, span: Duration) -> Result<Vec<i64>> {
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let rows = self
                .query(
                    "SELECT id FROM (SELECT id, at, row_number() OVER (ORDER BY id DESC) AS place
                                       FROM longshore.task_events ORDER BY id DESC LIMIT $2) AS newest
                      WHERE place <= $1 OR at > longshore.now() - make_interval(secs => $3) ORDER BY id",
                )
                .bind(i64::from(at_least))
                .bind(i64::from(at_most))
                .bind(span.as_secs_f64())
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            rows.iter()
                .map(|row| row.try_get("id"))
                .collect::<sqlx::Result<_>>()
                .doing(DOING)
        };
        self.within(DOING, read).await
    }

    /// Which transactions are over by now. What those wrote is seen by any look that begins after this.
    pub async fn horizon(&self) -> Result<Horizon> {
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let row = self
                .query(
                    "SELECT pg_snapshot_xmin(seen)::text::bigint AS oldest, pg_snapshot_xmax(seen)::text::bigint AS next
                       FROM pg_current_snapshot() AS seen",
                )
                .fetch_one(&mut *tx)
                .await
                .doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            Ok(Horizon {
                oldest: row.try_get("oldest").doing(DOING)?,
                next: row.try_get("next").doing(DOING)?,
            })
        };
        self.within(DOING, read).await
    }

    /// Events after `after`, and those of `missed` that have come to be seen: ids are given before their transactions
    /// commit, so a smaller one may appear after a larger. In the order of their ids, at most `limit`.
    pub async fn news(&self, after: i64, missed: &[i64], limit: u32) -> Result<Vec<News>> {
        let query = self
            .query(
                "SELECT e.*, t.task_type, t.repo_id
                   FROM ((SELECT * FROM longshore.task_events WHERE id = ANY ($2))
                         UNION ALL
                         (SELECT * FROM longshore.task_events WHERE id > $1 ORDER BY id LIMIT $3)) AS e
                   LEFT JOIN tasks t ON t.id = e.task_id
                  ORDER BY e.id",
            )
            .bind(after)
            .bind(missed)
            .bind(i64::from(limit));
        self.read_all_news(query).await
    }

    /// Events of the past that somebody missed: the first `past.limit`, in order.
    pub async fn news_of(&self, past: &Past<'_>) -> Result<Vec<News>> {
        macro_rules! those {
            ($which:literal) => {
                concat!(
                    "SELECT e.*, t.task_type, t.repo_id
                       FROM longshore.task_events e LEFT JOIN tasks t ON t.id = e.task_id
                      WHERE ($1::text IS NULL OR t.task_type = $1) AND ($2::text IS NULL OR t.repo_id = $2) AND ",
                    $which,
                    " ORDER BY e.id LIMIT $3"
                )
            };
        }
        let limit = i64::from(past.limit);
        let mut news = Vec::new();
        if !past.late.is_empty() {
            let late = self.query(those!("e.id = ANY ($4)"));
            let late = late.bind(past.task_type).bind(past.repo_id).bind(limit);
            news = self.read_all_news(late.bind(past.late)).await?;
        }
        let then = self.query(those!("e.id > $4 AND e.id <= $5 AND NOT e.id = ANY ($6)"));
        let then = then.bind(past.task_type).bind(past.repo_id).bind(limit);
        let then = then.bind(past.after).bind(past.until).bind(past.except);
        news.extend(self.read_all_news(then).await?);
        news.truncate(past.limit as usize);
        Ok(news)
    }

    /// Of one task's events the first that somebody missed: those of `late`, and those after `after`, in order.
    pub async fn missed_events(
        &self,
        task: &TaskId,
        late: &[i64],
        after: i64,
        limit: u32,
    ) -> Result<Vec<TaskEvent>> {
        let query = self
            .query(
                "SELECT id, at, kind, attempt, worker_id, summary
                   FROM ((SELECT * FROM longshore.task_events WHERE task_id = $1 AND id <= $3 AND id = ANY ($2))
                         UNION ALL
                         (SELECT * FROM longshore.task_events WHERE task_id = $1 AND id > $3 ORDER BY id LIMIT $4)) AS e
                  ORDER BY id LIMIT $4",
            )
            .bind(task.as_str())
            .bind(late)
            .bind(after)
            .bind(i64::from(limit));
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let rows = query.fetch_all(&mut *tx).await.doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            rows.iter()
                .map(TaskEvent::read)
                .collect::<sqlx::Result<_>>()
                .doing(DOING)
        };
        self.within(DOING, read).await
    }

    async fn read_all_news(&self, query: Query<'_, Postgres, PgArguments>) -> Result<Vec<News>> {
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let rows = query.fetch_all(&mut *tx).await.doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            rows.iter()
                .map(read_news)
                .collect::<sqlx::Result<_>>()
                .doing(DOING)
        };
        self.within(DOING, read).await
    }

    /// How far these tasks are, and what holds the pending ones back. Those that are gone are left out.
    pub async fn progress(&self, ids: &[TaskId]) -> Result<Vec<Progress>> {
        let ids: Vec<&str> = ids.iter().map(TaskId::as_str).collect();
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let rows = self
                .query(concat!(
                    "SELECT ",
                    crate::tasks::task_columns!(),
                    ", s.done, s.step
                       FROM (SELECT id, repo_id, task_type, priority, NULL::jsonb AS payload, status, assigned_to, created_by,
                                    created_at, claimed_at, completed_at, NULL::jsonb AS result, error, parent_task_id,
                                    attempt, failures, worker_id, wait, started_at
                               FROM tasks WHERE id = ANY ($1)) AS t
                      -- One row of each scope: steps run one after another there, so that only the last can be undone.
                      CROSS JOIN LATERAL (
                          WITH RECURSIVE last AS (
                              (SELECT scope, seq, key, started_at, done_at FROM longshore.task_steps
                                WHERE task_id = t.id ORDER BY scope DESC, seq DESC LIMIT 1)
                              UNION ALL
                              SELECT below.* FROM last CROSS JOIN LATERAL (
                                  SELECT scope, seq, key, started_at, done_at FROM longshore.task_steps
                                   WHERE task_id = t.id AND scope < last.scope ORDER BY scope DESC, seq DESC LIMIT 1) AS below)
                          SELECT coalesce(sum(seq + CASE WHEN done_at IS NULL THEN 0 ELSE 1 END), 0)::bigint AS done,
                                 (array_agg(key ORDER BY started_at DESC, seq DESC))[1] AS step
                            FROM last) AS s"
                ))
                .bind(&ids)
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
            let mut tasks: Vec<TaskRow> = rows
                .iter()
                .map(TaskRow::read)
                .collect::<sqlx::Result<_>>()
                .doing(DOING)?;
            self.note_held_back(&mut tx, &mut tasks).await?;
            tx.commit().await.doing(DOING)?;
            rows.iter()
                .zip(tasks)
                .map(|(row, task)| {
                    Ok(Progress {
                        task,
                        steps_done: row.try_get("done")?,
                        step: row.try_get("step")?,
                    })
                })
                .collect::<sqlx::Result<_>>()
                .doing(DOING)
        };
        self.within(DOING, read).await
    }
}

fn read_news(row: &PgRow) -> sqlx::Result<News> {
    Ok(News {
        task: TaskId::from(row.try_get::<String, _>("task_id")?),
        task_type: row.try_get("task_type")?,
        repo_id: row.try_get("repo_id")?,
        event: TaskEvent::read(row)?,
    })
}
