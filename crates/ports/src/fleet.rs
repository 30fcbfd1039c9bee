use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Portion;

/// A workload as an environment's settings name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkloadRef {
    /// Which connection reaches it, as configured: a cluster, a group of hosts.
    pub target: String,
    /// Its name there, in the target's own way of naming (`shop/checkout`).
    pub name: String,
    /// Which part of it carries the version, where it has several.
    #[serde(default)]
    pub container: Option<String>,
}

/// A workload has two places. What is tried stands beside what serves, and goes away when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Stable,
    Candidate,
}

impl Side {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
        }
    }
}

/// What was wished for when it was looked at, in the target's own words. It changes whenever somebody wishes for
/// something else, and not while the target follows a wish; an autoscaler's replicas are no wish of anybody's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mark(pub String);

/// Which of a workload's earlier versions, as the target counts them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub String);

/// What runs: versions of a workload at a target.
///
/// Every write declares a wanted state: asked for again it changes nothing more and answers the same. It carries the
/// mark that its caller last saw; where somebody else has changed that side since, it is a
/// [`Conflict`](domain::ErrorKind::Conflict) and nothing is changed, unless what is wanted is there already. A write
/// returns when the target has taken the wish, not when it is fulfilled: [`Fleet::observe`] says how far it is.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// A version's full name, as [`Group::version`] will say it; `NotFound` when there is none of that name. A target
    /// that cannot look takes the name as it is.
    async fn resolve(&self, at: &WorkloadRef, version: &str) -> Result<String>;

    /// What stands on a side; none when nothing does.
    async fn observe(&self, at: &WorkloadRef, side: Side) -> Result<Option<Group>>;

    /// What the stable side ran, newest first, the present one with it. Empty where nothing stands or the target
    /// keeps none.
    async fn revisions(&self, at: &WorkloadRef) -> Result<Vec<Revision>>;

    /// The stable side shall run that version, its replicas replaced at the given pace. Also makes the first one, where
    /// the target can; `NotFound` says what is missing where it cannot. What is paused stays so and takes it for later.
    async fn roll_out(
        &self,
        at: &WorkloadRef,
        wanted: &RollOut,
        seen: Option<&Mark>,
        idem: &Idem,
    ) -> Result<Mark>;

    /// Stops a roll-out where it is, or lets it go on.
    async fn pause(&self, at: &WorkloadRef, paused: bool, seen: &Mark, idem: &Idem) -> Result<Mark>;

    /// The stable side shall be as it was at that revision, in everything that belongs to a version.
    async fn undo(&self, at: &WorkloadRef, to: &RevisionId, seen: &Mark, idem: &Idem) -> Result<Mark>;

    /// A version shall run beside the stable side, made like it. No router sends it anything yet; where traffic goes
    /// to every ready replica, it gets its share.
    async fn launch(
        &self,
        at: &WorkloadRef,
        wanted: &Launch,
        seen: Option<&Mark>,
        idem: &Idem,
    ) -> Result<Mark>;

    async fn scale(
        &self,
        at: &WorkloadRef,
        side: Side,
        replicas: u32,
        seen: &Mark,
        idem: &Idem,
    ) -> Result<Mark>;

    /// Nothing shall stand beside the stable side; what does is drained first. Nothing there is no error.
    async fn retire(&self, at: &WorkloadRef, seen: Option<&Mark>, idem: &Idem) -> Result<()>;
}

/// What stands on one side of a workload, with enough to judge its progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The version that is wished for.
    pub version: String,
    pub mark: Mark,
    /// The target has begun to follow the newest wish; before that the numbers are an older one's.
    pub observed: bool,
    pub paused: bool,
    /// How many are wished for.
    pub wanted: u32,
    /// How many there are, of any version, ready or not.
    pub total: u32,
    /// How many are of the wished version.
    pub updated: u32,
    /// How many of the wished version are ready.
    pub ready: u32,
    /// How many of any version can take traffic.
    pub available: u32,
    /// How often replicas of the wished version were started again by themselves.
    pub restarts: u32,
    /// What the target says is wrong, in its own words, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trouble: Vec<String>,
}

impl Group {
    /// Everything wished for is there and ready, and nothing else.
    pub fn is_complete(&self) -> bool {
        self.observed
            && self.updated == self.wanted
            && self.ready == self.wanted
            && self.total == self.wanted
            && self.available >= self.wanted
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub id: RevisionId,
    pub version: String,
    /// When it came to be, where the target knows.
    pub at: Option<DateTime<Utc>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollOut {
    /// As [`Fleet::resolve`] gave it.
    pub version: String,
    /// How many replicas when there are none yet; what stands keeps its number.
    pub replicas: u32,
    /// The pace; the workload's own when absent.
    pub pace: Option<Pace>,
}

/// How many replicas may be missing, and how many there may be too many, while they are replaced. At least one of the
/// two is not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    pub max_unavailable: Portion,
    pub max_surge: Portion,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    pub version: String,
    pub replicas: u32,
}
