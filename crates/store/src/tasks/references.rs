//! What new tasks name: repositories and parents, looked up for all of them at once.

use std::collections::{HashMap, HashSet};

use domain::{NewTask, Result, TaskId};
use sqlx::{PgConnection, Row};

use super::create::{cycle_of_parents, no_such_parent, no_such_repo};
use super::create_many::NotMade;
use crate::Store;
use crate::error::SqlResult;

const DOING: &str = "check what the tasks name";

impl Store {
    /// What the first of the tasks in these places names that is not there, or not as it should be.
    pub(super) async fn check_references_of(
        &self,
        tx: &mut PgConnection,
        tasks: &[NewTask],
        places: &[usize],
    ) -> Result<(), NotMade> {
        let of = |place: &usize| &tasks[*place];
        let repos: HashSet<&str> = places.iter().filter_map(|p| of(p).repo_id.as_deref()).collect();
        let parents: HashSet<&str> = places.iter().filter_map(|p| parent(of(p))).collect();
        let repos = self.known_repos(tx, &Vec::from_iter(repos)).await?;
        let mut lines = Lines(self.lines_of(tx, &Vec::from_iter(parents)).await?, HashSet::new());
        for place in places {
            let task = of(place);
            if let Some(repo) = task.repo_id.as_deref().filter(|id| !repos.contains(*id)) {
                return Err(NotMade::at(*place, "repo_id", no_such_repo(repo)));
            }
            let Some(parent) = parent(task) else { continue };
            let error = match lines.look(parent) {
                Line::Ends => continue,
                Line::Missing => no_such_parent(parent),
                Line::Loops(way) => cycle_of_parents(&way),
            };
            return Err(NotMade::at(*place, "parent_task_id", error));
        }
        Ok(())
    }

    async fn known_repos(&self, tx: &mut PgConnection, ids: &[&str]) -> Result<HashSet<String>> {
        if ids.is_empty() {
            return Ok(HashSet::new());
        }
        let rows = self
            .query("SELECT id FROM repos WHERE id = ANY ($1)")
            .bind(ids)
            .fetch_all(tx)
            .await
            .doing(DOING)?;
        let ids = rows.iter().map(|row| row.try_get("id"));
        ids.collect::<Result<_, sqlx::Error>>().doing(DOING)
    }

    /// The tasks and all above them, each with its parent.
    async fn lines_of(&self, tx: &mut PgConnection, ids: &[&str]) -> Result<HashMap<String, Option<String>>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self
            .query(
                // OFFSET 0: each parent is looked up, however many the planner expects and would rather read the table for.
                "WITH RECURSIVE line AS (
                     SELECT t.id, t.parent_task_id FROM tasks t WHERE t.id = ANY ($1)
                     UNION
                     SELECT above.id, above.parent_task_id
                       FROM line CROSS JOIN LATERAL (SELECT t.id, t.parent_task_id FROM tasks t
                                                      WHERE t.id = line.parent_task_id OFFSET 0) AS above
                 )
                 SELECT id, parent_task_id FROM line",
            )
            .bind(ids)
            .fetch_all(tx)
            .await
            .doing(DOING)?;
        rows.iter()
            .map(|row| Ok((row.try_get("id")?, row.try_get("parent_task_id")?)))
            .collect::<Result<_, sqlx::Error>>()
            .doing(DOING)
    }
}

fn parent(task: &NewTask) -> Option<&str> {
    task.parent.as_ref().map(TaskId::as_str)
}

/// Parents of tasks, and of which of these it is known that the line above them ends.
struct Lines(HashMap<String, Option<String>>, HashSet<String>);

#[derive(Debug, PartialEq)]
enum Line {
    Ends,
    Missing,
    Loops(String),
}

impl Lines {
    fn look(&mut self, start: &str) -> Line {
        let Self(parents, ending) = self;
        if !parents.contains_key(start) {
            return Line::Missing;
        }
        let (mut way, mut seen) = (Vec::new(), HashSet::new());
        let mut next = Some(start);
        while let Some(id) = next.filter(|id| !ending.contains(*id)) {
            way.push(id);
            if !seen.insert(id) {
                return Line::Loops(way.join(" -> "));
            }
            // A parent that was deleted ends a line, too.
            next = parents.get(id).and_then(Option::as_deref);
        }
        let way: Vec<String> = way.into_iter().map(str::to_owned).collect();
        ending.extend(way);
        Line::Ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_parents_ends_or_loops_wherever_one_begins() {
        let parents = [
            ("child", Some("root")),
            ("root", None),
            ("orphan", Some("deleted")),
            ("tail", Some("a")),
            ("a", Some("b")),
            ("b", Some("a")),
        ];
        let known = parents.map(|(id, parent)| (id.to_owned(), parent.map(str::to_owned)));
        let mut lines = Lines(HashMap::from(known), HashSet::new());
        for _ in 0..2 {
            assert_eq!(lines.look("child"), Line::Ends);
            assert_eq!(lines.look("root"), Line::Ends);
            assert_eq!(lines.look("orphan"), Line::Ends);
            assert_eq!(lines.look("nobody"), Line::Missing);
            assert_eq!(lines.look("tail"), Line::Loops("tail -> a -> b -> a".to_owned()));
        }
    }
}
