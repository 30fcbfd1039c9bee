//! The log of deployments, behind its port.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, Idem, Result, TaskId};
use ports::{Deployment, DeploymentKind, DeploymentLog, DeploymentOutcome, Failure, LogEntry, NewDeployment};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// How [`DeploymentLog`] names its entries among those of a step.
pub(crate) const DEPLOYMENT: &str = "deployment";

/// A deployment with its failures, as `deployment` reads it.
macro_rules! columns {
    () => {
        "SELECT d.id, d.task_id, d.repo_id, d.environment, d.workload, d.kind, d.version, d.strategy, d.git_ref,
                d.sha, d.committed_at, d.previous, d.asked_at, d.started_at, d.reached_at, d.ended_at, d.outcome, d.cause,
                (SELECT coalesce(jsonb_agg(jsonb_build_object('id', f.id, 'cause', f.cause,
                                'began_at', f.began_at, 'recovered_at', f.recovered_at) ORDER BY f.seq), '[]')
                   FROM longshore.deployment_failures f WHERE f.deployment_id = d.id) AS failures
           FROM longshore.deployments d"
    };
}

impl Store {
    /// Writes an entry in the transaction that records its step. Each of them changes nothing when it is there already.
    pub(crate) async fn log_deployment(&self, tx: &mut PgConnection, entry: &LogEntry) -> Result<()> {
        let doing = "write to the log of deployments";
        let query = match entry {
            LogEntry::Asked(new) => self
                .query(
                    "INSERT INTO longshore.deployments (id, task_id, repo_id, environment, workload, kind, version,
                            strategy, git_ref, sha, committed_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING",
                )
                .bind(&new.id)
                .bind(new.task_id.as_str())
                .bind(&new.repo_id)
                .bind(&new.environment)
                .bind(&new.workload)
                .bind(new.kind.as_str())
                .bind(&new.version)
                .bind(&new.strategy)
                .bind(&new.git_ref)
                .bind(&new.sha)
                .bind(new.committed_at),
            LogEntry::Started { id, previous } => self
                .query(
                    "UPDATE longshore.deployments SET started_at = longshore.now(), previous = $2
                      WHERE id = $1 AND started_at IS NULL",
                )
                .bind(id)
                .bind(previous),
            LogEntry::Reached { id } => self
                .query(
                    "UPDATE longshore.deployments SET reached_at = longshore.now()
                      WHERE id = $1 AND reached_at IS NULL",
                )
                .bind(id),
            LogEntry::Ended { id, outcome, cause } => self
                .query(
                    "UPDATE longshore.deployments SET ended_at = longshore.now(), outcome = $2, cause = $3
                      WHERE id = $1 AND outcome IS NULL",
                )
                .bind(id)
                .bind(outcome.as_str())
                .bind(cause),
            LogEntry::Failure {
                deployment,
                id,
                cause,
            } => self
                .query(
                    "INSERT INTO longshore.deployment_failures (id, deployment_id, cause)
                     SELECT $1, d.id, $3 FROM longshore.deployments d WHERE d.id = $2
                     ON CONFLICT (id) DO NOTHING",
                )
                .bind(id)
                .bind(deployment)
                .bind(cause),
            LogEntry::Recovered { id, at } => self
                .query(
                    "UPDATE longshore.deployment_failures SET recovered_at = coalesce($2, longshore.now())
                      WHERE id = $1 AND recovered_at IS NULL",
                )
                .bind(id)
                .bind(at),
        };
        query.execute(tx).await.doing(doing)?;
        Ok(())
    }
}

#[async_trait]
impl DeploymentLog for Store {
    fn write(&self, entry: &LogEntry, idem: &Idem) {
        idem.stage(DEPLOYMENT, serde_json::json!(entry));
    }

    async fn newest(&self, repo_id: &str, environment: &str, limit: u32) -> Result<Vec<Deployment>> {
        let doing = "read the newest deployments";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(concat!(
                columns!(),
                " WHERE d.repo_id = $1 AND d.environment = $2 ORDER BY d.seq DESC LIMIT $3"
            ))
            .bind(repo_id)
            .bind(environment)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter().map(|row| deployment(row, doing)).collect()
    }

    async fn since(&self, since: DateTime<Utc>, repo_id: Option<&str>) -> Result<Vec<Deployment>> {
        let doing = "read the deployments of a time";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(concat!(
                columns!(),
                " WHERE ($2::text IS NULL OR d.repo_id = $2)
                    AND (d.ended_at IS NULL OR d.ended_at >= $1
                         OR EXISTS (SELECT 1 FROM longshore.deployment_failures f
                                     WHERE f.deployment_id = d.id
                                       AND (f.recovered_at IS NULL OR f.recovered_at >= $1)))
                  ORDER BY d.seq"
            ))
            .bind(since)
            .bind(repo_id)
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter().map(|row| deployment(row, doing)).collect()
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        let doing = "read the time";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query("SELECT longshore.now()")
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        row.try_get(0).doing(doing)
    }
}

fn deployment(row: &PgRow, doing: &str) -> Result<Deployment> {
    let word = |column: &str| row.try_get::<String, _>(column).doing(doing);
    let kind = match word("kind")?.as_str() {
        "rollback" => DeploymentKind::Rollback,
        _ => DeploymentKind::Deploy,
    };
    let outcome: Option<String> = row.try_get("outcome").doing(doing)?;
    let known = |outcome: String| {
        let found = DeploymentOutcome::ALL
            .into_iter()
            .find(|known| known.as_str() == outcome);
        found.ok_or_else(|| Error::internal(format!("a deployment has the unknown outcome {outcome:?}")))
    };
    let failures: serde_json::Value = row.try_get("failures").doing(doing)?;
    let failures: Vec<Failure> = serde_json::from_value(failures)
        .map_err(|error| Error::internal("the failures of a deployment cannot be read").because(&error))?;
    Ok(Deployment {
        what: NewDeployment {
            id: word("id")?,
            task_id: TaskId::from(word("task_id")?),
            repo_id: word("repo_id")?,
            environment: word("environment")?,
            workload: word("workload")?,
            kind,
            version: word("version")?,
            strategy: word("strategy")?,
            git_ref: row.try_get("git_ref").doing(doing)?,
            sha: row.try_get("sha").doing(doing)?,
            committed_at: row.try_get("committed_at").doing(doing)?,
        },
        previous: row.try_get("previous").doing(doing)?,
        asked_at: row.try_get("asked_at").doing(doing)?,
        started_at: row.try_get("started_at").doing(doing)?,
        reached_at: row.try_get("reached_at").doing(doing)?,
        ended_at: row.try_get("ended_at").doing(doing)?,
        outcome: outcome.map(known).transpose()?,
        cause: row.try_get("cause").doing(doing)?,
        failures,
    })
}
