use domain::Result;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// What workers of ours run at this moment. Its rows are named by an array, which the planner always looks up: of a join it
/// may think that it brings many.
macro_rules! running {
    () => {
        "(SELECT id, task_type, repo_id, assigned_to, worker_id FROM tasks
           WHERE id = ANY (ARRAY (SELECT unnest(c.tasks) FROM longshore.claims c))
             AND worker_id IS NOT NULL AND status = 'in_progress')"
    };
}
pub(crate) use running;

/// Tasks of one type and repository that take a place now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) task_type: String,
    pub(crate) repo_id: Option<String>,
    /// Under a worker's lease.
    pub(crate) alive: i64,
    /// Their worker's lease ran out: it may not know yet, so they keep their places until they are taken over.
    pub(crate) abandoned: i64,
}

impl Store {
    /// What runs, whoever of ours runs it. What another program took from a worker of ours does not.
    pub(crate) async fn running(&self, tx: &mut PgConnection, agents: &[String]) -> Result<Vec<Running>> {
        let doing = "count what runs";
        let rows = self
            .query(concat!(
                "SELECT t.task_type, t.repo_id, count(*) FILTER (WHERE lives) AS alive,
                        count(*) FILTER (WHERE NOT lives) AS abandoned
                   FROM (SELECT t.task_type, t.repo_id, EXISTS (
                                    SELECT FROM longshore.workers w
                                     WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp()) AS lives
                           FROM (SELECT * FROM ",
                running!(),
                " AS running
                                 UNION ALL
                                 SELECT id, task_type, repo_id, assigned_to, worker_id FROM tasks
                                  WHERE live = 'cancelling' AND worker_id IS NOT NULL) AS t
                          WHERE (t.assigned_to = ANY ($1)
                                 OR t.assigned_to IN (SELECT unnest(w.agents) FROM longshore.workers w))) AS t
                  GROUP BY t.task_type, t.repo_id"
            ))
            .bind(agents)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                Ok(Running {
                    task_type: row.try_get("task_type")?,
                    repo_id: row.try_get("repo_id")?,
                    alive: row.try_get("alive")?,
                    abandoned: row.try_get("abandoned")?,
                })
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }
}
