//! A canary's share where every ready replica gets the same: a matter of numbers.

use ports::Share;
use serde::{Deserialize, Serialize};

/// How many replicas each side has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Split {
    pub(crate) stable: u32,
    pub(crate) candidate: u32,
}

impl Split {
    pub(crate) fn share(self) -> Share {
        Share {
            part: self.candidate,
            of: self.candidate + self.stable,
        }
    }

    /// The split nearest to a percentage that keeps at least `replicas` and makes at most one more. Below 100 both
    /// sides have one at least, so that a single replica can only be halved.
    pub(crate) fn nearest(replicas: u32, percent: u32) -> Self {
        let replicas = replicas.max(1);
        let percent = percent.min(100);
        if percent == 0 || percent == 100 {
            let (stable, candidate) = if percent == 0 {
                (replicas, 0)
            } else {
                (0, replicas)
            };
            return Self { stable, candidate };
        }
        let off = |split: &Self| {
            let (part, of) = (
                u64::from(split.candidate),
                u64::from(split.candidate + split.stable),
            );
            // Compared as parts of a common whole: no rounding decides between two.
            (part * 100).abs_diff(u64::from(percent) * of) * 1_000_000 / of
        };
        let of_total = |total: u32| {
            (1..total).map(move |candidate| Self {
                stable: total - candidate,
                candidate,
            })
        };
        of_total(replicas)
            .chain(of_total(replicas + 1))
            .min_by_key(|split| (off(split), split.stable + split.candidate))
            .unwrap_or(Self {
                stable: 1,
                candidate: 1,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_split_keeps_what_serves_and_makes_one_more_at_most() {
        let of = |replicas, percent| {
            let split = Split::nearest(replicas, percent);
            (split.stable, split.candidate)
        };
        assert_eq!(of(10, 10), (9, 1));
        assert_eq!(of(9, 10), (9, 1), "one more comes nearer");
        assert_eq!(of(3, 10), (3, 1), "25 % is the nearest that can be had");
        assert_eq!(of(1, 10), (1, 1), "and 50 % of one");
        assert_eq!(of(4, 50), (2, 2));
        assert_eq!(of(3, 99), (1, 3));
        assert_eq!(of(3, 0), (3, 0));
        assert_eq!(of(3, 100), (0, 3));
        assert_eq!(Split::nearest(3, 10).share().percent(), 25.0);
    }

    #[test]
    fn no_split_serves_with_fewer() {
        for replicas in 1..40 {
            for percent in 0..=100 {
                let split = Split::nearest(replicas, percent);
                let total = split.stable + split.candidate;
                assert!(
                    (replicas..=replicas + 1).contains(&total),
                    "{split:?} for {replicas}"
                );
                let some = (1..100).contains(&percent);
                assert_eq!(
                    some,
                    split.stable > 0 && split.candidate > 0,
                    "{split:?} at {percent} %"
                );
            }
        }
    }
}
