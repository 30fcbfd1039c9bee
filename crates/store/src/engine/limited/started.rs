//! Pending tasks, by the groups that rules tell apart.

use domain::Result;
use sqlx::{PgConnection, Row};

use super::walk::{Next, Order, Place, Walk};
use super::{Candidate, Paused, Taking};
use crate::Store;
use crate::engine::claim::resumable;
use crate::error::SqlResult;

/// Pending tasks that every rule treats alike: of one agent (empty: of nobody), type and repository (empty: of none).
#[derive(Clone, Debug)]
struct Group {
    owner: String,
    task_type: String,
    repo: String,
    /// Those that were put off for more than a moment; they stand in an index of their own.
    later: bool,
}

impl Group {
    fn repo_id(&self) -> Option<&str> {
        Some(self.repo.as_str()).filter(|id| !id.is_empty())
    }
}

/// The first `$4` of each group in an order: in each `$level` those by `$since`, of all of them those by `$by`.
macro_rules! heads {
    ($live:literal, $level:literal, $and:literal, $since:literal, $by:literal) => {
        concat!(
            "SELECT g.at, t.id, t.repo_id, t.priority,
                    least(greatest(extract(epoch FROM t.since) * 1000000, -9e18), 9e18)::bigint AS since
               FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS g(owner, task_type, repo, at)
              CROSS JOIN LATERAL (SELECT first.* FROM ",
            $level,
            " CROSS JOIN LATERAL (
                  SELECT t.id, t.repo_id, t.priority, t.",
            $since,
            " AS since FROM tasks t
                   WHERE t.live = '",
            $live,
            "' AND coalesce(t.assigned_to, '') = g.owner AND t.task_type = g.task_type AND coalesce(t.repo_id, '') = g.repo ",
            $and,
            "        AND (t.assigned_to IS NULL) = (g.owner = '') AND t.run_at <= longshore.utc_now()
                     AND ",
            resumable!(),
            "        AND t.id <> ALL ($5)
                   ORDER BY t.priority DESC, t.",
            $since,
            " LIMIT $4) AS first
               ORDER BY ",
            $by,
            " LIMIT $4) AS t
              ORDER BY g.at, ",
            $by
        )
    };
}

/// The groups that have something, from one value of the index to the next, so that the rows between are not read.
macro_rules! groups {
    ($live:literal) => {
        concat!(
            "WITH RECURSIVE typed AS (
                 SELECT agent AS owner, (
                     SELECT t.task_type FROM tasks t
                      WHERE t.live = '",
            $live,
            "' AND coalesce(t.assigned_to, '') = agent
                      ORDER BY t.task_type LIMIT 1) AS task_type
                   FROM unnest($1::text[]) AS agent WHERE agent <> ''
                 UNION ALL
                 SELECT typed.owner, (
                     SELECT t.task_type FROM tasks t
                      WHERE t.live = '",
            $live,
            "' AND coalesce(t.assigned_to, '') = typed.owner AND t.task_type > typed.task_type
                      ORDER BY t.task_type LIMIT 1)
                   FROM typed WHERE typed.task_type IS NOT NULL),
             ours AS (
                 SELECT owner, task_type FROM typed WHERE task_type IS NOT NULL AND task_type <> ALL ($3)
                 UNION ALL
                 SELECT '', served FROM unnest($2::text[]) AS served WHERE served <> ALL ($3)),
             grouped AS (
                 SELECT ours.owner, ours.task_type, (
                     SELECT coalesce(t.repo_id, '') FROM tasks t
                      WHERE t.live = '",
            $live,
            "' AND coalesce(t.assigned_to, '') = ours.owner AND t.task_type = ours.task_type
                      ORDER BY coalesce(t.repo_id, '') LIMIT 1) AS repo
                   FROM ours
                 UNION ALL
                 SELECT grouped.owner, grouped.task_type, (
                     SELECT coalesce(t.repo_id, '') FROM tasks t
                      WHERE t.live = '",
            $live,
            "' AND coalesce(t.assigned_to, '') = grouped.owner AND t.task_type = grouped.task_type
                        AND coalesce(t.repo_id, '') > grouped.repo
                      ORDER BY coalesce(t.repo_id, '') LIMIT 1)
                   FROM grouped WHERE grouped.repo IS NOT NULL)
             SELECT '",
            $live,
            "' = 'later' AS later, owner, task_type, repo FROM grouped
              WHERE repo IS NOT NULL AND repo <> ALL ($4)
                AND NOT EXISTS (SELECT FROM repos r WHERE r.id = grouped.repo AND r.status IN ('paused', 'archived'))"
        )
    };
}

impl Store {
    /// As many of the oldest as the claim says, then the most urgent.
    pub(super) async fn pick_started(
        &self,
        tx: &mut PgConnection,
        taking: &mut Taking<'_>,
        paused: &Paused,
    ) -> Result<()> {
        if taking.slots() == 0 || taking.rooms.is_full() {
            return Ok(());
        }
        let groups = self.groups(tx, taking, paused).await?;
        let mut seen = Vec::new();
        let oldest = taking.slots().min(taking.claim.oldest as usize);
        for (order, want) in [(Order::Age, oldest), (Order::Urgency, usize::MAX)] {
            let want = want.min(taking.slots());
            if want > 0 && !groups.is_empty() {
                self.walk_groups(tx, taking, &groups, order, want, &mut seen)
                    .await?;
            }
        }
        Ok(())
    }

    /// Those that have something pending and may have room.
    async fn groups(
        &self,
        tx: &mut PgConnection,
        taking: &Taking<'_>,
        paused: &Paused,
    ) -> Result<Vec<Group>> {
        let doing = "claim tasks";
        let (mut types, mut repos) = taking.rooms.full();
        types.extend(paused.types.iter().cloned());
        repos.extend(paused.repos.iter().cloned());
        let rows = self
            .query(concat!(
                "(",
                groups!("pending"),
                ") UNION ALL (",
                groups!("later"),
                ")"
            ))
            .bind(&taking.claim.agents)
            .bind(taking.claim.types())
            .bind(&types)
            .bind(&repos)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                Ok(Group {
                    owner: row.try_get("owner")?,
                    task_type: row.try_get("task_type")?,
                    repo: row.try_get("repo")?,
                    later: row.try_get("later")?,
                })
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }

    /// Takes up to `want` tasks in an order, each while its group has room. `seen` are those that were taken or could not be.
    async fn walk_groups(
        &self,
        tx: &mut PgConnection,
        taking: &mut Taking<'_>,
        groups: &[Group],
        order: Order,
        want: usize,
        seen: &mut Vec<String>,
    ) -> Result<()> {
        let mut walk = Walk::new(groups.len());
        // Enough for all if they are evenly spread; a group that has more of the first is read again.
        let asked = (2 * want).div_ceil(groups.len()).min(want);
        for later in [false, true] {
            let which: Vec<usize> = (0..groups.len())
                .filter(|at| groups.get(*at).is_some_and(|group| group.later == later))
                .collect();
            let heads = self.heads(tx, taking, groups, &which, order, asked, seen).await?;
            for (group, heads) in which.into_iter().zip(heads) {
                walk.fill(group, asked, heads);
            }
        }
        let enough = taking.ids.len() + want;
        while taking.ids.len() < enough {
            let mut chosen: Vec<Candidate> = Vec::new();
            while taking.ids.len() + chosen.len() < enough {
                let has_room = |group: usize| {
                    groups
                        .get(group)
                        .is_some_and(|group| taking.rooms.room(&group.task_type, group.repo_id()) > 0)
                };
                match walk.next(has_room) {
                    Next::Task(task) => {
                        taking.rooms.take(&task.task_type, task.repo_id.as_deref());
                        seen.push(task.id.clone());
                        chosen.push(task);
                    }
                    Next::Dry(group, asked) => {
                        let heads = self
                            .heads(tx, taking, groups, &[group], order, asked, seen)
                            .await?;
                        for heads in heads {
                            walk.fill(group, asked, heads);
                        }
                    }
                    Next::End => break,
                }
            }
            if chosen.is_empty() {
                break;
            }
            let locked = self.lock_candidates(tx, taking, &chosen).await?;
            // Somebody else is at the others, so their places are free for the next ones.
            for task in chosen.iter().filter(|task| !locked.contains(&task.id)) {
                taking.rooms.give_back(&task.task_type, task.repo_id.as_deref());
            }
            walk.look_again();
            taking.ids.extend(locked);
        }
        Ok(())
    }

    /// The first `asked` tasks of each of these groups that are not among `seen`, in order. All or none of them are of later.
    #[allow(clippy::too_many_arguments, reason = "one statement's parameters")]
    async fn heads(
        &self,
        tx: &mut PgConnection,
        taking: &Taking<'_>,
        groups: &[Group],
        which: &[usize],
        order: Order,
        asked: usize,
        seen: &[String],
    ) -> Result<Vec<Vec<(Place, Candidate)>>> {
        let doing = "claim tasks";
        let groups: Vec<&Group> = which.iter().filter_map(|at| groups.get(*at)).collect();
        let owners: Vec<&str> = groups.iter().map(|group| group.owner.as_str()).collect();
        let types: Vec<&str> = groups.iter().map(|group| group.task_type.as_str()).collect();
        let repos: Vec<&str> = groups.iter().map(|group| group.repo.as_str()).collect();
        let Some(first) = groups.first() else {
            return Ok(Vec::new());
        };
        // What is not due yet is walked past in no index: of `later` each priority is looked up by itself.
        let sql = match (order, first.later) {
            (Order::Urgency, false) => heads!(
                "pending",
                "(SELECT) AS one",
                "",
                "created_at",
                "priority DESC, since"
            ),
            (Order::Age, false) => heads!(
                "pending",
                "generate_series(1, 10) AS level",
                "AND t.priority = level",
                "created_at",
                "since"
            ),
            (Order::Urgency, true) => heads!(
                "later",
                "generate_series(1, 10) AS level",
                "AND t.priority = level",
                "run_at",
                "priority DESC, since"
            ),
            (Order::Age, true) => heads!(
                "later",
                "generate_series(1, 10) AS level",
                "AND t.priority = level",
                "run_at",
                "since"
            ),
        };
        let rows = self
            .query(sql)
            .bind(&owners)
            .bind(&types)
            .bind(&repos)
            .bind(i64::try_from(asked).unwrap_or(i64::MAX))
            .bind(seen)
            .bind(&taking.resumable)
            .fetch_all(tx)
            .await
            .doing(doing)?;
        let mut heads = vec![Vec::new(); groups.len()];
        for row in &rows {
            let read = || -> sqlx::Result<_> {
                let at: i64 = row.try_get("at")?;
                let place = order.place(row.try_get("priority")?, row.try_get("since")?);
                Ok((at, place, row.try_get("id")?, row.try_get("repo_id")?))
            };
            let (at, place, id, repo_id) = read().doing(doing)?;
            let at = usize::try_from(at - 1).unwrap_or_default();
            if let (Some(group), Some(heads)) = (groups.get(at), heads.get_mut(at)) {
                let task_type = group.task_type.clone();
                heads.push((
                    place,
                    Candidate {
                        id,
                        task_type,
                        repo_id,
                    },
                ));
            }
        }
        Ok(heads)
    }
}
