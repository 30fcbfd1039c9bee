use std::collections::{HashMap, HashSet};

use sqlx::{PgConnection, Row};

use crate::Store;

/// The row is over and nothing of it will change.
macro_rules! is_over {
    ($t:literal) => {
        concat!(
            "(",
            $t,
            ".status IN ('completed', 'failed') OR ",
            $t,
            ".status = 'cancelled' AND ",
            $t,
            ".worker_id IS NULL AND ",
            $t,
            ".wait IS NULL)"
        )
    };
}

/// A worker of ours ran the row, or nobody ever did. What another program ran under our name is not ours to delete, nor
/// what stood in the table before us.
macro_rules! run_by_us {
    ($t:literal) => {
        concat!(
            "(",
            $t,
            ".attempt > 0 OR ",
            $t,
            ".status = 'cancelled' AND ",
            $t,
            ".claimed_at IS NULL)"
        )
    };
}

/// Levels that are looked up above a task.
const DEEPEST: usize = 1000;

/// Some trees.
#[derive(Default)]
struct Trees {
    /// Each task, with the root of its tree.
    roots: HashMap<String, String>,
    /// A tree, and one that hangs below it on another agent's task: the first does not go without the second.
    below: HashSet<(String, String)>,
}

impl Trees {
    /// The trees that stay because a tree below them does.
    fn spread(&self, stay: &mut HashSet<String>) {
        loop {
            let more: Vec<String> = self
                .below
                .iter()
                .filter(|(upper, lower)| stay.contains(lower) && !stay.contains(upper))
                .map(|(upper, _)| upper.clone())
                .collect();
            if more.is_empty() {
                return;
            }
            stay.extend(more);
        }
    }
}

// Ids are handed from statement to statement: whatever Postgres guesses of the table's rows, each is found by an index.
impl Store {
    /// Deletes the trees that begin at one of `seen` and may go; answers how many tasks went.
    pub(super) async fn delete_trees(
        &self,
        tx: &mut PgConnection,
        seen: &[String],
        agents: &[String],
        keep: f64,
    ) -> Result<u64, sqlx::Error> {
        let roots = self.roots(tx, seen, agents, keep).await?;
        let roots = self.below_what_is_over(tx, roots).await?;
        if roots.is_empty() {
            return Ok(0);
        }
        let mut trees = Trees {
            roots: roots.iter().map(|id| (id.clone(), id.clone())).collect(),
            ..Trees::default()
        };
        let mut level = roots;
        while !level.is_empty() {
            level = self.grow(tx, &mut trees, &level).await?;
        }
        let all: Vec<String> = trees.roots.keys().cloned().collect();
        // Locked first, in id order, and judged then: one that is tried again at this moment stays, and its tree with it.
        self.query("SELECT FROM tasks WHERE id = ANY ($1) AND assigned_to = ANY ($2) ORDER BY id FOR UPDATE")
            .bind(&all)
            .bind(agents)
            .execute(&mut *tx)
            .await?;
        let mut stay: HashSet<String> = HashSet::new();
        for child in self.grow(tx, &mut trees, &all).await? {
            stay.extend(trees.roots.get(&child).cloned());
        }
        let rows = self
            .query(concat!(
                "SELECT t.id, t.assigned_to = ANY ($3) AND ",
                run_by_us!("t"),
                " AS ours, ",
                is_over!("t"),
                " AND coalesce(t.completed_at, t.created_at) < longshore.utc_now() - make_interval(secs => $2)
                  AND NOT EXISTS (SELECT FROM longshore.ticket_outbox o
                                   WHERE o.task_id = t.id AND (o.due_at IS NOT NULL OR o.sweep_at IS NOT NULL) OFFSET 0) AS may_go
                   FROM tasks t WHERE t.id = ANY ($1)"
            ))
            .bind(&all)
            .bind(keep)
            .bind(agents)
            .fetch_all(&mut *tx)
            .await?;
        let mut ours = Vec::new();
        let bound = self.is_bound(tx).await?;
        for row in &rows {
            let id: String = row.try_get("id")?;
            let is_ours = row.try_get::<Option<bool>, _>("ours")? == Some(true);
            if !row.try_get::<bool, _>("may_go")? || (bound && !is_ours) {
                stay.extend(trees.roots.get(&id).cloned());
            }
            if is_ours {
                ours.push(id);
            }
        }
        trees.spread(&mut stay);
        ours.retain(|id| trees.roots.get(id).is_some_and(|root| !stay.contains(root)));
        for forget in [
            "DELETE FROM tasks WHERE id = ANY ($1)",
            "DELETE FROM longshore.task_steps WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.task_events WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.ticket_outbox WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.signals WHERE task_id = ANY ($1)",
            "DELETE FROM longshore.resource_locks WHERE task_id = ANY ($1)",
        ] {
            self.query(forget).bind(&ours).execute(&mut *tx).await?;
        }
        Ok(ours.len() as u64)
    }

    /// Whether a foreign key of somebody else's ties children to their parents, so that deleting ours would change or
    /// delete theirs.
    async fn is_bound(&self, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let row = self
            .query(
                "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND conrelid = 'tasks'::regclass
                                   AND confrelid = 'tasks'::regclass) AS bound",
            )
            .fetch_one(tx)
            .await?;
        row.try_get("bound")
    }

    /// Those of `seen` that are ours and over for long, and whose parent is not ours, each with that parent.
    async fn roots(
        &self,
        tx: &mut PgConnection,
        seen: &[String],
        agents: &[String],
        keep: f64,
    ) -> Result<Vec<(String, Option<String>)>, sqlx::Error> {
        let rows = self
            .query(concat!(
                "SELECT t.id, t.parent_task_id FROM tasks t
                  WHERE t.id = ANY ($1) AND t.assigned_to = ANY ($2) AND ",
                run_by_us!("t"),
                " AND ",
                is_over!("t"),
                "   AND coalesce(t.completed_at, t.created_at) < longshore.utc_now() - make_interval(secs => $3)
                    AND NOT EXISTS (SELECT FROM tasks p
                                     WHERE p.id = t.parent_task_id AND p.assigned_to = ANY ($2) OFFSET 0)"
            ))
            .bind(seen)
            .bind(agents)
            .bind(keep)
            .fetch_all(tx)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("parent_task_id")?)))
            .collect()
    }

    /// Those of `roots` above which nothing is under way, at whatever distance: that task may yet look at them, though what
    /// stands between is another agent's and over.
    async fn below_what_is_over(
        &self,
        tx: &mut PgConnection,
        roots: Vec<(String, Option<String>)>,
    ) -> Result<Vec<String>, sqlx::Error> {
        // By each task above one of them, those that it is above.
        let mut level: HashMap<String, Vec<String>> = HashMap::new();
        let mut kept: Vec<String> = Vec::new();
        for (root, parent) in roots {
            if let Some(parent) = parent {
                level.entry(parent).or_default().push(root.clone());
            }
            kept.push(root);
        }
        for _ in 0..DEEPEST {
            if level.is_empty() {
                break;
            }
            let ids: Vec<String> = level.keys().cloned().collect();
            let rows = self
                .query(concat!(
                    "SELECT t.id, t.parent_task_id, ",
                    is_over!("t"),
                    " AS over FROM tasks t WHERE t.id = ANY ($1)"
                ))
                .bind(&ids)
                .fetch_all(&mut *tx)
                .await?;
            let mut next: HashMap<String, Vec<String>> = HashMap::new();
            for row in rows {
                let id: String = row.try_get("id")?;
                let below = level.remove(&id).unwrap_or_default();
                if !row.try_get::<bool, _>("over")? {
                    kept.retain(|root| !below.contains(root));
                } else if let Some(parent) = row.try_get::<Option<String>, _>("parent_task_id")? {
                    next.entry(parent).or_default().extend(below);
                }
            }
            level = next;
        }
        // Deeper than anybody builds, or tasks that name each other as parents: what is not known stays.
        kept.retain(|root| level.values().all(|below| !below.contains(root)));
        Ok(kept)
    }

    /// Adds the children of `level` that are not there yet, and answers with them.
    async fn grow(
        &self,
        tx: &mut PgConnection,
        trees: &mut Trees,
        level: &[String],
    ) -> Result<Vec<String>, sqlx::Error> {
        let rows = self
            .query("SELECT id, parent_task_id FROM tasks WHERE parent_task_id = ANY ($1)")
            .bind(level)
            .fetch_all(tx)
            .await?;
        let mut added = Vec::new();
        for row in rows {
            let (id, parent): (String, String) = (row.try_get("id")?, row.try_get("parent_task_id")?);
            let Some(root) = trees.roots.get(&parent).cloned() else {
                continue;
            };
            match trees.roots.get(&id) {
                None => {
                    trees.roots.insert(id.clone(), root);
                    added.push(id);
                }
                Some(own) if *own != root => {
                    trees.below.insert((root, own.clone()));
                }
                Some(_) => {}
            }
        }
        Ok(added)
    }
}
