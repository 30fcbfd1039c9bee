//! What stands before anything is changed.

use ports::{Flag, Granularity, Group, Mark, Revision, Share, Side, Traffic};
use serde::{Deserialize, Serialize};

use crate::act::Standing;

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
