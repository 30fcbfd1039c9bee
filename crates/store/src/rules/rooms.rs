//! How many tasks may still be taken.

use std::collections::HashMap;

use super::{Running, Scope, Stored};

/// What is left of each limit. A task needs a place under every limit that is about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms(HashMap<Scope, i64>);

/// The scopes that a task falls under.
fn of(task_type: &str, repo_id: Option<&str>) -> impl Iterator<Item = Scope> {
    let repo = repo_id.map(|id| Scope::Repo(id.to_owned()));
    [Scope::All, Scope::Type(task_type.to_owned())]
        .into_iter()
        .chain(repo)
}

impl Rooms {
    /// `used` says how many places a group of running tasks takes.
    pub(crate) fn new(rules: &[Stored], running: &[Running], used: impl Fn(&Running) -> i64) -> Self {
        let limits = rules
            .iter()
            .filter_map(|rule| rule.max_running.map(|most| (rule.scope.clone(), i64::from(most))));
        let mut rooms = Self(limits.collect());
        for group in running {
            rooms.change(&group.task_type, group.repo_id.as_deref(), -used(group));
        }
        rooms
    }

    /// How many more tasks of this kind there is room for.
    pub(crate) fn room(&self, task_type: &str, repo_id: Option<&str>) -> i64 {
        of(task_type, repo_id)
            .filter_map(|scope| self.0.get(&scope))
            .min()
            .map_or(i64::MAX, |room| (*room).max(0))
    }

    pub(crate) fn take(&mut self, task_type: &str, repo_id: Option<&str>) {
        self.change(task_type, repo_id, -1);
    }

    pub(crate) fn give_back(&mut self, task_type: &str, repo_id: Option<&str>) {
        self.change(task_type, repo_id, 1);
    }

    fn change(&mut self, task_type: &str, repo_id: Option<&str>, by: i64) {
        for scope in of(task_type, repo_id) {
            if let Some(room) = self.0.get_mut(&scope) {
                *room += by;
            }
        }
    }

    /// No task at all has room.
    pub(crate) fn is_full(&self) -> bool {
        self.0.get(&Scope::All).is_some_and(|room| *room <= 0)
    }

    /// The types without room, and the repositories.
    pub(crate) fn full(&self) -> (Vec<String>, Vec<String>) {
        let (mut types, mut repos) = (Vec::new(), Vec::new());
        for scope in self
            .0
            .iter()
            .filter(|(_, room)| **room <= 0)
            .map(|(scope, _)| scope)
        {
            match scope {
                Scope::All => {}
                Scope::Type(name) => types.push(name.clone()),
                Scope::Repo(id) => repos.push(id.clone()),
            }
        }
        (types, repos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(scope: Scope, most: u32) -> Stored {
        Stored {
            scope,
            max_running: Some(most),
            paused: None,
        }
    }

    #[test]
    fn a_task_takes_a_place_under_each_limit_that_is_about_it() {
        let rules = [
            limit(Scope::Type("deploy".to_owned()), 3),
            limit(Scope::Repo("a".to_owned()), 2),
            limit(Scope::All, 4),
        ];
        let running = [Running {
            task_type: "fix_build".to_owned(),
            repo_id: Some("a".to_owned()),
            alive: 1,
            abandoned: 0,
        }];
        let mut rooms = Rooms::new(&rules, &running, |group| group.alive);
        let seen = |rooms: &Rooms| {
            [
                rooms.room("deploy", Some("a")),
                rooms.room("deploy", Some("b")),
                rooms.room("fix_build", None),
            ]
        };
        assert_eq!(seen(&rooms), [1, 3, 3]);
        rooms.take("deploy", Some("a"));
        assert_eq!(seen(&rooms), [0, 2, 2]);
        assert_eq!(rooms.full(), (vec![], vec!["a".to_owned()]));
        rooms.take("deploy", Some("b"));
        rooms.take("deploy", None);
        assert_eq!(seen(&rooms), [0, 0, 0]);
        assert!(rooms.is_full());
        rooms.give_back("deploy", None);
        assert_eq!(seen(&rooms), [0, 1, 1]);
    }

    #[test]
    fn a_limit_that_was_lowered_below_what_runs_leaves_no_room_and_no_less() {
        let running = [Running {
            task_type: "deploy".to_owned(),
            repo_id: None,
            alive: 5,
            abandoned: 0,
        }];
        let mut rooms = Rooms::new(&[limit(Scope::Type("deploy".to_owned()), 2)], &running, |g| {
            g.alive
        });
        assert_eq!(rooms.room("deploy", None), 0);
        rooms.give_back("deploy", None);
        assert_eq!(rooms.room("deploy", None), 0, "four still run");
        assert_eq!(rooms.room("paint", None), i64::MAX);
    }
}
