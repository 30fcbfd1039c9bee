//! The same done to many tasks: cancelled, or tried again, by filter.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind, Result, TaskId, TaskStatus};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::candidates::{State, Wanted};
use super::cursor::Cursor;
use super::ours::is_ours;
use crate::Store;
use crate::error::SqlResult;

/// Rows locked at a time.
const BATCH: usize = 500;
/// Tasks looked at in one call.
const CALL: usize = 10_000;
/// Ids shown for one reason to skip.
const SHOWN: usize = 5;

/// Which tasks; what is none does not matter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BulkFilter {
    /// None: what needs it, by [`Bulk::usual`].
    pub states: Vec<State>,
    pub task_type: Option<String>,
    pub assigned_to: Option<String>,
    pub repo_id: Option<String>,
    pub created_before: Option<DateTime<Utc>>,
    pub created_after: Option<DateTime<Utc>>,
    /// An error or a reason for holding; ids and numbers in it may differ.
    pub error: Option<String>,
}

impl BulkFilter {
    /// Whether it would take every task.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What to do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bulk {
    Cancel,
    Retry,
}

impl Bulk {
    fn doing(self) -> &'static str {
        match self {
            Self::Cancel => "cancel tasks",
            Self::Retry => "retry tasks",
        }
    }

    /// The states that are meant where none is named.
    pub fn usual(self) -> &'static [State] {
        match self {
            Self::Cancel => &[
                State::Status(TaskStatus::Pending),
                State::Status(TaskStatus::InProgress),
                State::Status(TaskStatus::Waiting),
            ],
            Self::Retry => &[State::Status(TaskStatus::Failed), State::Held],
        }
    }

    fn takes(self, state: State) -> bool {
        match (self, state) {
            (_, State::Held | State::Status(TaskStatus::Pending | TaskStatus::Waiting)) => true,
            (Self::Cancel, State::Status(status)) => !status.is_terminal(),
            (Self::Retry, State::Status(status)) => {
                matches!(status, TaskStatus::Failed | TaskStatus::Cancelled)
            }
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BulkDone {
    /// Tasks that the filter took.
    pub matched: u64,
    /// Those of them that were changed; in a dry run, that would be.
    pub changed: u64,
    pub skipped: Vec<Skipped>,
    /// Where to go on: one call looks at ten thousand tasks.
    #[serde(serialize_with = "as_text")]
    pub next: Option<Cursor>,
}

/// Tasks that were left alone for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub why: String,
    pub count: u64,
    /// Some of them.
    pub task_ids: Vec<TaskId>,
}

fn as_text<S: serde::Serializer>(cursor: &Option<Cursor>, to: S) -> std::result::Result<S::Ok, S::Error> {
    cursor.as_ref().map(ToString::to_string).serialize(to)
}

impl BulkDone {
    /// Adds another call's outcome to this one's.
    pub fn add(&mut self, other: Self) {
        self.matched += other.matched;
        self.changed += other.changed;
        self.next = other.next;
        for skipped in other.skipped {
            for id in &skipped.task_ids {
                self.skip(skipped.why.clone(), id.clone());
            }
            if let Some(known) = self.skipped.iter_mut().find(|known| known.why == skipped.why) {
                known.count += skipped.count - skipped.task_ids.len() as u64;
            }
        }
    }

    fn skip(&mut self, why: impl Into<String>, id: TaskId) {
        let why = why.into();
        let at = match self.skipped.iter().position(|skipped| skipped.why == why) {
            Some(at) => at,
            None => {
                self.skipped.push(Skipped {
                    why,
                    count: 0,
                    task_ids: Vec::new(),
                });
                self.skipped.len() - 1
            }
        };
        self.skipped[at].count += 1;
        if self.skipped[at].task_ids.len() < SHOWN {
            self.skipped[at].task_ids.push(id);
        }
    }
}

/// A row under our lock, and what can be done with it.
struct Locked {
    id: String,
    refusal: Option<String>,
    /// Over: to be started anew.
    over: bool,
    parked: bool,
}

impl Store {
    /// Does it to the tasks that the filter takes, the newest first, from `from` on; each as the same is done to one. A few
    /// hundred rows are locked at a time, and what cannot be done to one of them is counted with its reason. A `dry` run
    /// changes nothing.
    pub async fn bulk(
        &self,
        what: Bulk,
        filter: &BulkFilter,
        from: Option<&Cursor>,
        dry: bool,
    ) -> Result<BulkDone> {
        let doing = what.doing();
        if let Some(state) = filter.states.iter().find(|state| !what.takes(**state)) {
            return Err(
                Error::invalid(format!("could not {doing}: what is {state} cannot be")).next(match what {
                    Bulk::Cancel => "Cancel takes pending, claimed, in_progress, waiting and held tasks",
                    Bulk::Retry => "Retry takes failed, held, cancelled, waiting and pending tasks",
                }),
            );
        }
        let states = if filter.states.is_empty() {
            what.usual()
        } else {
            &filter.states
        };
        let wanted = Wanted {
            states,
            task_type: filter.task_type.as_deref(),
            assigned_to: filter.assigned_to.as_deref(),
            repo_id: filter.repo_id.as_deref(),
            created_before: filter.created_before,
            created_after: filter.created_after,
            error: filter.error.as_deref(),
        };
        let mut tx = self.pool().begin().await.doing(doing)?;
        let found = self.candidates(&mut tx, &wanted, from, CALL).await?;
        tx.commit().await.doing(doing)?;
        let mut done = BulkDone {
            matched: found.len() as u64,
            next: (found.len() == CALL).then(|| found.last().cloned()).flatten(),
            ..BulkDone::default()
        };
        for batch in found.chunks(BATCH) {
            let ids: Vec<&str> = batch.iter().map(|place| place.id.as_str()).collect();
            match self.bulk_batch(what, states, &ids, dry, &mut done).await {
                // Another task with the dedupe key of one of them was made at this moment: each for itself.
                Err(error) if error.kind == ErrorKind::Conflict && what == Bulk::Retry => {
                    self.each(what, states, &ids, dry, &mut done).await?;
                }
                answer => answer?,
            }
        }
        Ok(done)
    }

    async fn bulk_batch(
        &self,
        what: Bulk,
        states: &[State],
        ids: &[&str],
        dry: bool,
        done: &mut BulkDone,
    ) -> Result<()> {
        let doing = what.doing();
        let mut tx = self.pool().begin().await.doing(doing)?;
        let locked = self.lock_many(&mut tx, what, states, ids, dry).await?;
        let mut skipped: BTreeMap<String, String> = ids
            .iter()
            .filter(|id| locked.iter().all(|row| row.id != **id))
            .map(|id| ((*id).to_owned(), "it is gone".to_owned()))
            .collect();
        let (mut anew, mut on) = (Vec::new(), Vec::new());
        for row in &locked {
            match &row.refusal {
                Some(why) => {
                    skipped.insert(row.id.clone(), why.clone());
                }
                None if row.over => anew.push(row.id.as_str()),
                None => on.push(row.id.as_str()),
            }
        }
        if what == Bulk::Retry {
            for id in self.taken_keys(&mut tx, &anew).await? {
                anew.retain(|one| *one != id);
                skipped.insert(
                    id,
                    "another task with its dedupe key is unfinished, or is tried again".to_owned(),
                );
            }
        }
        if !dry {
            match what {
                Bulk::Cancel => self.cancel_many(&mut tx, &on).await?,
                Bulk::Retry => {
                    self.start_many(&mut tx, &anew).await?;
                    let parked = |id: &&str| locked.iter().any(|row| row.parked && row.id == **id);
                    let (waiting, pending): (Vec<&str>, Vec<&str>) = on.iter().copied().partition(parked);
                    self.wake_many(&mut tx, &waiting, &pending).await?;
                }
            }
        }
        tx.commit().await.doing(doing)?;
        done.changed += (anew.len() + on.len()) as u64;
        for (id, why) in skipped {
            done.skip(why, TaskId::from(id));
        }
        Ok(())
    }

    async fn lock_many(
        &self,
        tx: &mut PgConnection,
        what: Bulk,
        states: &[State],
        ids: &[&str],
        dry: bool,
    ) -> Result<Vec<Locked>> {
        let doing = what.doing();
        let ours = self.ours(tx).await?;
        // In id order, as everybody takes several rows.
        macro_rules! rows {
            ($lock:literal) => {
                concat!(
                    "SELECT t.id, t.status, t.assigned_to, t.task_type, t.wait IS NOT NULL AS parked,
                            coalesce(t.wait ? 'held', false) AS held, t.worker_id IS NOT NULL AS run, ",
                    is_ours!(),
                    " AS ours FROM tasks t WHERE t.id = ANY ($3) ORDER BY t.id ",
                    $lock
                )
            };
        }
        let rows = self
            .query(if dry { rows!("") } else { rows!("FOR UPDATE") })
            .bind(&ours.agents)
            .bind(&ours.types)
            .bind(ids)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                let status: String = row.try_get("status")?;
                let (run, parked): (bool, bool) = (row.try_get("run")?, row.try_get("parked")?);
                let agent: Option<String> = row.try_get("assigned_to")?;
                let now = status.parse::<TaskStatus>().ok();
                let held = now == Some(TaskStatus::Waiting) && row.try_get("held")?;
                let meant = states.iter().any(|state| match state {
                    State::Held => held,
                    State::Status(status) => now == Some(*status),
                });
                let cancelling = now == Some(TaskStatus::Cancelled) && (run || parked);
                let refusal = if !row.try_get::<bool, _>("ours")? {
                    Some(match agent {
                        Some(agent) => format!("it belongs to the agent {agent}"),
                        None => format!(
                            "no worker of ours serves the type {}",
                            row.try_get::<String, _>("task_type")?
                        ),
                    })
                } else if cancelling {
                    Some("it is being cancelled".to_owned())
                } else if !meant {
                    Some(format!("it is {status} by now"))
                } else {
                    None
                };
                Ok(Locked {
                    id: row.try_get("id")?,
                    refusal,
                    over: now.is_some_and(TaskStatus::is_terminal),
                    parked: now == Some(TaskStatus::Waiting),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .doing(doing)
    }

    async fn cancel_many(&self, tx: &mut PgConnection, ids: &[&str]) -> Result<()> {
        // As for one: steps of an earlier run must be undone by a worker.
        self.query(
            "WITH asked AS (
                 UPDATE tasks t
                    SET status = 'cancelled',
                        wait = coalesce(t.wait, CASE WHEN t.worker_id IS NULL AND s.begun
                                                     THEN '{\"why\": \"for a worker that undoes it\"}'::jsonb END),
                        completed_at = CASE WHEN t.worker_id IS NULL AND t.wait IS NULL AND NOT s.begun
                                            THEN longshore.utc_now() END
                   FROM (SELECT id, EXISTS (SELECT FROM longshore.task_steps WHERE task_id = id) AS begun
                           FROM unnest($1::text[]) AS i(id)) AS s
                  WHERE t.id = s.id
              RETURNING t.id, t.attempt)
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT id, 'cancel asked', attempt, $2 FROM asked",
        )
        .bind(ids)
        .bind(format!("{}, by filter", self.told("Cancelled")))
        .execute(tx)
        .await
        .doing("cancel tasks")?;
        Ok(())
    }

    async fn start_many(&self, tx: &mut PgConnection, ids: &[&str]) -> Result<()> {
        for forget in [
            "DELETE FROM longshore.task_steps WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.resource_locks WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.signals WHERE task_id = ANY ($1)",
        ] {
            self.query(forget)
                .bind(ids)
                .execute(&mut *tx)
                .await
                .doing("retry tasks")?;
        }
        self.query(
            "WITH anew AS (
                 UPDATE tasks
                    SET status = 'pending', run_at = longshore.utc_now(), failures = 0, crashes = 0, wait = NULL,
                        worker_id = NULL, handler_version = NULL, result = NULL, error = NULL, claimed_at = NULL,
                        started_at = NULL, completed_at = NULL, deadline_at = NULL
                  WHERE id = ANY ($1) RETURNING id, attempt)
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT id, 'retry asked', attempt, $2 FROM anew",
        )
        .bind(ids)
        .bind(format!("{}, by filter, from its first step", self.told("Retried")))
        .execute(tx)
        .await
        .doing("retry tasks")?;
        Ok(())
    }

    async fn wake_many(&self, tx: &mut PgConnection, waiting: &[&str], pending: &[&str]) -> Result<()> {
        self.query(
            "WITH on_they_go AS (
                 UPDATE tasks
                    SET run_at = longshore.utc_now(), status = status, failures = 0, crashes = 0,
                        wait = CASE WHEN wait ? 'held' THEN '{\"why\": \"for a worker; a person let it go on\"}'::jsonb
                                    ELSE coalesce(wait, '{\"why\": \"for a worker\"}') END
                  WHERE id = ANY ($1) RETURNING id, attempt)
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT id, 'resumed', attempt, $2 FROM on_they_go",
        )
        .bind(waiting)
        .bind(format!("{}, by filter", self.told("Let go on")))
        .execute(&mut *tx)
        .await
        .doing("retry tasks")?;
        self.query(
            "WITH on_they_go AS (
                 UPDATE tasks SET run_at = longshore.utc_now(), status = status WHERE id = ANY ($1) RETURNING id, attempt)
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
             SELECT id, 'resumed', attempt, $2 FROM on_they_go",
        )
        .bind(pending)
        .bind(format!("{}, by filter", self.told("Told to start now")))
        .execute(tx)
        .await
        .doing("retry tasks")?;
        Ok(())
    }

    /// Those of the tasks that cannot start anew because of their dedupe key: of several with one key the newest may.
    async fn taken_keys(&self, tx: &mut PgConnection, ids: &[&str]) -> Result<Vec<String>> {
        let rows = self
            .query(
                "SELECT t.id FROM tasks t
                  WHERE t.id = ANY ($1) AND t.dedupe_key <> ''
                    AND (EXISTS (SELECT FROM tasks u
                                  WHERE u.open_key = t.dedupe_key)
                         OR EXISTS (SELECT FROM tasks n
                                     WHERE n.id = ANY ($1) AND n.dedupe_key = t.dedupe_key
                                       AND (n.created_at, n.id) > (t.created_at, t.id)))",
            )
            .bind(ids)
            .fetch_all(tx)
            .await
            .doing("retry tasks")?;
        rows.iter()
            .map(|row| row.try_get("id"))
            .collect::<Result<_, _>>()
            .doing("retry tasks")
    }

    async fn each(
        &self,
        what: Bulk,
        states: &[State],
        ids: &[&str],
        dry: bool,
        done: &mut BulkDone,
    ) -> Result<()> {
        for id in ids {
            match self.bulk_batch(what, states, &[id], dry, done).await {
                Err(error) if error.kind == ErrorKind::Conflict => {
                    done.skip(error.what.clone(), TaskId::from(*id));
                }
                answer => answer?,
            }
        }
        Ok(())
    }
}
