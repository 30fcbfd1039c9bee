use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::{Error, Result};
use ports::Side;
use rustix::process::Signal;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::timeout_at;

use super::plan::plan;
use super::port::{free_port, is_free};
use super::process::{Process, Start};
use super::router::{self, Front};
use super::{SOON, ready};
use crate::config::{Settings, WorkloadConfig};
use crate::files::{self, Folder};
use crate::logs::{last_words, shorten_all};
use crate::status::{Phase, Replica, Status};
use crate::wishes::Wishes;

/// So many checks in a row make a ready replica one that is not.
const PATIENCE: u32 = 3;
/// So many looks in a row must find nothing under way: one may come between a request's choice of its server and its
/// being counted there.
const EMPTY_LOOKS: u32 = 2;

/// Most checks are answered at once; a look waits no longer for the others.
const PROMPT: Duration = Duration::from_millis(20);
/// Between two looks whether logs are too long.
const LOGS: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    folder: Folder,
    status: Status,
    written: Option<Status>,
    /// Of a replica in one of its runs. They go on between looks: one that hangs holds up nobody's.
    checks: JoinSet<(u64, u64, Result<(), String>)>,
    shortening: Option<(Instant, JoinHandle<()>)>,
    /// By replica.
    live: HashMap<u64, Live>,
}

/// What is known of a replica as long as this keeper lives.
#[derive(Default)]
struct Live {
    process: Option<Process>,
    /// It goes on between looks: a systemd that hangs holds up nothing else.
    starting: Option<JoinHandle<Result<Process>>>,
    /// Since when it runs, waits, drains or was told to end.
    since: Option<Instant>,
    killed: bool,
    checked: Option<Instant>,
    /// The run whose check is not answered yet.
    checking: Option<u64>,
    failed_checks: u32,
    crashes_in_a_row: u32,
    empty_looks: u32,
}

impl Live {
    fn now_since(&mut self) {
        self.since = Some(Instant::now());
    }

    fn lasts(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Keeper {
    /// Finds again what an earlier keeper started.
    pub(super) fn take_over(folder: Folder, status: Status) -> Self {
        let mut live = HashMap::new();
        for replica in &status.replicas {
            let process = match replica.phase {
                Phase::Pausing => None,
                _ => Process::find(&folder.run(replica.run)),
            };
            let found = Live {
                process,
                since: Some(Instant::now()),
                ..Live::default()
            };
            live.insert(replica.id, found);
        }
        Self {
            folder,
            status,
            written: None,
            checks: JoinSet::new(),
            shortening: None,
            live,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.status.replicas.is_empty()
    }

    /// One look at everything, and one step nearer to what is wished for. Answers whether another is due soon.
    pub(super) async fn tend(
        &mut self,
        wishes: &Wishes,
        settings: &Settings,
        mut trouble: Vec<String>,
    ) -> Result<bool> {
        let workload = &settings.workload;
        self.see_who_began().await;
        self.see_who_ended(workload);
        self.check_readiness(workload).await;
        for side in [Side::Stable, Side::Candidate] {
            let wish = wishes.side(side);
            let pace = wish.and_then(|wish| wish.pace).unwrap_or(workload.pace);
            let of_side: Vec<_> = self.status.replicas.iter().filter(|r| r.side == side).collect();
            let plan = plan(wish, &of_side, pace);
            for id in plan.stop {
                self.let_go(id);
            }
            for version in plan.start {
                if let Err(error) = self.add(side, version, workload) {
                    trouble.push(error.to_string());
                    break;
                }
            }
        }
        self.status.stable = wishes.stable.as_ref().map(|wish| wish.mark());
        self.status.candidate = wishes.candidate.as_ref().map(|wish| wish.mark());
        // Before anything is started under their numbers, they are written down. When they cannot be, on a full disk,
        // nothing is started; what runs is still kept from requests that it cannot answer.
        let begun = match self.write() {
            Ok(()) => self.start(settings).await,
            Err(error) => Err(error),
        };
        let launch = wishes.candidate.as_ref().map(|wish| wish.since);
        if let Err(error) = router::follow(&mut self.status, settings, launch).await {
            trouble.push(error.to_string());
        }
        if let Err(error) = self.stop(settings).await {
            trouble.push(error.to_string());
        }
        self.shorten_logs();
        self.status.trouble = trouble;
        begun?;
        self.write()?;
        let settled = |replica: &Replica| replica.is_available();
        Ok(!self.status.replicas.iter().all(settled) || !self.is_complete(wishes))
    }

    fn is_complete(&self, wishes: &Wishes) -> bool {
        [Side::Stable, Side::Candidate].into_iter().all(|side| {
            let group = self.status.group(wishes, side, true);
            group.is_none_or(|group| group.is_complete() || group.paused)
        })
    }

    fn write(&mut self) -> Result<()> {
        if self.written.as_ref() != Some(&self.status) {
            files::write(&self.folder.status(), &self.status)?;
            self.written = Some(self.status.clone());
        }
        Ok(())
    }

    fn see_who_ended(&mut self, workload: &WorkloadConfig) {
        let folder = &self.folder;
        let live = &mut self.live;
        self.status.replicas.retain_mut(|replica| {
            let known = live.entry(replica.id).or_default();
            if replica.phase == Phase::Pausing || known.starting.is_some() {
                return true;
            }
            let ended = match &mut known.process {
                Some(process) => process.ended(),
                None => Some(None),
            };
            let Some(status) = ended else {
                // It gets no more requests while systemd has yet to tell how it ended.
                replica.healthy &= !known.process.as_ref().is_some_and(Process::is_gone);
                return true;
            };
            let began = known.process.is_some();
            if let Some(process) = known.process.take() {
                // What it started itself and left behind.
                process.signal(Signal::KILL);
            }
            folder.forget(replica.run);
            replica.healthy = false;
            if replica.goes() {
                live.remove(&replica.id);
                return false;
            }
            if known.lasts() > workload.longest_restart_pause.0 {
                known.crashes_in_a_row = 0;
            }
            known.crashes_in_a_row += 1;
            known.now_since();
            replica.phase = Phase::Pausing;
            if !began && replica.trouble.is_some() {
                return true;
            }
            let how = status.map_or("ended".to_owned(), |status| format!("ended with {status}"));
            let said = last_words(&folder.log(&replica.version), 0);
            let said = said.map_or(String::new(), |line| format!(", and last said: {line}"));
            replica.trouble = Some(format!(
                "replica {} of {} {how}{said}",
                replica.id, replica.version
            ));
            true
        });
    }

    /// A copy of megabytes takes its time, so it holds nothing up.
    fn shorten_logs(&mut self) {
        if let Some((begun, at_work)) = &self.shortening
            && (begun.elapsed() < LOGS || !at_work.is_finished())
        {
            return;
        }
        let (folder, and) = (self.folder.logs(), self.folder.keeper_log());
        let at_work = tokio::task::spawn_blocking(move || shorten_all(&folder, &and));
        self.shortening = Some((Instant::now(), at_work));
    }

    /// A ready replica is asked at its interval. A new one is asked again after a quarter of its age, so that it is
    /// seen soon after it is ready, and seldom when it never is.
    async fn check_readiness(&mut self, workload: &WorkloadConfig) {
        let limit = workload.ready_interval.0;
        for replica in self.status.replicas.iter().filter(|r| r.phase == Phase::Running) {
            let Some(known) = self.live.get_mut(&replica.id) else {
                continue;
            };
            let pause = if replica.healthy {
                limit
            } else {
                (known.lasts() / 4).max(SOON).min(limit)
            };
            let fresh = known.checked.is_some_and(|at| at.elapsed() < pause);
            if known.process.is_none() || known.checking.is_some() || fresh {
                continue;
            }
            known.checked = Some(Instant::now());
            known.checking = Some(replica.run);
            let (id, run, address, port) = (replica.id, replica.run, replica.address, replica.port);
            let ready = workload.ready.clone();
            self.checks
                .spawn(async move { (id, run, ready::check(&ready, address, port, limit).await) });
        }
        let deadline = tokio::time::Instant::now() + PROMPT;
        while let Ok(Some(checked)) = timeout_at(deadline, self.checks.join_next()).await {
            let Ok((id, run, seen)) = checked else {
                continue;
            };
            let replica = self.status.replicas.iter_mut().find(|replica| replica.id == id);
            let (Some(replica), Some(known)) = (replica, self.live.get_mut(&id)) else {
                continue;
            };
            // It may have crashed meanwhile, and what is there now be another.
            if known.checking != Some(run) || known.process.is_none() {
                continue;
            }
            known.checking = None;
            match seen {
                Ok(()) => {
                    known.failed_checks = 0;
                    if !replica.healthy {
                        replica.healthy = true;
                        replica.trouble = None;
                    }
                }
                Err(wrong) => {
                    known.failed_checks += 1;
                    if replica.healthy && known.failed_checks >= PATIENCE {
                        replica.healthy = false;
                    }
                    // The first moments of a new one are nobody's trouble.
                    if !replica.healthy && known.lasts() > workload.ready_interval.0 {
                        replica.trouble = Some(format!(
                            "replica {id} of {} is not ready: {wrong}",
                            replica.version
                        ));
                    }
                }
            }
        }
    }

    fn let_go(&mut self, id: u64) {
        let Some(replica) = self.status.replicas.iter_mut().find(|replica| replica.id == id) else {
            return;
        };
        replica.phase = Phase::Draining;
        let known = self.live.entry(id).or_default();
        known.now_since();
        known.empty_looks = 0;
    }

    /// A replica with a port and numbers of its own, to be started.
    fn add(&mut self, side: Side, version: String, workload: &WorkloadConfig) -> Result<()> {
        let address = workload.ip()?;
        let Some(port) = free_port(workload, address, &self.ports()) else {
            let (first, last) = workload.ports;
            return Err(Error::unavailable(format!(
                "no port from {first} to {last} is free for a replica of {version}"
            ))
            .next("Give the workload more ports"));
        };
        self.status.made += 2;
        let id = self.status.made;
        self.status.replicas.push(Replica {
            id,
            side,
            version,
            address,
            port,
            phase: Phase::Pausing,
            run: 0,
            healthy: false,
            slot: None,
            routed: false,
            restarts: 0,
            trouble: None,
        });
        self.live.insert(id, Live::default());
        Ok(())
    }

    fn ports(&self) -> Vec<u16> {
        self.status.replicas.iter().map(|replica| replica.port).collect()
    }

    /// Starts what is due: the new at once, the crashed after their pause.
    async fn start(&mut self, settings: &Settings) -> Result<()> {
        let workload = &settings.workload;
        let before = self.status.clone();
        let mut ports = self.ports();
        let mut due = Vec::new();
        for replica in self
            .status
            .replicas
            .iter_mut()
            .filter(|r| r.phase == Phase::Pausing)
        {
            let known = self.live.entry(replica.id).or_default();
            let doubled = 1 << known.crashes_in_a_row.saturating_sub(1).min(16);
            let pause =
                (workload.restart_pause.0.saturating_mul(doubled)).min(workload.longest_restart_pause.0);
            let is_new = replica.run == 0;
            if !is_new && known.lasts() < pause {
                continue;
            }
            if !is_new {
                replica.restarts += 1;
                replica.address = workload.ip().unwrap_or(replica.address);
                // Somebody else may listen there since it crashed.
                if !is_free(replica.address, replica.port)
                    && let Some(port) = free_port(workload, replica.address, &ports)
                {
                    replica.port = port;
                    ports.push(port);
                }
            }
            self.status.made += 1;
            replica.run = self.status.made;
            replica.phase = Phase::Running;
            due.push(replica.id);
        }
        if let Err(error) = self.write() {
            self.status = before;
            return Err(error);
        }
        for replica in self.status.replicas.iter().filter(|r| due.contains(&r.id)) {
            let start = Start::of(replica, settings, &self.folder);
            let known = self.live.entry(replica.id).or_default();
            (known.checked, known.checking, known.failed_checks) = (None, None, 0);
            known.starting = Some(tokio::spawn(async move { Process::start(&start).await }));
        }
        self.see_who_began().await;
        Ok(())
    }

    async fn see_who_began(&mut self) {
        let deadline = tokio::time::Instant::now() + PROMPT;
        for replica in &mut self.status.replicas {
            let known = self.live.entry(replica.id).or_default();
            let Some(starting) = &mut known.starting else {
                continue;
            };
            let Ok(started) = timeout_at(deadline, starting).await else {
                continue;
            };
            known.starting = None;
            known.now_since();
            let broken = |error: JoinError| Err(Error::internal("a start broke off").because(&error));
            match started.unwrap_or_else(broken) {
                Ok(process) => known.process = Some(process),
                // The next look finds it ended, and starts it again after its pause.
                Err(error) => replica.trouble = Some(error.to_string()),
            }
        }
    }

    /// Lets go further what is to go: drained, told to end, ended.
    async fn stop(&mut self, settings: &Settings) -> Result<()> {
        let workload = &settings.workload;
        let front = Front::of(settings);
        let mut trouble = Ok(());
        for replica in self.status.replicas.iter_mut().filter(|replica| replica.goes()) {
            let known = self.live.entry(replica.id).or_default();
            // Who begins just now cannot be told anything yet.
            if known.starting.is_some() {
                continue;
            }
            if replica.phase == Phase::Draining {
                let mut drained = true;
                if let (Some(front), Some(_)) = (&front, &known.process) {
                    drained = match front.is_drained(replica).await {
                        Ok(empty) => {
                            known.empty_looks = if empty { known.empty_looks + 1 } else { 0 };
                            known.empty_looks >= EMPTY_LOOKS
                        }
                        Err(error) => {
                            trouble = Err(error);
                            false
                        }
                    };
                }
                let late = known.lasts() > workload.drain_limit.0;
                if !drained && !late {
                    continue;
                }
                if let Some(front) = &front
                    && let Err(error) = front.close(replica).await
                {
                    trouble = Err(error);
                    if !late {
                        continue;
                    }
                }
                replica.phase = Phase::Stopping;
                replica.routed = false;
                known.now_since();
                if let Some(process) = &known.process {
                    process.signal(Signal::TERM);
                }
            } else if known.lasts() > workload.stop_grace.0 && !known.killed {
                known.killed = true;
                if let Some(process) = &known.process {
                    process.signal(Signal::KILL);
                }
            }
        }
        trouble
    }
}
