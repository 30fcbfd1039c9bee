use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Idem, Result};
use serde::Serialize;

use super::Faults;
use crate::{Fleet, Group, Launch, Mark, Revision, RevisionId, RollOut, Side, WorkloadRef};

/// Workloads in memory. Clones share one world, so a test keeps one and hands the other to the code under test.
#[derive(Clone, Debug, Default)]
pub struct FakeFleet {
    world: Arc<Mutex<World>>,
    faults: Faults<FleetOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FleetOp {
    Resolve,
    Observe,
    Revisions,
    RollOut,
    Pause,
    Undo,
    Launch,
    Scale,
    Retire,
}

/// A change that took place, whether its caller heard of it or not.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FleetEffect {
    RolledOut(String),
    Paused(bool),
    Undone(String),
    Launched { version: String, replicas: u32 },
    Scaled { side: Side, replicas: u32 },
    Retired,
}

/// How replicas of a version do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Ready as soon as they are wished for.
    Healthy,
    /// Ready after they were looked at so many times.
    Slow(u32),
    /// Started again and again, never ready.
    Crashing,
}

#[derive(Debug, Default)]
struct World {
    workloads: HashMap<(String, String), Workload>,
    versions: BTreeMap<String, Behaviour>,
    effects: Vec<FleetEffect>,
    calls: Vec<FleetOp>,
    writes_denied: bool,
    made: u64,
}

#[derive(Debug, Default)]
struct Workload {
    stable: Option<Stand>,
    candidate: Option<Stand>,
    /// Newest first.
    revisions: Vec<Revision>,
}

#[derive(Clone, Debug)]
struct Stand {
    version: String,
    replicas: u32,
    mark: Mark,
    paused: bool,
    /// How often it was looked at since the wish.
    looks: u32,
    /// There were replicas of another version before, which go only when new ones are ready.
    replaces: bool,
    broken: bool,
}

impl FakeFleet {
    pub fn new() -> Self {
        Self::default()
    }

    /// A version that can be had. There are no others.
    pub fn add_version(&self, version: &str, behaviour: Behaviour) {
        self.world().versions.insert(version.to_owned(), behaviour);
    }

    /// A workload that can be made, with nothing there yet.
    pub fn add_empty(&self, at: &WorkloadRef) {
        self.world().workloads.insert(key(at), Workload::default());
    }

    /// A workload that has run these versions, oldest first, and runs the last of them.
    pub fn add_running(&self, at: &WorkloadRef, versions: &[&str], replicas: u32) {
        let mut world = self.world();
        let mut workload = Workload::default();
        for version in versions {
            let mark = world.mark();
            workload.came(version, &mark);
            workload.stable = Some(Stand::new(version, replicas, mark, false));
        }
        world.workloads.insert(key(at), workload);
    }

    /// Somebody else wishes for another version on a side, or puts one there.
    pub fn meddle(&self, at: &WorkloadRef, side: Side, version: &str) {
        let mut world = self.world();
        let mark = world.mark();
        if let Some(workload) = world.workloads.get_mut(&key(at)) {
            let replicas = workload.stable.as_ref().map_or(1, |stand| stand.replicas);
            *workload.side(side) = Some(Stand::new(version, replicas, mark, false));
        }
    }

    /// What stands on a side goes away by somebody else's hand.
    pub fn remove(&self, at: &WorkloadRef, side: Side) {
        if let Some(workload) = self.world().workloads.get_mut(&key(at)) {
            *workload.side(side) = None;
        }
    }

    /// No replica on that side is ready from now on.
    pub fn break_side(&self, at: &WorkloadRef, side: Side) {
        if let Some(workload) = self.world().workloads.get_mut(&key(at))
            && let Some(stand) = workload.side(side)
        {
            stand.broken = true;
        }
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn faults(&self) -> &Faults<FleetOp> {
        &self.faults
    }

    /// The changes that took place, in order.
    pub fn effects(&self) -> Vec<FleetEffect> {
        self.world().effects.clone()
    }

    /// Every call so far, whatever came of it.
    pub fn calls(&self) -> Vec<FleetOp> {
        self.world().calls.clone()
    }

    /// Version and replicas of what stands on a side.
    pub fn stands(&self, at: &WorkloadRef, side: Side) -> Option<(String, u32)> {
        let mut world = self.world();
        let stand = world.workloads.get_mut(&key(at))?.side(side).as_ref()?;
        Some((stand.version.clone(), stand.replicas))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, op: FleetOp, effect: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        self.world().calls.push(op);
        self.faults.around(op, || effect(&mut self.world())).await
    }
}

fn key(at: &WorkloadRef) -> (String, String) {
    (at.target.clone(), at.name.clone())
}

impl Workload {
    fn side(&mut self, side: Side) -> &mut Option<Stand> {
        match side {
            Side::Stable => &mut self.stable,
            Side::Candidate => &mut self.candidate,
        }
    }

    /// That version is the newest revision now, under the name that it had before if it had one.
    fn came(&mut self, version: &str, mark: &Mark) {
        let before = self.revisions.iter().position(|known| known.version == version);
        let revision = before.map(|place| self.revisions.remove(place));
        let revision = revision.unwrap_or_else(|| Revision {
            id: RevisionId(format!("revision-{}", mark.0)),
            version: version.to_owned(),
            at: None,
        });
        self.revisions.insert(0, revision);
    }
}

impl Stand {
    fn new(version: &str, replicas: u32, mark: Mark, replaces: bool) -> Self {
        Self {
            version: version.to_owned(),
            replicas,
            mark,
            paused: false,
            looks: 0,
            replaces,
            broken: false,
        }
    }

    fn observe(&mut self, behaviour: Behaviour) -> Group {
        let ready = match behaviour {
            _ if self.broken || self.paused => false,
            Behaviour::Healthy => true,
            Behaviour::Slow(looks) => self.looks >= looks,
            Behaviour::Crashing => false,
        };
        self.looks += 1;
        // What stays of the version before, while one new replica is tried.
        let old = if !ready && self.replaces { self.replicas } else { 0 };
        let updated = if self.replaces && !ready {
            1.min(self.replicas)
        } else {
            self.replicas
        };
        let crashes = behaviour == Behaviour::Crashing && !self.paused;
        Group {
            version: self.version.clone(),
            mark: self.mark.clone(),
            observed: true,
            paused: self.paused,
            wanted: self.replicas,
            total: updated + old,
            updated,
            ready: if ready { self.replicas } else { 0 },
            available: if ready { self.replicas } else { old },
            restarts: if crashes { 3 + self.looks } else { 0 },
            trouble: match crashes {
                true => vec!["back-off restarting a failed replica, exit code 1".to_owned()],
                false => Vec::new(),
            },
        }
    }
}

impl World {
    fn mark(&mut self) -> Mark {
        self.made += 1;
        Mark(format!("{}", self.made))
    }

    fn workload(&mut self, at: &WorkloadRef) -> Result<&mut Workload> {
        self.workloads
            .get_mut(&key(at))
            .ok_or_else(|| Error::not_found(format!("there is no workload {} in {}", at.name, at.target)))
    }

    /// The workload and a new mark, if it may be changed by who last saw `seen` on that side.
    fn writable(
        &mut self,
        at: &WorkloadRef,
        side: Side,
        seen: Option<&Mark>,
    ) -> Result<(Mark, &mut Workload)> {
        if self.writes_denied {
            return Err(Error::denied(format!("{} may not be changed by us", at.name)));
        }
        let mark = self.mark();
        let workload = self.workload(at)?;
        let now = workload.side(side).as_ref().map(|stand| &stand.mark);
        if now != seen {
            return Err(Error::conflict(format!(
                "the {} side of {} was changed by somebody else",
                side.as_str(),
                at.name
            )));
        }
        Ok((mark, workload))
    }

    fn resolve(&self, version: &str) -> Result<String> {
        match self.versions.contains_key(version) {
            true => Ok(version.to_owned()),
            false => Err(Error::not_found(format!("there is no version {version}"))),
        }
    }

    /// The mark of a side if what is wanted of it is there already.
    fn is_there(
        &mut self,
        at: &WorkloadRef,
        side: Side,
        wanted: impl Fn(&Stand) -> bool,
    ) -> Result<Option<Mark>> {
        let stand = self.workload(at)?.side(side).as_ref();
        Ok(stand
            .filter(|stand| wanted(stand))
            .map(|stand| stand.mark.clone()))
    }

    fn roll_out(&mut self, at: &WorkloadRef, wanted: &RollOut, seen: Option<&Mark>) -> Result<Mark> {
        self.resolve(&wanted.version)?;
        if let Some(mark) = self.is_there(at, Side::Stable, |stand| stand.version == wanted.version)? {
            return Ok(mark);
        }
        let (mark, workload) = self.writable(at, Side::Stable, seen)?;
        let before = workload.stable.take();
        let replicas = before.as_ref().map_or(wanted.replicas, |stand| stand.replicas);
        let mut stand = Stand::new(&wanted.version, replicas, mark.clone(), before.is_some());
        stand.paused = before.is_some_and(|before| before.paused);
        workload.stable = Some(stand);
        workload.came(&wanted.version, &mark);
        self.effects.push(FleetEffect::RolledOut(wanted.version.clone()));
        Ok(mark)
    }

    fn pause(&mut self, at: &WorkloadRef, paused: bool, seen: &Mark) -> Result<Mark> {
        if let Some(mark) = self.is_there(at, Side::Stable, |stand| stand.paused == paused)? {
            return Ok(mark);
        }
        let (mark, workload) = self.writable(at, Side::Stable, Some(seen))?;
        if let Some(stand) = &mut workload.stable {
            stand.paused = paused;
            stand.mark = mark.clone();
        }
        self.effects.push(FleetEffect::Paused(paused));
        Ok(mark)
    }

    fn undo(&mut self, at: &WorkloadRef, to: &RevisionId, seen: &Mark) -> Result<Mark> {
        let known = &self.workload(at)?.revisions;
        let place = known.iter().position(|revision| revision.id == *to);
        let place =
            place.ok_or_else(|| Error::not_found(format!("there is no revision {} of {}", to.0, at.name)))?;
        if place == 0
            && let Some(mark) = self.is_there(at, Side::Stable, |stand| !stand.paused)?
        {
            return Ok(mark);
        }
        let (mark, workload) = self.writable(at, Side::Stable, Some(seen))?;
        let revision = workload.revisions.remove(place);
        let replicas = workload.stable.as_ref().map_or(1, |stand| stand.replicas);
        workload.stable = Some(Stand::new(&revision.version, replicas, mark.clone(), true));
        let version = revision.version.clone();
        workload.revisions.insert(0, revision);
        self.effects.push(FleetEffect::Undone(version));
        Ok(mark)
    }

    fn launch(&mut self, at: &WorkloadRef, wanted: &Launch, seen: Option<&Mark>) -> Result<Mark> {
        self.resolve(&wanted.version)?;
        if self.workload(at)?.stable.is_none() {
            return Err(Error::not_found(format!(
                "nothing of {} runs that a version could stand beside",
                at.name
            )));
        }
        let same = |stand: &Stand| stand.version == wanted.version && stand.replicas == wanted.replicas;
        if let Some(mark) = self.is_there(at, Side::Candidate, same)? {
            return Ok(mark);
        }
        let (mark, workload) = self.writable(at, Side::Candidate, seen)?;
        let replaces = workload.candidate.is_some();
        workload.candidate = Some(Stand::new(
            &wanted.version,
            wanted.replicas,
            mark.clone(),
            replaces,
        ));
        self.effects.push(FleetEffect::Launched {
            version: wanted.version.clone(),
            replicas: wanted.replicas,
        });
        Ok(mark)
    }

    fn scale(&mut self, at: &WorkloadRef, side: Side, replicas: u32, seen: &Mark) -> Result<Mark> {
        if let Some(mark) = self.is_there(at, side, |stand| stand.replicas == replicas)? {
            return Ok(mark);
        }
        let (mark, workload) = self.writable(at, side, Some(seen))?;
        if let Some(stand) = workload.side(side) {
            stand.replicas = replicas;
            stand.mark = mark.clone();
        }
        self.effects.push(FleetEffect::Scaled { side, replicas });
        Ok(mark)
    }

    fn retire(&mut self, at: &WorkloadRef, seen: Option<&Mark>) -> Result<()> {
        if self.workload(at)?.candidate.is_none() {
            return Ok(());
        }
        let (_, workload) = self.writable(at, Side::Candidate, seen)?;
        workload.candidate = None;
        self.effects.push(FleetEffect::Retired);
        Ok(())
    }
}

#[async_trait]
impl Fleet for FakeFleet {
    async fn resolve(&self, at: &WorkloadRef, version: &str) -> Result<String> {
        self.call(FleetOp::Resolve, |world| {
            world.workload(at)?;
            world.resolve(version)
        })
        .await
    }

    async fn observe(&self, at: &WorkloadRef, side: Side) -> Result<Option<Group>> {
        self.call(FleetOp::Observe, |world| {
            let versions = world.versions.clone();
            let Some(stand) = world.workload(at)?.side(side) else {
                return Ok(None);
            };
            let behaviour = versions.get(&stand.version).copied();
            Ok(Some(stand.observe(behaviour.unwrap_or(Behaviour::Healthy))))
        })
        .await
    }

    async fn revisions(&self, at: &WorkloadRef) -> Result<Vec<Revision>> {
        self.call(FleetOp::Revisions, |world| {
            Ok(world.workload(at)?.revisions.clone())
        })
        .await
    }

    async fn roll_out(
        &self,
        at: &WorkloadRef,
        wanted: &RollOut,
        seen: Option<&Mark>,
        _: &Idem,
    ) -> Result<Mark> {
        self.call(FleetOp::RollOut, |world| world.roll_out(at, wanted, seen))
            .await
    }

    async fn pause(&self, at: &WorkloadRef, paused: bool, seen: &Mark, _: &Idem) -> Result<Mark> {
        self.call(FleetOp::Pause, |world| world.pause(at, paused, seen))
            .await
    }

    async fn undo(&self, at: &WorkloadRef, to: &RevisionId, seen: &Mark, _: &Idem) -> Result<Mark> {
        self.call(FleetOp::Undo, |world| world.undo(at, to, seen)).await
    }

    async fn launch(&self, at: &WorkloadRef, wanted: &Launch, seen: Option<&Mark>, _: &Idem) -> Result<Mark> {
        self.call(FleetOp::Launch, |world| world.launch(at, wanted, seen))
            .await
    }

    async fn scale(
        &self,
        at: &WorkloadRef,
        side: Side,
        replicas: u32,
        seen: &Mark,
        _: &Idem,
    ) -> Result<Mark> {
        self.call(FleetOp::Scale, |world| world.scale(at, side, replicas, seen))
            .await
    }

    async fn retire(&self, at: &WorkloadRef, seen: Option<&Mark>, _: &Idem) -> Result<()> {
        self.call(FleetOp::Retire, |world| world.retire(at, seen)).await
    }
}
