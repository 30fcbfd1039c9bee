use domain::{Error, Result};
use sqlx::{PgConnection, Row};

use super::{Pause, QueueRule, Scope, Stored};
use crate::Store;
use crate::error::SqlResult;

/// What is to become of a rule; what is not named stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleChange {
    /// `Some(None)` takes the limit away.
    pub max_running: Option<Option<u32>>,
    /// Starts nothing more, or does so again.
    pub paused: Option<bool>,
    /// Why it is paused, for those who wonder; `Some(None)` takes the reason away.
    pub reason: Option<Option<String>>,
    /// Who says so.
    pub by: String,
}

impl Store {
    /// Sets a rule, or takes it away where it would say nothing more: `None` then. It holds from the moment of the answer on,
    /// also against claims that were under way. To let a repository start tasks again also makes its row `active` where that
    /// says `paused`. `NotFound` for a repository that is not in `repos`, `Conflict` for one that is archived and should start again.
    pub async fn set_rule(&self, scope: &Scope, change: &RuleChange) -> Result<Option<QueueRule>> {
        self.within("set the rule", self.set_rule_unlimited(scope, change))
            .await
    }

    async fn set_rule_unlimited(&self, scope: &Scope, change: &RuleChange) -> Result<Option<QueueRule>> {
        let doing = "set the rule";
        scope.check()?;
        if change.max_running == Some(Some(0)) {
            return Err(Error::invalid("`max_running` is 0, which would let nothing run")
                .next("Pause it instead, or set a limit from 1 on"));
        }
        let mut tx = self.pool().begin().await.doing(doing)?;
        // Before the claims are kept out: they need not wait for whoever has that row.
        let status = self.repo_status(&mut tx, scope).await?;
        self.keep_claims_out(&mut tx).await?;
        let before = self
            .stored_rules(&mut tx)
            .await?
            .into_iter()
            .find(|rule| rule.scope == *scope);
        let gives_way = change.max_running == Some(None) || change.paused == Some(false);
        // What is not there can be taken away, though its repository may be gone.
        if let (Scope::Repo(id), None, false) = (scope, &status, before.is_some() && gives_way) {
            return Err(Error::not_found(format!("no repository has the id {id}"))
                .next("`longshore repos list` shows those that there are"));
        }
        if change.paused == Some(false) {
            self.wake_repo(&mut tx, scope, status.as_deref()).await?;
        }
        self.write(&mut tx, scope, before, change).await?;
        self.notify(&mut tx).await.doing(doing)?;
        let after = self.rules_in(&mut tx).await?;
        tx.commit().await.doing(doing)?;
        Ok(after.into_iter().find(|rule| rule.scope == *scope))
    }

    /// Takes away a limit and a pause. `NotFound` when there is neither.
    pub async fn clear_rule(&self, scope: &Scope) -> Result<()> {
        self.within("take the rule away", self.clear_rule_unlimited(scope))
            .await
    }

    async fn clear_rule_unlimited(&self, scope: &Scope) -> Result<()> {
        let doing = "take the rule away";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let gone = self.delete_rule(&mut tx, scope).await?;
        self.notify(&mut tx).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        if !gone {
            return Err(Error::not_found(format!("there is no rule about {scope}"))
                .next("`longshore queue list` shows those that there are"));
        }
        Ok(())
    }

    /// Waits for the claims that are under way, and lets others wait until this transaction is over. Reading goes on, so
    /// that a dump of the database is not waited for.
    pub(crate) async fn keep_claims_out(&self, tx: &mut PgConnection) -> Result<()> {
        let doing = "wait for the claims that are under way";
        for sql in [
            "SET LOCAL lock_timeout = '5s'",
            "LOCK TABLE longshore.queue_rules IN EXCLUSIVE MODE",
        ] {
            self.query(sql).execute(&mut *tx).await.doing(doing)?;
        }
        Ok(())
    }

    async fn repo_status(&self, tx: &mut PgConnection, scope: &Scope) -> Result<Option<String>> {
        let doing = "look up a repository";
        let Scope::Repo(id) = scope else {
            return Ok(None);
        };
        let row = self
            .query("SELECT status FROM repos WHERE id = $1 FOR UPDATE")
            .bind(id)
            .fetch_optional(tx)
            .await
            .doing(doing)?;
        row.map(|row| row.try_get("status")).transpose().doing(doing)
    }

    async fn wake_repo(&self, tx: &mut PgConnection, scope: &Scope, status: Option<&str>) -> Result<()> {
        match status {
            Some("archived") => Err(Error::conflict(format!(
                "{scope} cannot start: its row in `repos` says archived"
            ))
            .next("Set the row's status to active first, if it is to be worked on again")),
            Some("paused") => self
                .query("UPDATE repos SET status = 'active', updated_at = longshore.utc_now() WHERE id = $1")
                .bind(scope.name())
                .execute(tx)
                .await
                .map(|_| ())
                .doing("set the repository's status"),
            _ => Ok(()),
        }
    }

    async fn write(
        &self,
        tx: &mut PgConnection,
        scope: &Scope,
        before: Option<Stored>,
        change: &RuleChange,
    ) -> Result<()> {
        let doing = "set the rule";
        let (limit, pause) = before.map_or((None, None), |rule| (rule.max_running, rule.paused));
        let limit = change.max_running.unwrap_or(limit);
        let is_paused = change.paused.unwrap_or(pause.is_some());
        if !is_paused && matches!(change.reason, Some(Some(_))) {
            return Err(
                Error::invalid(format!("`reason` says why {scope} are paused, and they are not"))
                    .next("Pause them with the same call, or leave the reason out"),
            );
        }
        if limit.is_none() && !is_paused {
            self.delete_rule(tx, scope).await?;
            return Ok(());
        }
        // Who paused it first stays on record; a reason may be given later.
        let (at, by, reason) = match pause {
            Some(Pause { at, by, reason }) => (Some(at), by, change.reason.clone().unwrap_or(reason)),
            None => (None, Some(change.by.clone()), change.reason.clone().flatten()),
        };
        self.query(
            "INSERT INTO longshore.queue_rules (kind, name, max_running, paused_at, paused_by, reason)
             VALUES ($1, $2, $3, CASE WHEN $4 THEN coalesce($5, longshore.now()) END, CASE WHEN $4 THEN $6 END,
                     CASE WHEN $4 THEN $7 END)
             ON CONFLICT (kind, name) DO UPDATE
                SET max_running = excluded.max_running, paused_at = excluded.paused_at, paused_by = excluded.paused_by,
                    reason = excluded.reason, updated_at = excluded.updated_at",
        )
        .bind(scope.kind())
        .bind(scope.name())
        .bind(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
        .bind(is_paused)
        .bind(at)
        .bind(by)
        .bind(reason)
        .execute(tx)
        .await
        .map(|_| ())
        .doing(doing)
    }

    async fn delete_rule(&self, tx: &mut PgConnection, scope: &Scope) -> Result<bool> {
        let gone = self
            .query("DELETE FROM longshore.queue_rules WHERE kind = $1 AND name = $2")
            .bind(scope.kind())
            .bind(scope.name())
            .execute(tx)
            .await
            .doing("take the rule away")?;
        Ok(gone.rows_affected() > 0)
    }
}
