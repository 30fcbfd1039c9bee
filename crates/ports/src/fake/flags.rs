use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Idem, Result};

use super::Faults;
use crate::{Flag, FlagRef, FlagStore, Mark};

/// Flags in memory. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeFlags {
    world: Arc<Mutex<World>>,
    faults: Faults<FlagOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlagOp {
    Read,
    Set,
}

#[derive(Debug, Default)]
struct World {
    flags: HashMap<FlagRef, Flag>,
    effects: Vec<u32>,
    writes_denied: bool,
    made: u64,
}

impl FakeFlags {
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a flag, or changes one by somebody else's hand.
    pub fn put(&self, at: &FlagRef, percent: u32) {
        let mut world = self.world();
        let mark = world.mark();
        world.flags.insert(at.clone(), Flag { percent, mark });
    }

    pub fn percent(&self, at: &FlagRef) -> Option<u32> {
        self.world().flags.get(at).map(|flag| flag.percent)
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn faults(&self) -> &Faults<FlagOp> {
        &self.faults
    }

    /// The percentages that were set, in order; setting what is set already is none.
    pub fn effects(&self) -> Vec<u32> {
        self.world().effects.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    fn mark(&mut self) -> Mark {
        self.made += 1;
        Mark(format!("{}", self.made))
    }

    fn read(&self, at: &FlagRef) -> Result<Flag> {
        let flag = self.flags.get(at).cloned();
        flag.ok_or_else(|| Error::not_found(format!("there is no flag {} in {}", at.key, at.store)))
    }

    fn set(&mut self, at: &FlagRef, percent: u32, seen: &Mark) -> Result<Flag> {
        let now = self.read(at)?;
        if percent > 100 {
            return Err(Error::invalid(format!(
                "a flag cannot be on for {percent} % of users"
            )));
        }
        if now.percent == percent {
            return Ok(now);
        }
        if self.writes_denied {
            return Err(Error::denied(format!("flag {} may not be changed by us", at.key)));
        }
        if now.mark != *seen {
            return Err(Error::conflict(format!(
                "flag {} was changed by somebody else",
                at.key
            )));
        }
        let flag = Flag {
            percent,
            mark: self.mark(),
        };
        self.flags.insert(at.clone(), flag.clone());
        self.effects.push(percent);
        Ok(flag)
    }
}

#[async_trait]
impl FlagStore for FakeFlags {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        self.faults.around(FlagOp::Read, || self.world().read(at)).await
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Flag> {
        let effect = || self.world().set(at, percent, seen);
        self.faults.around(FlagOp::Set, effect).await
    }
}
