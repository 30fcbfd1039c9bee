//! What stands before anything is changed.

use std::collections::BTreeMap;

use ports::{Flag, Granularity, Group, Mark, Revision, Share, Side, Traffic};
use serde::{Deserialize, Serialize};

use crate::act::Standing;
use crate::settings::Environment;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Look {
    pub(crate) stable: Option<Group>,
    pub(crate) candidate: Option<Group>,
    pub(crate) revisions: Vec<Revision>,
    /// None where no router is set.
    pub(crate) granularity: Option<Granularity>,
    pub(crate) traffic: Option<Traffic>,
    pub(crate) flag: Option<Flag>,
}

/// The marks that the next writes go by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) stable: Option<Mark>,
    pub(crate) candidate: Option<Mark>,
    pub(crate) route: Option<Mark>,
    pub(crate) flag: Option<Mark>,
}

impl Marks {
    pub(crate) fn side(&mut self, side: Side) -> &mut Option<Mark> {
        match side {
            Side::Stable => &mut self.stable,
            Side::Candidate => &mut self.candidate,
        }
    }

    pub(crate) fn of(&self, side: Side) -> Option<&Mark> {
        match side {
            Side::Stable => self.stable.as_ref(),
            Side::Candidate => self.candidate.as_ref(),
        }
    }
}

impl Look {
    pub(crate) fn marks(&self) -> Marks {
        let mark = |group: &Option<Group>| group.as_ref().map(|group| group.mark.clone());
        Marks {
            stable: mark(&self.stable),
            candidate: mark(&self.candidate),
            route: self.traffic.as_ref().map(|traffic| traffic.mark.clone()),
            flag: self.flag.as_ref().map(|flag| flag.mark.clone()),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        let side = |group: &Option<Group>| group.as_ref().map(|group| (group.version.clone(), group.wanted));
        Standing {
            stable: side(&self.stable),
            candidate: side(&self.candidate),
            share: Some(self.share().percent()),
            flag: self.flag.as_ref().map(|flag| flag.percent),
        }
    }

    /// What the candidate gets: by the router, else by its replicas.
    pub(crate) fn share(&self) -> Share {
        match &self.traffic {
            Some(traffic) if self.granularity != Some(Granularity::Replicas) => traffic.candidate,
            _ => {
                let ready = |group: &Option<Group>| group.as_ref().map_or(0, |group| group.ready);
                let (stable, candidate) = (ready(&self.stable), ready(&self.candidate));
                Share {
                    part: candidate,
                    of: (stable + candidate).max(1),
                }
            }
        }
    }

    /// How often each side's replicas were started again so far.
    pub(crate) fn restarts(&self) -> BTreeMap<Side, u32> {
        let sides = [(Side::Stable, &self.stable), (Side::Candidate, &self.candidate)];
        let known = sides
            .into_iter()
            .filter_map(|(side, group)| Some((side, group.as_ref()?)));
        known.map(|(side, group)| (side, group.restarts)).collect()
    }

    /// How many replicas the workload has as a whole: without a router both sides share them. The one more that a split may
    /// have made is none of them, where the settings say how many there are to be.
    pub(crate) fn whole(&self, environment: &Environment) -> u32 {
        let wanted = |group: &Option<Group>| group.as_ref().map_or(0, |group| group.wanted);
        let (stable, beside) = (wanted(&self.stable), wanted(&self.candidate));
        if self.by_router() || beside == 0 {
            return stable;
        }
        let (both, meant) = (stable.saturating_add(beside), environment.replicas);
        let one_more = meant > 1 && both.checked_sub(1) == Some(meant);
        if one_more { meant } else { both }
    }

    /// What serves: a stable side that is told to have no replicas is none.
    pub(crate) fn serves(&self) -> Option<&Group> {
        self.stable.as_ref().filter(|stable| stable.wanted > 0)
    }

    /// Whether the stable side could take all traffic now.
    pub(crate) fn stable_is_well(&self) -> bool {
        self.stable.as_ref().is_some_and(is_well)
    }

    /// A stable side that cannot take the traffic now, and may in a moment.
    pub(crate) fn coming_up(&self) -> Option<&Group> {
        self.stable.as_ref().filter(|stable| !can_carry(stable))
    }

    pub(crate) fn by_router(&self) -> bool {
        self.granularity.is_some_and(|can| can != Granularity::Replicas)
    }
}

pub(crate) fn is_well(group: &Group) -> bool {
    group.observed && group.wanted > 0 && group.ready >= group.wanted && group.available >= group.wanted
}

/// Whether it can be given traffic: for how long its replicas have been ready does not matter.
pub(crate) fn can_carry(group: &Group) -> bool {
    group.observed && group.wanted > 0 && group.ready >= group.wanted
}
