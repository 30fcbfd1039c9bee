use std::collections::BTreeMap;

use domain::{Result, TaskStatus};
use serde_json::Value;
use sqlx::Row;

use crate::Store;
use crate::error::SqlResult;
use crate::rules::running;

/// Up to this many tasks are counted one by one.
const FEW: f64 = 100_000.0;

/// How many tasks stand in each status of the contract, over the whole table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    pub by_status: BTreeMap<&'static str, i64>,
    /// There are many, and those that are `completed` are estimated: Postgres's own estimate of all rows, less the others,
    /// which are counted. It is as fresh as the last `ANALYZE`, which Postgres does by itself.
    pub estimated: bool,
}

impl Store {
    /// Counts the tasks. What is `completed` costs nothing once there are many.
    pub async fn task_counts(&self) -> Result<Counts> {
        let doing = "count the tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let plan: Value = self
            .query("EXPLAIN (FORMAT JSON) SELECT FROM tasks")
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?
            .try_get(0)
            .doing(doing)?;
        let all = plan[0]["Plan"]["Plan Rows"].as_f64().unwrap_or_default();
        let estimated = all > FEW;
        // Each branch is one partial index, or what our workers run.
        let rows = self
            .query(if estimated {
                concat!("SELECT status, sum(count)::bigint AS count FROM (
                     SELECT 'pending' AS status, count(*) AS count FROM tasks WHERE live = 'pending' AND assigned_to IS NOT NULL
                     UNION ALL SELECT 'pending', count(*) FROM tasks WHERE live = 'pending' AND assigned_to IS NULL
                     UNION ALL SELECT 'pending', count(*) FROM tasks WHERE live = 'later'
                     UNION ALL SELECT status, count(*) FROM tasks WHERE live = 'taken' GROUP BY status
                     UNION ALL SELECT 'in_progress', count(*) FROM ", running!(), " AS running
                     UNION ALL SELECT 'waiting', count(*) FROM tasks WHERE live = 'waiting'
                     UNION ALL SELECT 'failed', count(*) FROM tasks WHERE live = 'failed'
                     UNION ALL SELECT 'cancelled', count(*) FROM tasks WHERE live IN ('cancelled', 'cancelling')) AS part
                 GROUP BY status")
            } else {
                "SELECT status, count(*) AS count FROM tasks GROUP BY status"
            })
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let mut by_status: BTreeMap<_, _> = TaskStatus::ALL.map(|status| (status.as_str(), 0)).into();
        for row in rows {
            let word: String = row.try_get("status").doing(doing)?;
            if let Ok(status) = word.parse::<TaskStatus>() {
                by_status.insert(status.as_str(), row.try_get("count").doing(doing)?);
            }
        }
        if estimated {
            let others: i64 = by_status.values().sum();
            by_status.insert(TaskStatus::Completed.as_str(), (all as i64 - others).max(0));
        }
        Ok(Counts { by_status, estimated })
    }
}
