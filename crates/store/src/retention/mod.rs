//! What is over for long is deleted: our own tasks, as whole trees, and the events that we were sent.

mod trees;

use std::time::Duration;

use domain::Result;
use sqlx::{Connection, PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// Tasks looked at in one step.
const STEP: usize = 500;
/// Events deleted in one step.
const EVENTS: u64 = 1000;

/// What a step of retention came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub tasks: u64,
    pub events: u64,
    /// There is more to look at now; otherwise nothing is left for the time being, or another worker is at it.
    pub more: bool,
}

/// A place in the walk from the oldest task to the newest.
struct Place {
    created_at: String,
    id: String,
}

impl Store {
    /// Deletes some of what ended longer than `keep` ago and is ours, with its journal, history, notes and signals. A tree
    /// of tasks goes when all of it has ended so long ago and all its notes were delivered or given up; rows of others
    /// in it stay. One step locks few rows, and reads few however many are kept; several workers share one walk.
    pub async fn sweep(&self, agents: &[String], keep: Duration) -> Result<Swept> {
        self.within("delete old tasks", self.sweep_unlimited(agents, keep))
            .await
    }

    async fn sweep_unlimited(&self, agents: &[String], keep: Duration) -> Result<Swept> {
        let doing = "delete old tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let mut names = agents.to_vec();
        names.sort_unstable();
        let whose = names.join(",");
        let swept = self
            .sweep_in(&mut tx, agents, &whose, keep.as_secs_f64())
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(swept)
    }

    async fn sweep_in(
        &self,
        tx: &mut PgConnection,
        agents: &[String],
        whose: &str,
        keep: f64,
    ) -> Result<Swept, sqlx::Error> {
        let Some(from) = self.take_walk(tx, whose).await? else {
            return Ok(Swept::default());
        };
        let rows = self
            .query(
                "SELECT t.id, t.created_at::text AS at FROM tasks t
                  WHERE (t.created_at, t.id) > ($1::text::timestamp, $2)
                    AND t.created_at < longshore.utc_now() - make_interval(secs => $3)
                  ORDER BY t.created_at, t.id LIMIT $4",
            )
            .bind(&from.created_at)
            .bind(&from.id)
            .bind(keep)
            .bind(STEP as i64)
            .fetch_all(&mut *tx)
            .await?;
        let seen: Vec<String> = rows
            .iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()?;
        let mut tasks = 0;
        if let Some(last) = rows.last() {
            tasks = self.delete_what_may_go(tx, &seen, agents, keep).await?;
            self.query(
                "UPDATE longshore.retention SET created_at = $2::text::timestamp, id = $3 WHERE agents = $1",
            )
            .bind(whose)
            .bind(last.try_get::<String, _>("at")?)
            .bind(last.try_get::<String, _>("id")?)
            .execute(&mut *tx)
            .await?;
        }
        let events = self
            .query(
                // Senders repeat themselves for days: what they sent must be known again until then.
                "DELETE FROM longshore.inbox WHERE id = ANY (ARRAY(
                     SELECT id FROM longshore.inbox
                      WHERE received_at < longshore.now() - greatest(make_interval(secs => $1), interval '30 days')
                      ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
            )
            .bind(keep)
            .bind(EVENTS as i64)
            .execute(tx)
            .await?
            .rows_affected();
        Ok(Swept {
            tasks,
            events,
            more: seen.len() == STEP || events == EVENTS,
        })
    }

    /// Deletes the trees that begin at one of `seen`; where somebody's foreign key keeps one of them, the others.
    async fn delete_what_may_go(
        &self,
        tx: &mut PgConnection,
        seen: &[String],
        agents: &[String],
        keep: f64,
    ) -> Result<u64, sqlx::Error> {
        let mut point = tx.begin().await?;
        match self.delete_trees(&mut point, seen, agents, keep).await {
            Ok(tasks) => {
                point.commit().await?;
                return Ok(tasks);
            }
            Err(error) if is_kept(&error) => point.rollback().await?,
            Err(error) => return Err(error),
        }
        let mut tasks = 0;
        for id in seen {
            let mut point = tx.begin().await?;
            match self
                .delete_trees(&mut point, std::slice::from_ref(id), agents, keep)
                .await
            {
                Ok(gone) => {
                    point.commit().await?;
                    tasks += gone;
                }
                Err(error) if is_kept(&error) => point.rollback().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(tasks)
    }

    /// Where the walk stands, if it is ours for this step. It begins anew once a day.
    async fn take_walk(&self, tx: &mut PgConnection, whose: &str) -> Result<Option<Place>, sqlx::Error> {
        let start = || Place {
            created_at: "-infinity".to_owned(),
            id: String::new(),
        };
        let taken = self
            .query(
                "SELECT created_at::text AS at, id, pass_began < longshore.now() - interval '1 day' AS over
                   FROM longshore.retention WHERE agents = $1 FOR UPDATE SKIP LOCKED",
            )
            .bind(whose)
            .fetch_optional(&mut *tx)
            .await?;
        match taken {
            Some(row) if !row.try_get::<bool, _>("over")? => {
                return Ok(Some(Place {
                    created_at: row.try_get("at")?,
                    id: row.try_get("id")?,
                }));
            }
            Some(_) => {
                self.query("UPDATE longshore.retention SET pass_began = longshore.now() WHERE agents = $1")
                    .bind(whose)
                    .execute(tx)
                    .await?;
                return Ok(Some(start()));
            }
            None => {}
        }
        // Not there yet, or in another worker's hands.
        let made = self
            .query(
                "INSERT INTO longshore.retention (agents, created_at, id, pass_began)
                 SELECT $1, '-infinity', '', longshore.now()
                  WHERE NOT EXISTS (SELECT FROM longshore.retention WHERE agents = $1)
                 ON CONFLICT DO NOTHING",
            )
            .bind(whose)
            .execute(tx)
            .await?;
        Ok((made.rows_affected() > 0).then(start))
    }
}

/// Whether a row of somebody else's needs the task.
fn is_kept(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|refusal| refusal.is_foreign_key_violation())
}
