use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Error, TaskId};
use serde_json::{Value, json};

/// The world outside: things that stand in it, and who uses what. Clones share it.
#[derive(Clone, Default)]
pub struct Outside(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    things: BTreeMap<String, Thing>,
    tries: HashMap<String, u32>,
    parents: HashMap<TaskId, TaskId>,
    users: BTreeMap<String, Vec<TaskId>>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Thing {
    stands: bool,
    /// How often it was added by an effect that may happen once.
    added: u32,
}

impl Outside {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wants that a thing stands. May be repeated.
    pub fn put(&self, thing: &str) {
        self.inner().things.entry(thing.to_owned()).or_default().stands = true;
    }

    /// Adds a thing. May not be repeated.
    pub fn add(&self, thing: &str) {
        let mut inner = self.inner();
        let entry = inner.things.entry(thing.to_owned()).or_default();
        entry.stands = true;
        entry.added += 1;
        if entry.added > 1 {
            inner.wrong.push(format!("{thing} was added twice"));
        }
    }

    pub fn was_added(&self, thing: &str) -> bool {
        self.inner()
            .things
            .get(thing)
            .is_some_and(|thing| thing.added > 0)
    }

    pub fn remove(&self, thing: &str) {
        if let Some(thing) = self.inner().things.get_mut(thing) {
            thing.stands = false;
        }
    }

    pub fn stands(&self, thing: &str) -> bool {
        self.inner().things.get(thing).is_some_and(|thing| thing.stands)
    }

    /// Refuses the first `times` tries of something.
    pub fn refuse(&self, what: &str, times: u32) -> Result<(), Error> {
        let mut inner = self.inner();
        let tries = inner.tries.entry(what.to_owned()).or_default();
        if *tries < times {
            *tries += 1;
            return Err(Error::unavailable(format!("{what} is not to be had")));
        }
        Ok(())
    }

    pub fn born(&self, task: &TaskId, parent: Option<&TaskId>) {
        if let Some(parent) = parent {
            self.inner().parents.insert(task.clone(), parent.clone());
        }
    }

    /// Uses a resource that one family of tasks may use at a time.
    pub fn r#use(&self, resource: &str, task: &TaskId) {
        let mut inner = self.inner();
        let root = inner.root(task);
        let users = inner.users.get(resource).cloned().unwrap_or_default();
        if let Some(other) = users.iter().find(|user| inner.root(user) != root) {
            let wrong = format!("{task} uses {resource} while {other} does");
            inner.wrong.push(wrong);
        }
        if !users.contains(task) {
            inner
                .users
                .entry(resource.to_owned())
                .or_default()
                .push(task.clone());
        }
    }

    pub fn leave(&self, task: &TaskId) {
        self.inner()
            .users
            .values_mut()
            .for_each(|users| users.retain(|user| user != task));
    }

    /// Rules of the world that were broken.
    pub fn wrong(&self) -> Vec<String> {
        self.inner().wrong.clone()
    }

    /// What stands, and what went wrong.
    pub fn fingerprint(&self) -> Value {
        let inner = self.inner();
        let standing: Vec<_> = inner
            .things
            .iter()
            .filter(|(_, thing)| thing.stands)
            .map(|(name, _)| name)
            .collect();
        let map: BTreeMap<_, _> = standing.into_iter().map(|name| (name, true)).collect();
        json!({"stands": map, "wrong": inner.wrong})
    }
}

impl Inner {
    fn root(&self, task: &TaskId) -> TaskId {
        let mut root = task;
        while let Some(parent) = self.parents.get(root) {
            root = parent;
        }
        root.clone()
    }
}
