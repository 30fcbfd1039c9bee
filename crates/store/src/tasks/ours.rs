//! Which rows are ours to change.

use domain::Result;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// Whose tasks and which types we change: those of our agents and of every registered worker's.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) agents: Vec<String>,
    /// Of unassigned tasks; any while no worker is registered.
    pub(super) types: Option<Vec<String>>,
}

/// Whether a row `t` is ours: assigned to an agent of ours, or unassigned and run or parked by us, or unassigned, untaken
/// and of a type that we serve. What somebody else took from us may still name our worker. `$1` and `$2` are [`Ours`].
macro_rules! is_ours {
    () => {
        "(coalesce(t.assigned_to = ANY ($1), false)
          OR t.assigned_to IS NULL
             AND (t.worker_id IS NOT NULL OR t.wait IS NOT NULL
                  OR t.status IN ('pending', 'waiting', 'failed', 'cancelled', 'completed')
                     AND ($2::text[] IS NULL OR t.task_type = ANY ($2))))"
    };
}
pub(super) use is_ours;

impl Store {
    pub(super) async fn ours(&self, tx: &mut PgConnection) -> Result<Ours> {
        let doing = "look for whose tasks are ours";
        let row = self
            .query(
                "SELECT coalesce(array_agg(DISTINCT agent) FILTER (WHERE agent IS NOT NULL), '{}') AS agents,
                        array_agg(DISTINCT split_part(served, '/', 1)) FILTER (WHERE served IS NOT NULL) AS types,
                        (SELECT count(*) FROM longshore.workers) AS workers
                   FROM (SELECT unnest(agents) AS agent, NULL AS served FROM longshore.workers
                         UNION ALL SELECT NULL, unnest(serves) FROM longshore.workers) AS known",
            )
            .fetch_one(tx)
            .await
            .doing(doing)?;
        let mut agents: Vec<String> = row.try_get("agents").doing(doing)?;
        agents.extend(self.config().agents.iter().cloned());
        let types: Option<Vec<String>> = row.try_get("types").doing(doing)?;
        let workers: i64 = row.try_get("workers").doing(doing)?;
        Ok(Ours {
            agents,
            types: (workers > 0).then(|| types.unwrap_or_default()),
        })
    }
}
