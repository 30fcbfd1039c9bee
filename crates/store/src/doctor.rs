//! What `longshore doctor` asks the database.

use chrono::{DateTime, Utc};
use domain::Result;
use sqlx::Row;

use crate::Store;
use crate::error::SqlResult;

/// The server and who works on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// As it names itself: `15.14 (Debian 15.14-0+deb12u1)`.
    pub version: String,
    /// 150014 for 15.14.
    pub version_number: i32,
    /// Its clock, at some moment during the call.
    pub clock: DateTime<Utc>,
}

/// Who works on our agents' tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimants {
    /// Workers of ours whose lease runs.
    pub workers: i64,
    /// Tasks of our agents that another program has claimed and not finished.
    pub strangers: i64,
    /// One of those.
    pub stranger: Option<String>,
}

impl Store {
    pub async fn server(&self) -> Result<Server> {
        let doing = "ask Postgres about itself";
        let asked = async {
            let mut tx = self.pool().begin().await.doing(doing)?;
            let row = self
                .query(
                    "SELECT current_setting('server_version') AS version,
                            current_setting('server_version_num')::int AS number, clock_timestamp() AS clock",
                )
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)?;
            let read = || -> sqlx::Result<Server> {
                Ok(Server {
                    version: row.try_get("version")?,
                    version_number: row.try_get("number")?,
                    clock: row.try_get("clock")?,
                })
            };
            read().doing(doing)
        };
        self.within(doing, asked).await
    }

    /// By the agents of the configuration.
    pub async fn claimants(&self) -> Result<Claimants> {
        let doing = "look who works on our tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query(
                "SELECT (SELECT count(*) FROM longshore.workers WHERE lease_until > clock_timestamp()) AS workers,
                        count(*) AS strangers, min(id) AS stranger
                   FROM tasks WHERE live = 'taken' AND worker_id IS NULL AND assigned_to = ANY ($1)",
            )
            .bind(&self.config().agents)
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let read = || -> sqlx::Result<Claimants> {
            Ok(Claimants {
                workers: row.try_get("workers")?,
                strangers: row.try_get("strangers")?,
                stranger: row.try_get("stranger")?,
            })
        };
        read().doing(doing)
    }
}
