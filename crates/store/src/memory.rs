//! The memory ports: what handlers remember from task to task.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, Idem, Result, Staged, TaskId};
use ports::{BudgetLedger, FlakeHistory, FlakeVerdict, Spend};
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::deployments::DEPLOYMENT;
use crate::error::SqlResult;

/// How [`FlakeHistory`] names its records among those of a step.
const FLAKE: &str = "flake";

/// Writes what a step staged, in the transaction that records the step.
pub(crate) async fn apply(
    store: &Store,
    tx: &mut PgConnection,
    task: &TaskId,
    staged: &[Staged],
) -> Result<()> {
    for Staged { memory, record } in staged {
        match memory.as_str() {
            FLAKE => {
                let verdict: FlakeVerdict = serde_json::from_value(record.clone())
                    .map_err(|error| Error::internal("a staged verdict cannot be read").because(&error))?;
                store.add_verdict(tx, task, &verdict).await?;
            }
            DEPLOYMENT => {
                let entry = serde_json::from_value(record.clone()).map_err(|error| {
                    Error::internal("a staged entry of a deployment cannot be read").because(&error)
                })?;
                store.log_deployment(tx, &entry).await?;
            }
            other => {
                return Err(Error::internal(format!(
                    "a step staged a record for the unknown memory {other:?}"
                )));
            }
        }
    }
    Ok(())
}

impl Store {
    async fn add_verdict(&self, tx: &mut PgConnection, task: &TaskId, verdict: &FlakeVerdict) -> Result<()> {
        self.query(
            "INSERT INTO longshore.flake_verdicts (repo_id, job, git_ref, sha, class, retried, task_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&verdict.repo_id)
        .bind(&verdict.job)
        .bind(&verdict.git_ref)
        .bind(&verdict.sha)
        .bind(&verdict.class)
        .bind(verdict.retried)
        .bind(task.as_str())
        .execute(tx)
        .await
        .doing("record a verdict on a job")?;
        Ok(())
    }
}

#[async_trait]
impl FlakeHistory for Store {
    fn record(&self, verdict: &FlakeVerdict, idem: &Idem) {
        idem.stage(FLAKE, serde_json::json!(verdict));
    }

    async fn recent(&self, repo_id: &str, job: &str, limit: u32) -> Result<Vec<FlakeVerdict>> {
        let doing = "read earlier verdicts on a job";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                "SELECT repo_id, job, git_ref, sha, class, retried, task_id, at FROM longshore.flake_verdicts
                  WHERE repo_id = $1 AND job = $2 ORDER BY id DESC LIMIT $3",
            )
            .bind(repo_id)
            .bind(job)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter()
            .map(|row| {
                Ok(FlakeVerdict {
                    repo_id: row.try_get("repo_id")?,
                    job: row.try_get("job")?,
                    git_ref: row.try_get("git_ref")?,
                    sha: row.try_get("sha")?,
                    class: row.try_get("class")?,
                    retried: row.try_get("retried")?,
                    task_id: TaskId::from(row.try_get::<String, _>("task_id")?),
                    at: Some(row.try_get("at")?),
                })
            })
            .collect::<std::result::Result<_, sqlx::Error>>()
            .doing(doing)
    }
}

#[async_trait]
impl BudgetLedger for Store {
    async fn spend(&self, account: &str, limit: u32, window: Duration, idem: &Idem) -> Result<Spend> {
        let doing = "spend from a budget";
        let key = format!("{account} {}", idem.key());
        let mut tx = self.pool().begin().await.doing(doing)?;
        // One at a time for an account, so that two tasks cannot both take the last one.
        self.query("SELECT pg_advisory_xact_lock(hashtextextended('longshore budget ' || $1, 0))")
            .bind(account)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        let answered = self
            .query("SELECT granted, left_over FROM longshore.budget_answers WHERE idem = $1")
            .bind(&key)
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let answer = match answered {
            Some(row) if row.try_get("granted").doing(doing)? => {
                let left: i32 = row.try_get("left_over").doing(doing)?;
                Spend::Granted {
                    left: left.unsigned_abs(),
                }
            }
            Some(_) => Spend::Exhausted { limit },
            None => {
                let row = self
                    .query(
                        "SELECT count(*) FROM longshore.budget_answers
                          WHERE account = $1 AND granted AND at > longshore.now() - make_interval(secs => $2)",
                    )
                    .bind(account)
                    .bind(window.as_secs_f64())
                    .fetch_one(&mut *tx)
                    .await
                    .doing(doing)?;
                let spent: i64 = row.try_get(0).doing(doing)?;
                let left = i64::from(limit) - spent - 1;
                let answer = match u32::try_from(left) {
                    Ok(left) => Spend::Granted { left },
                    Err(_) => Spend::Exhausted { limit },
                };
                self.query(
                    "INSERT INTO longshore.budget_answers (idem, account, granted, left_over) VALUES ($1, $2, $3, $4)",
                )
                .bind(&key)
                .bind(account)
                .bind(left >= 0)
                .bind(i32::try_from(left.max(0)).unwrap_or(i32::MAX))
                .execute(&mut *tx)
                .await
                .doing(doing)?;
                answer
            }
        };
        tx.commit().await.doing(doing)?;
        Ok(answer)
    }
}
