//! What a keeper writes down of what it keeps, and what people are told of it.

use std::net::IpAddr;

use ports::{Group, Mark, Side};
use serde::{Deserialize, Serialize};

use crate::wishes::Wishes;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// The wishes that the keeper follows.
    pub(crate) stable: Option<Mark>,
    pub(crate) candidate: Option<Mark>,
    pub(crate) replicas: Vec<Replica>,
    /// How many replicas and processes there ever were: their numbers are never given twice.
    pub(crate) made: u64,
    /// The backend of HAProxy whose servers they have.
    #[serde(default)]
    pub(crate) backend: Option<String>,
    /// The launch since which what the candidate's servers weigh is what somebody wished for.
    #[serde(default)]
    pub(crate) launch: Option<u64>,
    /// What concerns no replica alone, newest first.
    pub(crate) trouble: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) id: u64,
    pub(crate) side: Side,
    pub(crate) version: String,
    /// Where its process listens, whatever the configuration has become since.
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
    pub(crate) phase: Phase,
    /// The number of its process.
    pub(crate) run: u64,
    /// Its readiness check is well.
    pub(crate) healthy: bool,
    /// The server of HAProxy that it has.
    pub(crate) slot: Option<String>,
    /// HAProxy sends it requests by its weight. So it is where there is no HAProxy.
    pub(crate) routed: bool,
    pub(crate) restarts: u32,
    pub(crate) trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Running,
    /// It crashed, and is started again after a pause.
    Pausing,
    /// It is to go, and what it has begun comes to its end.
    Draining,
    /// It was told to end.
    Stopping,
}

impl Replica {
    pub(crate) fn goes(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::Stopping)
    }

    pub(crate) fn is_available(&self) -> bool {
        self.phase == Phase::Running && self.healthy && self.routed
    }
}

impl Status {
    /// What stands on a side. `kept` says whether a keeper is at work.
    pub(crate) fn group(&self, wishes: &Wishes, side: Side, kept: bool) -> Option<Group> {
        let all: Vec<_> = self
            .replicas
            .iter()
            .filter(|replica| replica.side == side)
            .collect();
        let wish = wishes.side(side);
        let version = match wish {
            Some(wish) => wish.version.clone(),
            None => all.first()?.version.clone(),
        };
        let count = |which: &dyn Fn(&&&Replica) -> bool| {
            u32::try_from(all.iter().filter(which).count()).unwrap_or(u32::MAX)
        };
        let updated: Vec<_> = all.iter().filter(|r| r.version == version && !r.goes()).collect();
        let mut trouble: Vec<_> = all
            .iter()
            .rev()
            .filter_map(|replica| replica.trouble.clone())
            .collect();
        trouble.extend(self.trouble.iter().cloned());
        if !kept {
            trouble.push("no keeper is at work on this host".to_owned());
        }
        let mark = wish.map_or_else(|| wishes.retired_mark(), |wish| wish.mark());
        let followed = match side {
            Side::Stable => &self.stable,
            Side::Candidate => &self.candidate,
        };
        Some(Group {
            observed: followed.as_ref() == wish.map(|wish| wish.mark()).as_ref(),
            mark,
            paused: wish.is_some_and(|wish| wish.paused),
            wanted: wish.map_or(0, |wish| wish.replicas),
            total: count(&|_| true),
            updated: u32::try_from(updated.len()).unwrap_or(u32::MAX),
            ready: count(&|r| r.version == version && r.is_available()),
            available: count(&|r| r.is_available()),
            restarts: updated.iter().map(|replica| replica.restarts).sum(),
            version,
            trouble,
        })
    }
}
