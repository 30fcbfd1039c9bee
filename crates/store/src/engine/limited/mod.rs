//! Claims while there are rules: limits on what runs at once, pauses, repositories that rest. One at a time for the whole
//! table, so that no two count the same free place.
//!
//! What a claim reads grows with the kinds of pending tasks (agent, type and repository) and with what runs, but not with
//! how many are pending of a kind that is held back.

mod resumed;
mod started;
mod take;
mod walk;

use std::sync::atomic::Ordering;

use domain::Result;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::{Claim, Claimed};
use crate::Store;
use crate::error::SqlResult;
use crate::rules::{Rooms, Scope, Stored};

/// Whether there is any rule at all. Locked against [`Store::set_rule`] until the end of the transaction that asks.
macro_rules! is_ruled {
    () => {
        "(EXISTS (SELECT FROM longshore.queue_rules FOR KEY SHARE)
          OR EXISTS (SELECT FROM repos WHERE status IN ('paused', 'archived')))"
    };
}
pub(in crate::engine) use is_ruled;

/// A task that may be claimed.
#[derive(Clone, Debug)]
struct Candidate {
    id: String,
    task_type: String,
    repo_id: Option<String>,
}

/// What may start nothing.
#[derive(Debug, Default)]
struct Paused {
    all: bool,
    types: Vec<String>,
    repos: Vec<String>,
}

impl Paused {
    fn by(rules: &[Stored]) -> Self {
        let mut paused = Self::default();
        for rule in rules.iter().filter(|rule| rule.paused.is_some()) {
            match &rule.scope {
                Scope::All => paused.all = true,
                Scope::Type(name) => paused.types.push(name.clone()),
                Scope::Repo(id) => paused.repos.push(id.clone()),
            }
        }
        paused
    }
}

/// How one claim goes on: what is left of the limits, and what it has.
struct Taking<'c> {
    claim: &'c Claim,
    resumable: Vec<String>,
    rooms: Rooms,
    /// Locked, and to be taken.
    ids: Vec<String>,
}

impl Taking<'_> {
    fn slots(&self) -> usize {
        (self.claim.limit as usize).saturating_sub(self.ids.len())
    }
}

impl Store {
    /// Whether the last claim met rules. While this is so the end of a task anywhere may let another one begin here.
    pub fn is_ruled(&self) -> bool {
        self.ruled().load(Ordering::Relaxed)
    }

    /// Whether the plain claim found rules and therefore took nothing; the next claims remember that.
    pub(in crate::engine) fn has_met_rules(&self, rows: &[PgRow]) -> Result<bool> {
        let ruled = match rows.first() {
            Some(row) => row.try_get("ruled").doing("claim tasks")?,
            None => false,
        };
        if ruled {
            self.ruled().store(true, Ordering::Relaxed);
        }
        Ok(ruled)
    }

    /// Claims what the rules allow; `None` when there are none any more. Not within a transaction that has looked at them
    /// already: whoever waits here for another claim must not keep a rule from being set that the other one waits for.
    pub(in crate::engine) async fn claim_ruled(&self, claim: &Claim) -> Result<Option<Vec<Claimed>>> {
        let mut tx = self.pool().begin().await.doing("claim tasks")?;
        let rows = self.take_limited(&mut tx, claim).await?;
        let claimed = match &rows {
            Some(rows) => Some(self.read_claimed(&mut tx, claim, rows).await?),
            None => None,
        };
        tx.commit().await.doing("claim tasks")?;
        Ok(claimed)
    }

    /// Whether there are rules now, which the next claims remember.
    async fn look_for_rules(&self, tx: &mut PgConnection) -> Result<bool> {
        let doing = "claim tasks";
        let ruled: bool = self
            .query(concat!("SELECT ", is_ruled!(), " AS ruled"))
            .fetch_one(tx)
            .await
            .and_then(|row| row.try_get("ruled"))
            .doing(doing)?;
        self.ruled().store(ruled, Ordering::Relaxed);
        Ok(ruled)
    }

    async fn take_limited(&self, tx: &mut PgConnection, claim: &Claim) -> Result<Option<Vec<PgRow>>> {
        let doing = "claim tasks";
        // A statement of its own: what the others committed meanwhile is seen by the next one alone.
        self.query("SELECT pg_advisory_xact_lock(hashtext('longshore limits'))")
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if !self.look_for_rules(tx).await? {
            return Ok(None);
        }
        let rules = self.stored_rules(tx).await?;
        let running = self.running(tx, &claim.agents).await?;
        let mut taking = Taking {
            claim,
            resumable: claim.resumable(),
            // What a dead worker ran keeps its places for whoever takes it over.
            rooms: Rooms::new(&rules, &running, |group| group.alive + group.abandoned),
            ids: Vec::new(),
        };
        let in_place = Rooms::new(&rules, &running, |group| group.alive);
        self.pick_resumed(tx, &mut taking, in_place).await?;
        let paused = Paused::by(&rules);
        if !paused.all {
            self.pick_started(tx, &mut taking, &paused).await?;
        }
        if taking.ids.is_empty() {
            self.forget(tx, claim).await?;
            return Ok(Some(Vec::new()));
        }
        self.take_these(tx, claim, &taking.ids).await.map(Some)
    }
}
