//! The short way from a notification to a task that runs.

use domain::Result;

use super::claim::{Claim, Claimed, over, resumable, taking};
use super::limited::is_ruled;
use crate::Store;
use crate::error::SqlResult;

impl Store {
    /// Takes pending tasks by priority and age, and nothing else: what somebody has just put there is begun before a whole
    /// [`Store::claim`] has looked everywhere. Nothing where there are rules. Not for more tasks than may be taken before
    /// the oldest one is due, and not while there are more than fit: it walks through what was taken before.
    pub async fn claim_fresh(&self, claim: &Claim) -> Result<Vec<Claimed>> {
        if self.is_ruled() {
            return Ok(Vec::new());
        }
        self.within("claim new tasks", self.claim_fresh_unlimited(claim))
            .await
    }

    async fn claim_fresh_unlimited(&self, claim: &Claim) -> Result<Vec<Claimed>> {
        let doing = "claim new tasks";
        let mut session = self.pinned_session().await.doing(doing)?;
        // Written as that of `claim`, which says why.
        let rows = self
            .query(concat!(
                "WITH room AS MATERIALIZED (
                     SELECT CASE WHEN ", is_ruled!(), " THEN 0 ELSE $3 END AS slots, set_config('synchronous_commit', 'off', true)),
                 found AS MATERIALIZED (
                     SELECT mine.* FROM unnest($2::text[]) AS agent CROSS JOIN LATERAL (
                         SELECT t.ctid AS place, t.priority, t.created_at, t.id FROM tasks t
                          WHERE t.live = 'pending' AND t.assigned_to = agent AND t.run_at <= longshore.utc_now()
                            AND ", resumable!(), "
                          ORDER BY t.priority DESC, t.created_at, t.id LIMIT (SELECT slots FROM room) FOR UPDATE SKIP LOCKED) AS mine
                     UNION ALL
                     SELECT anyones.* FROM unnest($4::text[]) AS served CROSS JOIN LATERAL (
                         SELECT t.ctid AS place, t.priority, t.created_at, t.id FROM tasks t
                          WHERE t.live = 'pending' AND t.assigned_to IS NULL AND t.task_type = served
                            AND t.run_at <= longshore.utc_now() AND ", resumable!(), "
                          ORDER BY t.priority DESC, t.created_at, t.id LIMIT (SELECT slots FROM room) FOR UPDATE SKIP LOCKED) AS anyones),
                 ", taking!("t.ctid = ANY (ARRAY (
                        SELECT place FROM found ORDER BY priority DESC, created_at, id LIMIT (SELECT slots FROM room)))", "$8"), "
                 SELECT mine.*, noted.id AS claim FROM mine CROSS JOIN noted"
            ))
            .bind(&claim.worker)
            .bind(&claim.agents)
            .bind(i64::from(claim.limit))
            .bind(claim.types())
            .bind(claim.versions())
            .bind(claim.resumable())
            .bind(claim.deadlines())
            .bind(&claim.over)
            .fetch_all(&mut *session)
            .await
            .doing(doing)?;
        let claimed = self.read_claimed(&mut session, claim, &rows).await?;
        session.end().await.doing(doing)?;
        Ok(claimed)
    }
}
