use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Idem, RepoRef, Result};

use super::Faults;
use crate::{Commit, Environments, NewRecord, RecordRef, RecordStatus};

/// A forge's environments in memory. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeEnvironments {
    world: Arc<Mutex<World>>,
    faults: Faults<EnvironmentOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnvironmentOp {
    Commit,
    Create,
    Find,
    Update,
}

#[derive(Debug, Default)]
struct World {
    commits: HashMap<(RepoRef, String), Commit>,
    records: Vec<Kept>,
    writes_denied: bool,
}

#[derive(Debug)]
struct Kept {
    repo: RepoRef,
    at: RecordRef,
    what: NewRecord,
    /// Every status that it had, in order.
    statuses: Vec<RecordStatus>,
}

impl FakeEnvironments {
    pub fn new() -> Self {
        Self::default()
    }

    /// A commit, under the name that it will be asked by.
    pub fn add_commit(&self, repo: &RepoRef, commit: Commit) {
        let key = (repo.clone(), commit.git_ref.clone());
        self.world().commits.insert(key, commit);
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn faults(&self) -> &Faults<EnvironmentOp> {
        &self.faults
    }

    /// Every record in the order of making: its environment, its commit and the statuses that it had.
    pub fn records(&self) -> Vec<(String, String, Vec<RecordStatus>)> {
        let world = self.world();
        let told = |kept: &Kept| {
            (
                kept.what.environment.clone(),
                kept.what.sha.clone(),
                kept.statuses.clone(),
            )
        };
        world.records.iter().map(told).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, op: EnvironmentOp, effect: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        self.faults.around(op, || effect(&mut self.world())).await
    }
}

impl World {
    fn may_write(&self, repo: &RepoRef) -> Result<()> {
        match self.writes_denied {
            true => Err(Error::denied(format!(
                "deployments of {} may not be written by us",
                repo.project
            ))),
            false => Ok(()),
        }
    }

    fn create(&mut self, repo: &RepoRef, record: &NewRecord) -> Result<RecordRef> {
        self.may_write(repo)?;
        let has_commit =
            |((of, _), commit): (&(RepoRef, String), &Commit)| of == repo && commit.sha == record.sha;
        if !self.commits.iter().any(has_commit) {
            return Err(Error::invalid(format!(
                "there is no commit {} in {}",
                record.sha, repo.project
            )));
        }
        let id = self.records.len() as u64 + 1;
        let at = RecordRef {
            id,
            environment: record.environment.clone(),
            url: Some(format!("https://forge.example/{}/deployments/{id}", repo.project)),
        };
        self.records.push(Kept {
            repo: repo.clone(),
            at: at.clone(),
            what: record.clone(),
            statuses: vec![record.status],
        });
        Ok(at)
    }

    fn find(&self, repo: &RepoRef, record: &NewRecord) -> Option<RecordRef> {
        let ours = |kept: &&Kept| {
            kept.repo == *repo
                && kept.what.environment == record.environment
                && kept.what.sha == record.sha
                && kept.statuses.last().is_none_or(|status| !status.is_over())
        };
        self.records.iter().rev().find(ours).map(|kept| kept.at.clone())
    }

    fn update(&mut self, repo: &RepoRef, at: &RecordRef, status: RecordStatus) -> Result<()> {
        self.may_write(repo)?;
        let kept = self
            .records
            .iter_mut()
            .find(|kept| kept.repo == *repo && kept.at.id == at.id);
        let kept = kept.ok_or_else(|| Error::not_found(format!("there is no deployment {}", at.id)))?;
        if kept.statuses.last() != Some(&status) {
            kept.statuses.push(status);
        }
        Ok(())
    }
}

#[async_trait]
impl Environments for FakeEnvironments {
    async fn commit(&self, repo: &RepoRef, name: &str) -> Result<Option<Commit>> {
        let key = (repo.clone(), name.to_owned());
        self.call(EnvironmentOp::Commit, |world| {
            Ok(world.commits.get(&key).cloned())
        })
        .await
    }

    fn comparison(&self, repo: &RepoRef, from: &str, to: &str) -> Option<String> {
        Some(format!(
            "https://forge.example/{}/compare/{from}...{to}",
            repo.project
        ))
    }

    async fn create(&self, repo: &RepoRef, record: &NewRecord, _: &Idem) -> Result<RecordRef> {
        self.call(EnvironmentOp::Create, |world| world.create(repo, record))
            .await
    }

    async fn find(&self, repo: &RepoRef, record: &NewRecord, _: &Idem) -> Result<Option<RecordRef>> {
        self.call(EnvironmentOp::Find, |world| Ok(world.find(repo, record)))
            .await
    }

    async fn update(&self, repo: &RepoRef, record: &RecordRef, status: RecordStatus) -> Result<()> {
        self.call(EnvironmentOp::Update, |world| world.update(repo, record, status))
            .await
    }
}
