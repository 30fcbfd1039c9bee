//! Events get their ids before their transactions commit, so a smaller id may appear after a larger one. Ids that were
//! passed over are asked for again for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long an id may be missing: longer than any transaction of ours may stay open. One that was rolled back stays
/// missing for ever.
const PATIENCE: Duration = Duration::from_secs(60);
/// More are not waited for.
const MOST: usize = 1000;

/// How far the events were read.
#[derive(Debug, Default)]
pub struct Gaps {
    last: i64,
    missing: BTreeMap<i64, Instant>,
}

impl Gaps {
    /// Everything up to here counts as read, but for what is passed over later.
    pub fn after(last: i64) -> Self {
        Self {
            last,
            missing: BTreeMap::new(),
        }
    }

    pub fn last(&self) -> i64 {
        self.last
    }

    pub fn missing(&self) -> Vec<i64> {
        self.missing.keys().copied().collect()
    }

    /// Notes an id that was read; ids must come in order. False when it was read before.
    pub fn read(&mut self, id: i64, now: Instant) -> bool {
        if id <= self.last {
            return self.missing.remove(&id).is_some();
        }
        for passed in (self.last + 1..id).rev().take(MOST) {
            self.missing.insert(passed, now);
        }
        self.last = id;
        while self.missing.len() > MOST {
            self.missing.pop_first();
        }
        true
    }

    pub fn forget_old(&mut self, now: Instant) {
        self.missing
            .retain(|_, since| now.duration_since(*since) < PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_appears_late_is_read_once_and_one_that_never_does_is_given_up() {
        let start = Instant::now();
        let mut gaps = Gaps::after(10);
        assert!(gaps.read(11, start) && gaps.read(14, start));
        assert_eq!((gaps.last(), gaps.missing()), (14, vec![12, 13]));
        assert!(gaps.read(13, start));
        assert!(!gaps.read(13, start) && !gaps.read(14, start) && !gaps.read(5, start));
        gaps.forget_old(start + PATIENCE / 2);
        assert_eq!(gaps.missing(), [12]);
        gaps.forget_old(start + PATIENCE);
        assert!(gaps.missing().is_empty());
    }

    #[test]
    fn a_huge_leap_keeps_the_newest_gaps_alone() {
        let mut gaps = Gaps::after(0);
        gaps.read(1_000_000, Instant::now());
        let missing = gaps.missing();
        assert_eq!((missing.len(), missing.last()), (MOST, Some(&999_999)));
    }
}
