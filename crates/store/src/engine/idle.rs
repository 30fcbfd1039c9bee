use std::time::Duration;

use domain::Result;

use super::{Claim, Claimed, Taken};
use crate::Store;
use crate::error::SqlResult;

/// What an idle worker found.
#[derive(Debug)]
pub struct IdleLook {
    pub claimed: Vec<Claimed>,
    /// Where that is nothing: when something is due next, as [`Store::next_due`] tells.
    pub due: Option<Duration>,
}

impl Store {
    /// Wakes waiting tasks, claims, and where there is nothing looks for what is due next: in one transaction, for this is what
    /// a worker does now and then that has nothing to do.
    pub async fn idle_look(&self, claim: &Claim, taken: &Taken) -> Result<IdleLook> {
        let look = self
            .within("look for tasks", self.idle_look_unlimited(claim, taken))
            .await;
        if look.is_err() {
            taken.forget();
        }
        look
    }

    async fn idle_look_unlimited(&self, claim: &Claim, taken: &Taken) -> Result<IdleLook> {
        if !self.is_ruled()
            && let Some(look) = self.look_unruled(claim, taken).await?
        {
            return Ok(look);
        }
        self.wake_waiters(&claim.agents).await?;
        let claimed = self.claim(claim, taken).await?;
        let due = if claimed.is_empty() {
            self.next_due(claim).await?
        } else {
            None
        };
        Ok(IdleLook { claimed, due })
    }

    /// Nothing where it met rules.
    async fn look_unruled(&self, claim: &Claim, taken: &Taken) -> Result<Option<IdleLook>> {
        let doing = "look for tasks";
        let mut tx = self.pinned_transaction().await.doing(doing)?;
        self.wake_waiters_in(&mut tx, &claim.agents).await?;
        let claimed = self.claim_unruled(&mut tx, claim, taken).await?;
        let due = match &claimed {
            Some(claimed) if claimed.is_empty() => self.next_due_in(&mut tx, claim).await?,
            _ => None,
        };
        tx.commit().await.doing(doing)?;
        Ok(claimed.map(|claimed| IdleLook { claimed, due }))
    }
}
