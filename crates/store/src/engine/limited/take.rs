//! The last two statements of a limited claim: what was chosen is locked, and then taken.

use domain::Result;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Candidate, Taking};
use crate::Store;
use crate::engine::Claim;
use crate::engine::claim::{over, resumable, taking};
use crate::error::SqlResult;

impl Store {
    /// Locks those that still stand as they were read and that nobody else is at; answers their ids.
    pub(super) async fn lock_candidates(
        &self,
        tx: &mut PgConnection,
        taking: &Taking<'_>,
        chosen: &[Candidate],
    ) -> Result<Vec<String>> {
        let doing = "claim tasks";
        if chosen.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<&str> = chosen.iter().map(|task| task.id.as_str()).collect();
        let types: Vec<&str> = chosen.iter().map(|task| task.task_type.as_str()).collect();
        let repos: Vec<Option<&str>> = chosen.iter().map(|task| task.repo_id.as_deref()).collect();
        let rows = self
            .query(
                concat!("SELECT t.id FROM tasks t
                   JOIN unnest($1::text[], $2::text[], $3::text[]) AS c(id, task_type, repo_id)
                     ON c.id = t.id AND c.task_type = t.task_type AND c.repo_id IS NOT DISTINCT FROM t.repo_id
                  WHERE t.id = ANY ($1)
                    AND ", resumable!(), "
                    AND CASE WHEN t.status = 'pending' THEN
                                  t.run_at <= longshore.utc_now()
                                  AND (t.assigned_to = ANY ($4) OR t.assigned_to IS NULL AND t.task_type = ANY ($5))
                             WHEN t.worker_id IS NOT NULL THEN
                                  t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY ($4)
                                  AND NOT EXISTS (SELECT FROM longshore.workers w
                                                   WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                             WHEN t.status = 'cancelled' THEN t.wait IS NOT NULL AND t.assigned_to = ANY ($4)
                             ELSE t.status = 'waiting' AND t.run_at <= longshore.utc_now() AND t.assigned_to = ANY ($4)
                        END
                    FOR UPDATE OF t SKIP LOCKED"),
            )
            .bind(&ids)
            .bind(&types)
            .bind(&repos)
            .bind(&taking.claim.agents)
            .bind(taking.claim.types())
            .bind(&taking.resumable)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| row.try_get("id"))
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }

    /// As [`Store::take_these`] of no rows.
    pub(super) async fn forget(&self, tx: &mut PgConnection, claim: &Claim) -> Result<()> {
        if claim.over.is_empty() {
            return Ok(());
        }
        self.query(over!("$2"))
            .bind(&claim.worker)
            .bind(&claim.over)
            .execute(tx)
            .await
            .doing("claim tasks")?;
        Ok(())
    }

    /// Takes rows that this transaction has locked.
    pub(super) async fn take_these(
        &self,
        tx: &mut PgConnection,
        claim: &Claim,
        ids: &[String],
    ) -> Result<Vec<PgRow>> {
        self.query(concat!(
            "WITH ",
            taking!("t.id = ANY ($3::text[])"),
            ", over AS (",
            over!("$6"),
            ")
            SELECT mine.*, noted.id AS claim, false AS ruled FROM mine CROSS JOIN noted"
        ))
        .bind(&claim.worker)
        .bind(&claim.agents)
        .bind(ids)
        .bind(claim.types())
        .bind(claim.versions())
        .bind(&claim.over)
        .bind(claim.deadlines())
        .fetch_all(tx)
        .await
        .doing("claim tasks")
    }
}
