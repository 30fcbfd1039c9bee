//! How weights of servers part traffic. Pure.

use ports::{Granularity, Share};

use super::Server;

/// HAProxy's heaviest weight.
const HEAVIEST: u32 = 256;

/// The servers of both sides. What belongs to neither is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    stable: Vec<Server>,
    candidate: Vec<Server>,
}

impl Sides {
    pub(super) fn of(servers: Vec<Server>, stable: &str, candidate: &str) -> Self {
        let side = |prefix| {
            let mut side: Vec<_> = servers
                .iter()
                .filter_map(|s| Some((s.number(prefix)?, s.clone())))
                .collect();
            side.sort_by_key(|(number, _)| *number);
            side.into_iter().map(|(_, server)| server).collect()
        };
        Self {
            stable: side(stable),
            candidate: side(candidate),
        }
    }

    pub(super) fn are_empty(&self) -> bool {
        self.stable.is_empty() && self.candidate.is_empty()
    }

    pub(super) fn has_candidate(&self) -> bool {
        self.candidate.iter().any(|server| server.in_rotation)
    }

    /// What servers in rotation weigh on the candidate's side, of what they weigh on both. A stable side that weighs
    /// nothing gets nothing, so all is the candidate's: also while nobody of the candidate is there to take it.
    pub(super) fn share(&self) -> Share {
        let weight = |side: &[Server]| {
            side.iter()
                .filter(|s| s.in_rotation)
                .map(|s| s.weight)
                .sum::<u32>()
        };
        let (stable, candidate) = (weight(&self.stable), weight(&self.candidate));
        // Servers that are out of rotation come back with the weight that they have now.
        let is_out = !self.stable.iter().any(|s| s.in_rotation);
        let gets_none = stable == 0 && (!is_out || weighs_nothing(&self.stable));
        let part = if gets_none { candidate.max(1) } else { candidate };
        Share {
            part,
            of: (stable + part).max(1),
        }
    }

    /// Nothing and all are so only when every server of the other side weighs nothing: one in maintenance comes back
    /// with the weight that it has now.
    pub(super) fn is_told(&self, share: Share) -> bool {
        let gets_some = |side: &[Server]| side.iter().all(|s| s.weight > 0);
        self.are_even()
            && match share.part {
                0 => weighs_nothing(&self.candidate) && gets_some(&self.stable),
                part if part == share.of => weighs_nothing(&self.stable) && gets_some(&self.candidate),
                _ => true,
            }
    }

    /// Every weight of both sides, whoever set it and whatever state its server is in.
    pub(super) fn mark(&self) -> String {
        let both = self.stable.iter().chain(&self.candidate);
        let weights: Vec<_> = both.map(|s| format!("{}={}", s.name, s.weight)).collect();
        weights.join(" ")
    }

    /// A part of traffic is the same number of weight on a side, spread over its servers evenly: with 3 servers beside
    /// 1, a part is 3 of the one's weight and 1 of each of the three.
    pub(super) fn granularity(&self) -> Granularity {
        let (stable, candidate) = self.unit();
        Granularity::Parts((HEAVIEST / stable.max(candidate)).max(1))
    }

    /// What each server must weigh for that share of [`Self::granularity`]'s parts.
    pub(super) fn weights(&self, share: Share) -> (u32, u32) {
        let (stable, candidate) = self.unit();
        ((share.of - share.part) * stable, share.part * candidate)
    }

    /// Every server of a side weighs so much now, in rotation or not.
    pub(super) fn weigh(&self, (stable, candidate): (u32, u32)) -> bool {
        self.stable.iter().all(|s| s.weight == stable) && self.candidate.iter().all(|s| s.weight == candidate)
    }

    fn are_even(&self) -> bool {
        let even = |side: &[Server]| side.windows(2).all(|two| two[0].weight == two[1].weight);
        even(&self.stable) && even(&self.candidate)
    }

    /// What is to be changed, the heavier first: there is no moment at which nobody has any weight.
    pub(super) fn changes(&self, (stable, candidate): (u32, u32)) -> Vec<(String, u32)> {
        let stable = self.stable.iter().map(|server| (server, stable));
        let candidate = self.candidate.iter().map(|server| (server, candidate));
        let mut changes: Vec<_> = stable
            .chain(candidate)
            .filter(|(server, weight)| server.weight != *weight)
            .collect();
        changes.sort_by_key(|(server, weight)| *weight < server.weight);
        let named = changes
            .into_iter()
            .map(|(server, weight)| (server.name.clone(), weight));
        named.collect()
    }

    /// How much a server of either side weighs for one part. A side with nobody in rotation counts as big as the other.
    fn unit(&self) -> (u32, u32) {
        let count = |side: &[Server]| {
            u32::try_from(side.iter().filter(|s| s.in_rotation).count()).unwrap_or(HEAVIEST)
        };
        let (stable, candidate) = match (count(&self.stable), count(&self.candidate)) {
            (0, 0) => (1, 1),
            (0, n) | (n, 0) => (n, n),
            both => both,
        };
        let shared = divisor(stable, candidate);
        // The more servers a side has, the less each of them weighs.
        (candidate / shared, stable / shared)
    }
}

fn weighs_nothing(side: &[Server]) -> bool {
    side.iter().all(|server| server.weight == 0)
}

fn divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, weight: u32, in_rotation: bool) -> Server {
        Server {
            name: name.to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 1,
            weight,
            first_weight: weight,
            in_rotation,
            in_maintenance: !in_rotation,
            drains: false,
            is_down: false,
        }
    }

    fn sides(stable: u32, candidate: u32) -> Sides {
        let mut servers = vec![server("other", 50, true), server("stable99", 100, false)];
        servers.extend((1..=stable).map(|n| server(&format!("stable{n}"), 100, true)));
        servers.extend((1..=candidate).map(|n| server(&format!("candidate{n}"), 0, true)));
        Sides::of(servers, "stable", "candidate")
    }

    #[test]
    fn every_share_that_is_promised_can_be_had() {
        for (stable, candidate) in [(1, 1), (3, 1), (4, 2), (2, 5), (9, 3), (1, 0), (0, 1), (0, 0)] {
            let mut sides = sides(stable, candidate);
            let granularity = sides.granularity();
            for percent in 0..=100 {
                let wanted = granularity.nearest(percent).expect("weights can be set");
                let weights = sides.weights(wanted);
                assert!(weights.0.max(weights.1) <= HEAVIEST, "{weights:?}");
                for (name, weight) in sides.changes(weights) {
                    let both = sides.stable.iter_mut().chain(&mut sides.candidate);
                    both.filter(|s| s.name == name).for_each(|s| s.weight = weight);
                }
                assert!(sides.weigh(weights));
                if stable > 0 && candidate > 0 {
                    assert_eq!(
                        sides.share().percent(),
                        wanted.percent(),
                        "{stable}:{candidate} {percent} %"
                    );
                }
            }
        }
        assert_eq!(sides(3, 1).granularity(), Granularity::Parts(85));
        assert_eq!(sides(2, 2).granularity(), Granularity::Parts(256));
    }

    #[test]
    fn a_stable_side_that_weighs_nothing_gets_nothing() {
        let share = |stable: &[(u32, bool)], candidate: &[(u32, bool)]| {
            let side = |prefix: &str, servers: &[(u32, bool)]| {
                let numbered = servers.iter().zip(1..);
                let named = numbered.map(|((weight, in_rotation), n): (_, u32)| {
                    server(&format!("{prefix}{n}"), *weight, *in_rotation)
                });
                named.collect::<Vec<_>>()
            };
            let servers = [side("stable", stable), side("candidate", candidate)].concat();
            Sides::of(servers, "stable", "candidate").share().percent()
        };
        let (all, none) = (100.0, 0.0);
        // The candidate had everything and crashed, whether or not somebody took its weight away.
        assert_eq!(share(&[(0, true), (0, true)], &[(256, false)]), all);
        assert_eq!(share(&[(0, true), (0, false)], &[(0, false)]), all);
        assert_eq!(share(&[(0, true), (256, false)], &[(256, false)]), all);
        // It had a part and crashed: the stable side gets the rest, which is everything.
        assert_eq!(share(&[(204, true)], &[(52, false)]), none);
        // Nobody is there, as after a restart of HAProxy: what counts is who gets something when all come back.
        assert_eq!(share(&[(100, false)], &[(0, false)]), none);
        assert_eq!(share(&[(0, false)], &[(256, false)]), all);
    }

    #[test]
    fn who_gets_more_is_told_first() {
        let sides = sides(1, 1);
        let changes = sides.changes((0, 256));
        let names: Vec<_> = changes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["candidate1", "stable1", "stable99"]);
        assert_eq!(sides.mark(), "stable1=100 stable99=100 candidate1=0");
    }
}
