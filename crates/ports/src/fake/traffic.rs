use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use domain::{Error, Idem, Result};

use super::Faults;
use crate::{Granularity, Mark, RouteRef, Share, Traffic, TrafficRouter};

/// Routes in memory. Clones share one world.
#[derive(Clone, Debug, Default)]
pub struct FakeRouter {
    world: Arc<Mutex<World>>,
    faults: Faults<RouterOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouterOp {
    Granularity,
    Read,
    Set,
}

#[derive(Debug, Default)]
struct World {
    routes: HashMap<RouteRef, Route>,
    /// Every share that was set anew, in order.
    effects: Vec<Share>,
    writes_denied: bool,
    made: u64,
}

#[derive(Debug)]
struct Route {
    granularity: Granularity,
    candidate: Share,
    mark: Mark,
    /// What else stands in the same object.
    foreign: String,
}

impl FakeRouter {
    pub fn new() -> Self {
        Self::default()
    }

    /// A route that sends everything to the stable side, with something of somebody else's beside it.
    pub fn add_route(&self, at: &RouteRef, granularity: Granularity) {
        let mut world = self.world();
        let route = Route {
            granularity,
            candidate: Share { part: 0, of: 1 },
            mark: world.mark(),
            foreign: format!("somebody else's part of {}", at.name),
        };
        world.routes.insert(at.clone(), route);
    }

    /// Somebody else parts the traffic anew.
    pub fn meddle(&self, at: &RouteRef, candidate: Share) {
        let mut world = self.world();
        let mark = world.mark();
        if let Some(route) = world.routes.get_mut(at) {
            route.candidate = candidate;
            route.mark = mark;
        }
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn faults(&self) -> &Faults<RouterOp> {
        &self.faults
    }

    /// The shares that were set, in order; setting what is set already is none.
    pub fn effects(&self) -> Vec<Share> {
        self.world().effects.clone()
    }

    /// What the candidate gets now.
    pub fn share(&self, at: &RouteRef) -> Option<Share> {
        self.world().routes.get(at).map(|route| route.candidate)
    }

    pub fn foreign(&self, at: &RouteRef) -> Option<String> {
        self.world().routes.get(at).map(|route| route.foreign.clone())
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, op: RouterOp, effect: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        self.faults.around(op, || effect(&mut self.world())).await
    }
}

impl World {
    fn mark(&mut self) -> Mark {
        self.made += 1;
        Mark(format!("{}", self.made))
    }

    fn route(&mut self, at: &RouteRef) -> Result<&mut Route> {
        self.routes
            .get_mut(at)
            .ok_or_else(|| Error::not_found(format!("there is no route {} in {}", at.name, at.target)))
    }

    fn set(&mut self, at: &RouteRef, percent: u32, seen: &Mark) -> Result<Traffic> {
        let (denied, mark) = (self.writes_denied, self.mark());
        let route = self.route(at)?;
        let wanted = match route.granularity.nearest(percent) {
            Some(share) if percent <= 100 => share,
            _ => {
                return Err(Error::invalid(format!(
                    "{} cannot send {percent} % to the candidate",
                    at.name
                )));
            }
        };
        if route.candidate.percent() != wanted.percent() {
            if denied {
                return Err(Error::denied(format!("{} may not be changed by us", at.name)));
            }
            if route.mark != *seen {
                return Err(Error::conflict(format!(
                    "the traffic of {} was parted anew by somebody else",
                    at.name
                )));
            }
            route.candidate = wanted;
            route.mark = mark;
            self.effects.push(wanted);
        }
        self.read(at)
    }

    fn read(&mut self, at: &RouteRef) -> Result<Traffic> {
        let route = self.route(at)?;
        Ok(Traffic {
            candidate: route.candidate,
            mark: route.mark.clone(),
        })
    }
}

#[async_trait]
impl TrafficRouter for FakeRouter {
    async fn granularity(&self, at: &RouteRef) -> Result<Granularity> {
        self.call(RouterOp::Granularity, |world| Ok(world.route(at)?.granularity))
            .await
    }

    async fn read(&self, at: &RouteRef) -> Result<Traffic> {
        self.call(RouterOp::Read, |world| world.read(at)).await
    }

    async fn set(&self, at: &RouteRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Traffic> {
        self.call(RouterOp::Set, |world| world.set(at, percent, seen))
            .await
    }
}
