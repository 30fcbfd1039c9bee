use std::fs;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, Idem, Result};
use ports::{Fleet, Group, Launch, Mark, Revision, RevisionId, RollOut, Side, WorkloadRef};

use crate::begin;
use crate::config::{HostConfig, KeeperCommand, Settings, WorkloadConfig};
use crate::files::{self, Folder, broken};
use crate::logs;
use crate::status::Status;
use crate::systemd::Systemd;
use crate::wishes::Wishes;

/// Versions as processes on this host, each workload's kept by a process of its own.
///
/// What is written here is a wish in the workload's folder. The keeper follows it whether or not the worker runs, and
/// is started anew by the next call here when it is gone; the processes that it kept go on and are taken over.
#[derive(Clone, Debug)]
pub struct HostFleet {
    config: HostConfig,
    keeper: KeeperCommand,
}

/// How long a keeper may take to begin.
const BEGIN: Duration = Duration::from_secs(5);

impl HostFleet {
    pub fn new(config: &HostConfig, keeper: KeeperCommand) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config: config.clone(),
            keeper,
        })
    }

    /// Sees to it that all workloads are kept for which something is wished: to be called when the worker starts, for
    /// the host may have been started anew, and every few seconds from then on. Where all are kept it reads three small
    /// files of each. What goes wrong with one workload keeps no other from being kept; the error tells of all.
    pub async fn revive(&self) -> Result<()> {
        let mut wrong = Vec::new();
        for name in self.config.workloads.keys() {
            if let Err(error) = self.revive_one(name).await {
                wrong.push(error.context(format!("the workload {name} is not kept")));
            }
        }
        match wrong.len() {
            0 | 1 => wrong.pop().map_or(Ok(()), Err),
            number => {
                let all: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                Err(Error::unavailable(format!(
                    "{number} workloads are not kept: {}",
                    all.join("; ")
                )))
            }
        }
    }

    async fn revive_one(&self, name: &str) -> Result<()> {
        let folder = Folder::of(&self.config.state, name);
        match files::read::<Wishes>(&folder.wishes())? {
            Some(wishes) => self.see_it_kept(name, &folder, &wishes).await,
            None => Ok(()),
        }
    }

    /// Nothing of the workload shall run any more, and its keeper shall end. What runs is drained first.
    pub async fn remove(&self, at: &WorkloadRef) -> Result<()> {
        self.change(at, |wishes, _| {
            wishes.remove();
            Ok(())
        })
        .await
    }

    fn workload(&self, at: &WorkloadRef) -> Result<&WorkloadConfig> {
        if let Some(container) = &at.container {
            return Err(Error::invalid(format!(
                "{} runs as processes on {}, which have no container {container}",
                at.name, at.target
            ))
            .next("Leave the container out"));
        }
        self.config.workloads.get(&at.name).ok_or_else(|| {
            let near = domain::nearest(&at.name, self.config.workloads.keys().map(String::as_str));
            let error = Error::not_found(format!("there is no workload {} in {}", at.name, at.target));
            match near {
                Some(near) => error.next(format!("Did you mean {near}?")),
                None => error.next("Add it to the target's `workloads`"),
            }
        })
    }

    /// A version's name, where an alias (a symbolic link beside it) may have been given.
    fn version(&self, at: &WorkloadRef, version: &str) -> Result<String> {
        let versions = &self.workload(at)?.versions;
        let missing = || {
            Error::not_found(format!(
                "there is no version {version} of {} in {}",
                at.name,
                versions.display()
            ))
            .next("Put its folder there first")
        };
        if version.is_empty() || version.starts_with('.') || version.contains(['/', '\0']) {
            return Err(missing());
        }
        let path = versions.join(version);
        let whole = match fs::canonicalize(&path) {
            Ok(whole) if whole.is_dir() => whole,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(broken("read", &path, &error));
            }
            _ => return Err(missing()),
        };
        let beside = fs::canonicalize(versions).is_ok_and(|versions| whole.parent() == Some(&versions));
        let name = whole.file_name().and_then(|name| name.to_str());
        Ok(name.filter(|_| beside).unwrap_or(version).to_owned())
    }

    fn folder(&self, at: &WorkloadRef) -> Result<Folder> {
        self.workload(at)?;
        Ok(Folder::of(&self.config.state, &at.name))
    }

    async fn change<T>(
        &self,
        at: &WorkloadRef,
        wish: impl FnOnce(&mut Wishes, Option<DateTime<Utc>>) -> Result<T>,
    ) -> Result<T> {
        let folder = self.folder(at)?;
        folder.make()?;
        let lock = folder.lock().await?;
        let before: Wishes = files::read(&folder.wishes())?.unwrap_or_default();
        let mut wishes = before.clone();
        let now = touched(&lock);
        let answer = wish(&mut wishes, now)
            .map_err(|error| error.context(format!("could not change {} in {}", at.name, at.target)))?;
        if wishes != before {
            files::write(&folder.wishes(), &wishes)?;
        }
        drop(lock);
        // The wish stands: what goes wrong from here leaves it in doubt whether anybody follows it.
        let kept = self.see_it_kept(&at.name, &folder, &wishes).await;
        kept.map_err(|error| Error {
            kind: domain::ErrorKind::Timeout,
            ..error
        })?;
        Ok(answer)
    }

    /// Tells the keeper the configuration as it is now, and starts one if none is at work and there is something to do.
    async fn see_it_kept(&self, name: &str, folder: &Folder, wishes: &Wishes) -> Result<()> {
        let Some(workload) = self.config.workloads.get(name) else {
            return Ok(());
        };
        let settings = Settings {
            name: name.to_owned(),
            workload: workload.clone(),
            haproxy: self.config.haproxy.clone(),
            systemd: Systemd::of(self.config.supervisor, &self.keeper.runtime_dir),
        };
        // What cannot be read is written anew: nothing in it is anybody's but ours.
        if files::read::<Settings>(&folder.settings())
            .unwrap_or_default()
            .as_ref()
            != Some(&settings)
        {
            let _lock = folder.lock().await?;
            files::write(&folder.settings(), &settings)?;
        }
        let idle = wishes.stable.is_none() && wishes.candidate.is_none() && !has_replicas(folder);
        if idle || folder.is_kept()? {
            return Ok(());
        }
        let failed = |error: Error| {
            error.context(format!(
                "the keeper of {} could not be started",
                folder.path().display()
            ))
        };
        self.start_keeper(folder, &settings).await.map_err(failed)
    }

    async fn start_keeper(&self, folder: &Folder, settings: &Settings) -> Result<()> {
        let said_before = logs::length(&folder.keeper_log());
        match &settings.systemd {
            None => begin::alone(&self.keeper, folder).await?,
            Some(systemd) => begin::as_unit(systemd, &self.keeper, folder, &settings.name).await?,
        }
        let deadline = Instant::now() + BEGIN;
        while !folder.is_kept()? {
            if Instant::now() > deadline {
                let said = logs::last_words(&folder.keeper_log(), said_before);
                let said = said.map_or(String::new(), |line| format!(", and last said: {line}"));
                return Err(Error::unavailable(format!(
                    "it is not at work after {} s{said}",
                    BEGIN.as_secs()
                ))
                .next(format!("See {}", folder.keeper_log().display())));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn look(&self, at: &WorkloadRef) -> Result<(Folder, Wishes)> {
        let folder = self.folder(at)?;
        let wishes = files::read(&folder.wishes())?.unwrap_or_default();
        Ok((folder, wishes))
    }
}

fn has_replicas(folder: &Folder) -> bool {
    let status: Option<Status> = files::read(&folder.status()).unwrap_or_default();
    status.is_some_and(|status| !status.replicas.is_empty())
}

/// What the file's clock says now.
fn touched(mut lock: &fs::File) -> Option<DateTime<Utc>> {
    std::io::Write::write_all(&mut lock, b".").ok()?;
    lock.set_len(0).ok()?;
    Some(lock.metadata().ok()?.modified().ok()?.into())
}

#[async_trait]
impl Fleet for HostFleet {
    async fn resolve(&self, at: &WorkloadRef, version: &str) -> Result<String> {
        self.version(at, version)
    }

    async fn observe(&self, at: &WorkloadRef, side: Side) -> Result<Option<Group>> {
        let (folder, wishes) = self.look(at).await?;
        // A keeper that cannot be started is trouble of what is observed, not of the look.
        let kept = self.see_it_kept(&at.name, &folder, &wishes).await;
        let status: Status = files::read(&folder.status())?.unwrap_or_default();
        let mut group = status.group(&wishes, side, folder.is_kept()?);
        if let (Some(group), Err(error)) = (&mut group, kept) {
            group.trouble.insert(0, error.to_string());
        }
        Ok(group)
    }

    async fn revisions(&self, at: &WorkloadRef) -> Result<Vec<Revision>> {
        Ok(self.look(at).await?.1.revisions)
    }

    async fn roll_out(
        &self,
        at: &WorkloadRef,
        wanted: &RollOut,
        seen: Option<&Mark>,
        _: &Idem,
    ) -> Result<Mark> {
        self.version(at, &wanted.version)?;
        self.change(at, |wishes, now| wishes.roll_out(wanted, seen, now))
            .await
    }

    async fn pause(&self, at: &WorkloadRef, paused: bool, seen: &Mark, _: &Idem) -> Result<Mark> {
        self.change(at, |wishes, _| wishes.pause(paused, seen)).await
    }

    async fn undo(&self, at: &WorkloadRef, to: &RevisionId, seen: &Mark, _: &Idem) -> Result<Mark> {
        let (_, wishes) = self.look(at).await?;
        if let Some(revision) = wishes.revisions.iter().find(|revision| revision.id == *to) {
            self.version(at, &revision.version)?;
        }
        self.change(at, |wishes, now| wishes.undo(to, seen, now)).await
    }

    async fn launch(&self, at: &WorkloadRef, wanted: &Launch, seen: Option<&Mark>, _: &Idem) -> Result<Mark> {
        self.version(at, &wanted.version)?;
        self.change(at, |wishes, _| wishes.launch(wanted, seen)).await
    }

    async fn scale(
        &self,
        at: &WorkloadRef,
        side: Side,
        replicas: u32,
        seen: &Mark,
        _: &Idem,
    ) -> Result<Mark> {
        self.change(at, |wishes, _| wishes.scale(side, replicas, seen))
            .await
    }

    async fn retire(&self, at: &WorkloadRef, seen: Option<&Mark>, _: &Idem) -> Result<()> {
        self.change(at, |wishes, _| wishes.retire(seen)).await
    }
}
