//! Tasks that were begun already: they come before those that are to be started, and no pause is about them.

use domain::Result;
use sqlx::{PgConnection, Row};

use super::{Candidate, Taking};
use crate::Store;
use crate::engine::claim::resumable;
use crate::error::SqlResult;
use crate::rules::Rooms;

/// Where one was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Its worker died, and it has its place still.
    DeadWorker,
    Parked,
}

impl Store {
    /// Those whose worker died, that were cancelled and are to be undone, or whose wait is over. `in_place` is the room for the
    /// first: they have a place already, unless the limit became smaller.
    pub(super) async fn pick_resumed(
        &self,
        tx: &mut PgConnection,
        taking: &mut Taking<'_>,
        mut in_place: Rooms,
    ) -> Result<()> {
        let mut seen: Vec<String> = Vec::new();
        // Each round but the last fills a limit, which the next one then reads past, or has read all there is.
        while taking.slots() > 0 {
            let found = self.resumable(tx, taking, &in_place, &seen).await?;
            if found.is_empty() {
                break;
            }
            seen.extend(found.iter().map(|(_, task)| task.id.clone()));
            let mut chosen: Vec<(From, Candidate)> = Vec::new();
            let slots = taking.slots();
            for (from, task) in found {
                let rooms = match from {
                    From::DeadWorker => &mut in_place,
                    From::Parked => &mut taking.rooms,
                };
                let repo = task.repo_id.as_deref();
                if chosen.len() < slots && rooms.room(&task.task_type, repo) > 0 {
                    rooms.take(&task.task_type, repo);
                    chosen.push((from, task));
                }
            }
            let tasks: Vec<Candidate> = chosen.iter().map(|(_, task)| task.clone()).collect();
            let locked = self.lock_candidates(tx, taking, &tasks).await?;
            for (from, task) in chosen.iter().filter(|(_, task)| !locked.contains(&task.id)) {
                match from {
                    From::DeadWorker => in_place.give_back(&task.task_type, task.repo_id.as_deref()),
                    From::Parked => taking.rooms.give_back(&task.task_type, task.repo_id.as_deref()),
                }
            }
            taking.ids.extend(locked);
        }
        Ok(())
    }

    /// The next of them, past the kinds that have no room.
    async fn resumable(
        &self,
        tx: &mut PgConnection,
        taking: &Taking<'_>,
        in_place: &Rooms,
        seen: &[String],
    ) -> Result<Vec<(From, Candidate)>> {
        let doing = "claim tasks";
        let (types, repos) = taking.rooms.full();
        let (types_in_place, repos_in_place) = in_place.full();
        let rows = self
            .query(
                concat!(
                    "SELECT * FROM (
                     SELECT true AS dead, t.id, t.task_type, t.repo_id FROM tasks t
                      WHERE t.id = ANY (ARRAY (
                                SELECT unnest(c.tasks) FROM longshore.claims c
                                  JOIN longshore.workers w ON w.id = c.worker_id
                                 WHERE w.lease_until <= clock_timestamp()))
                        AND t.worker_id IS NOT NULL AND t.status = 'in_progress'
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp()) AND NOT $10
                        AND t.assigned_to = ANY ($1) AND ", resumable!(), "
                        AND t.task_type <> ALL ($4) AND (t.repo_id IS NULL OR t.repo_id <> ALL ($5))
                        AND t.id <> ALL ($7)
                      LIMIT $8) AS abandoned
                 UNION ALL
                 SELECT * FROM (
                     SELECT true, t.id, t.task_type, t.repo_id FROM tasks t
                      WHERE t.live = 'cancelling' AND t.worker_id IS NOT NULL AND NOT $10
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                        AND t.assigned_to = ANY ($1) AND ", resumable!(), "
                        AND t.task_type <> ALL ($4) AND (t.repo_id IS NULL OR t.repo_id <> ALL ($5))
                        AND t.id <> ALL ($7)
                      LIMIT $8) AS left_undone
                 UNION ALL
                 SELECT * FROM (
                     SELECT false, t.id, t.task_type, t.repo_id FROM tasks t
                      WHERE t.live = 'cancelling' AND t.worker_id IS NULL AND NOT $9
                        AND t.assigned_to = ANY ($1) AND ", resumable!(), "
                        AND t.task_type <> ALL ($2) AND (t.repo_id IS NULL OR t.repo_id <> ALL ($3))
                        AND t.id <> ALL ($7)
                      LIMIT $8) AS cancelled
                 UNION ALL
                 SELECT * FROM (
                     SELECT false, t.id, t.task_type, t.repo_id FROM tasks t
                      WHERE t.live = 'waiting' AND t.run_at <= longshore.utc_now() AND NOT $9
                        AND t.assigned_to = ANY ($1) AND ", resumable!(), "
                        AND t.task_type <> ALL ($2) AND (t.repo_id IS NULL OR t.repo_id <> ALL ($3))
                        AND t.id <> ALL ($7)
                      ORDER BY t.run_at LIMIT $8) AS due"
                ),
            )
            .bind(&taking.claim.agents)
            .bind(&types)
            .bind(&repos)
            .bind(&types_in_place)
            .bind(&repos_in_place)
            .bind(&taking.resumable)
            .bind(seen)
            .bind(i64::from(taking.claim.limit))
            .bind(taking.rooms.is_full())
            .bind(in_place.is_full())
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                let from = match row.try_get("dead")? {
                    true => From::DeadWorker,
                    false => From::Parked,
                };
                let task = Candidate {
                    id: row.try_get("id")?,
                    task_type: row.try_get("task_type")?,
                    repo_id: row.try_get("repo_id")?,
                };
                Ok((from, task))
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }
}
