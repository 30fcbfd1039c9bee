use async_trait::async_trait;
use domain::{Idem, Result};
use serde::{Deserialize, Serialize};

use crate::Mark;

/// Where traffic to a workload is parted, as an environment's settings name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteRef {
    pub target: String,
    /// Its name there, in the target's own way of naming.
    pub name: String,
}

/// How finely traffic can be parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// In this many equal parts: 100 knows whole percents.
    Parts(u32),
    /// All to one side or all to the other.
    AllOrNothing,
    /// Every ready replica gets the same: who wants another share changes replicas. It cannot be set.
    Replicas,
}

impl Granularity {
    /// The share nearest to a percentage that can be had; none where replicas decide. What is neither nothing nor all
    /// is never rounded to either, unless there is nothing between.
    pub fn nearest(self, percent: u32) -> Option<Share> {
        let percent = percent.min(100);
        match self {
            Self::Parts(of @ 2..) => {
                let exact = (u64::from(percent) * u64::from(of) + 50) / 100;
                let inner = u32::try_from(exact).unwrap_or(of).clamp(1, of - 1);
                let part = match percent {
                    0 => 0,
                    100 => of,
                    _ => inner,
                };
                Some(Share { part, of })
            }
            Self::Parts(_) | Self::AllOrNothing => Some(Share {
                part: u32::from(percent >= 50),
                of: 1,
            }),
            Self::Replicas => None,
        }
    }
}

/// How much goes to the candidate: so many parts of so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub part: u32,
    pub of: u32,
}

impl Share {
    pub fn percent(self) -> f64 {
        if self.of == 0 {
            return 0.0;
        }
        f64::from(self.part) * 100.0 / f64::from(self.of)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// What the candidate gets; the stable side gets the rest.
    pub candidate: Share,
    pub mark: Mark,
}

/// Who gets the traffic. A router touches only what parts traffic between the two sides: whatever else stands in the
/// same object stays as it was, byte for byte.
#[async_trait]
pub trait TrafficRouter: Send + Sync {
    async fn granularity(&self, at: &RouteRef) -> Result<Granularity>;

    /// How traffic is parted now, read from what does the parting. A candidate that the route does not know gets
    /// nothing.
    async fn read(&self, at: &RouteRef) -> Result<Traffic>;

    /// The candidate shall get the share nearest to `percent` (0 to 100), and is read back: what is answered is so. The
    /// same rules as for a [`Fleet`](crate::Fleet)'s writes: repeating it changes nothing more, and what somebody else
    /// changed since `seen` is a [`Conflict`](domain::ErrorKind::Conflict).
    async fn set(&self, at: &RouteRef, percent: u32, seen: &Mark, idem: &Idem) -> Result<Traffic>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_share_is_told_as_it_is() {
        let of = |granularity: Granularity, percent| granularity.nearest(percent).map(|s| (s.part, s.of));
        assert_eq!(of(Granularity::Parts(100), 10), Some((10, 100)));
        assert_eq!(of(Granularity::Parts(256), 10), Some((26, 256)));
        assert_eq!(of(Granularity::Parts(10), 1), Some((1, 10)), "some is not none");
        assert_eq!(of(Granularity::Parts(10), 99), Some((9, 10)), "and not all");
        assert_eq!(of(Granularity::Parts(10), 100), Some((10, 10)));
        assert_eq!(of(Granularity::AllOrNothing, 49), Some((0, 1)));
        assert_eq!(of(Granularity::AllOrNothing, 50), Some((1, 1)));
        assert_eq!(of(Granularity::Replicas, 50), None);
        assert_eq!(Share { part: 26, of: 256 }.percent(), 10.15625);
    }
}
