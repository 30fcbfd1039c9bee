//! The outside as handlers reach it: ports by the names that settings use.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Error, nearest};
use ports::{
    Cancels, DeploymentLog, Environments, FlagStore, Fleet, Forge, MetricQuery, Probe, Repos, TrafficRouter,
    WorkloadRef,
};

/// One connection to where workloads run.
#[derive(Clone)]
pub struct Target {
    pub fleet: Arc<dyn Fleet>,
    /// None where nothing parts traffic but replicas.
    pub router: Option<Arc<dyn TrafficRouter>>,
}

#[derive(Clone)]
pub struct Outside {
    /// By the names that environments' settings call them.
    pub targets: BTreeMap<String, Target>,
    pub metrics: Arc<dyn MetricQuery>,
    pub probe: Arc<dyn Probe>,
    pub flags: Arc<dyn FlagStore>,
    pub forge: Arc<dyn Forge>,
    pub environments: Arc<dyn Environments>,
    pub log: Arc<dyn DeploymentLog>,
    pub cancels: Arc<dyn Cancels>,
    /// Other repositories than a task's own, whose services a group brings out too.
    pub repos: Arc<dyn Repos>,
}

impl Outside {
    pub(crate) fn target(&self, name: &str) -> Result<&Target, Error> {
        self.targets.get(name).ok_or_else(|| {
            let names: Vec<&str> = self.targets.keys().map(String::as_str).collect();
            let near = nearest(name, names.iter().copied());
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            Error::invalid(format!("this worker has no target {name:?}{near}")).next(match names.as_slice() {
                [] => "Describe the target in the worker's configuration".to_owned(),
                names => format!(
                    "Name one of {}, or describe it in the worker's configuration",
                    names.join(", ")
                ),
            })
        })
    }

    pub(crate) fn fleet(&self, at: &WorkloadRef) -> Result<&dyn Fleet, Error> {
        Ok(self.target(&at.target)?.fleet.as_ref())
    }

    pub(crate) fn router(&self, target: &str) -> Result<&dyn TrafficRouter, Error> {
        self.target(target)?.router.as_deref().ok_or_else(|| {
            Error::invalid(format!(
                "the environment names a router, but target {target:?} has none"
            ))
            .next("Take `router` out of the environment's settings, or give the target one")
        })
    }
}
