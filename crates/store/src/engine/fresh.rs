//! The short way from a notification to a task that runs.

use domain::Result;

use super::claim::{Claim, Claimed, resumable, taking};
use super::limited::is_ruled;
use crate::Store;
use crate::error::SqlResult;

impl Store {
    /// Takes those of `new` that are pending, by priority and age among them, and nothing else: what somebody has just put
    /// there is begun before a whole [`Store::claim`] has looked everywhere. Nothing where there are rules. Not for more tasks
    /// than may be taken before the oldest one is due, and not while there are more than fit.
    pub async fn claim_new(&self, claim: &Claim, new: &[String]) -> Result<Vec<Claimed>> {
        if self.is_ruled() {
            return Ok(Vec::new());
        }
        self.within("claim new tasks", self.claim_new_unlimited(claim, new))
            .await
    }

    async fn claim_new_unlimited(&self, claim: &Claim, new: &[String]) -> Result<Vec<Claimed>> {
        let doing = "claim new tasks";
        let mut session = self.pinned_session().await.doing(doing)?;
        // Written as that of `claim`, which says why. Row by row, and not by `live`: other indexes have ids too, and would be
        // walked through from end to end.
        let rows = self
            .query(concat!(
                "WITH room AS MATERIALIZED (
                     SELECT CASE WHEN ", is_ruled!(), " THEN 0 ELSE $3 END AS slots, set_config('synchronous_commit', 'off', true)),
                 found AS MATERIALIZED (
                     SELECT t.ctid AS place FROM unnest($8::text[]) AS new(id) JOIN tasks t ON t.id = new.id
                      WHERE t.status = 'pending' AND t.run_at <= longshore.utc_now()
                        AND (t.assigned_to = ANY ($2) OR t.assigned_to IS NULL AND t.task_type = ANY ($4))
                        AND ", resumable!(), "
                      ORDER BY t.priority DESC, t.created_at, t.id LIMIT (SELECT slots FROM room) FOR UPDATE OF t SKIP LOCKED),
                 ", taking!("t.ctid = ANY (ARRAY (SELECT place FROM found))"), "
                 SELECT mine.*, noted.id AS claim FROM mine CROSS JOIN noted"
            ))
            .bind(&claim.worker)
            .bind(&claim.agents)
            .bind(i64::from(claim.limit))
            .bind(claim.types())
            .bind(claim.versions())
            .bind(claim.resumable())
            .bind(claim.deadlines())
            .bind(new)
            .fetch_all(&mut *session)
            .await
            .doing(doing)?;
        let claimed = self.read_claimed(&mut session, claim, &rows).await?;
        session.end().await.doing(doing)?;
        Ok(claimed)
    }
}
