//! What happens to tasks, for those who follow it live: read for all followers at once.

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

const DOING: &str = "read the news";

impl Store {
    /// The id of the newest event that can be seen; 0 where there is none.
    pub async fn newest_event(&self) -> Result<i64> {
        let read = async {
            let mut tx = self.pool().begin().await.doing(DOING)?;
            let row = self
                .query("SELECT coalesce(max(id), 0) AS newest FROM longshore.task_events")
                .fetch_one(&mut *tx)
                .await
                .doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            row.try_get("newest").doing(DOING)
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

    /// Events after `after` of tasks of this type and repository, where they are named: the first `limit`, in order.
    pub async fn news_of(
        &self,
        after: i64,
        task_type: Option<&str>,
        repo_id: Option<&str>,
        limit: u32,
    ) -> Result<Vec<News>> {
        let query = self
            .query(
                "SELECT e.*, t.task_type, t.repo_id
                   FROM longshore.task_events e LEFT JOIN tasks t ON t.id = e.task_id
                  WHERE e.id > $1 AND ($2::text IS NULL OR t.task_type = $2)
                    AND ($3::text IS NULL OR t.repo_id = $3)
                  ORDER BY e.id LIMIT $4",
            )
            .bind(after)
            .bind(task_type)
            .bind(repo_id)
            .bind(i64::from(limit));
        self.read_all_news(query).await
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

    /// How far these tasks are. Those that are gone are left out.
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
                      CROSS JOIN LATERAL (
                          SELECT count(*) FILTER (WHERE done_at IS NOT NULL) AS done,
                                 (array_agg(key ORDER BY started_at DESC, seq DESC))[1] AS step
                            FROM longshore.task_steps WHERE task_id = t.id) AS s"
                ))
                .bind(&ids)
                .fetch_all(&mut *tx)
                .await
                .doing(DOING)?;
            tx.commit().await.doing(DOING)?;
            rows.iter()
                .map(|row| {
                    Ok(Progress {
                        task: TaskRow::read(row)?,
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
