//! Events get their ids before their transactions commit, so a smaller id may appear after a larger one. An id that was
//! passed over is asked for again until no transaction runs that could still bring it: one that was rolled back never comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use store::Horizon;

use super::heard::{Heard, MOST_MISSING};

/// How far the events were read.
#[derive(Debug, Default)]
pub struct Gaps {
    last: i64,
    /// Once known: every transaction that may have the id has a smaller number than this.
    missing: BTreeMap<i64, Option<i64>>,
    /// The same ids as they were handed out last, while they have not changed.
    shown: Option<Arc<BTreeSet<i64>>>,
}

impl Gaps {
    /// Everything up to here counts as read, but for what is passed over later.
    pub fn after(last: i64) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    pub fn last(&self) -> i64 {
        self.last
    }

    pub fn missing(&self) -> Vec<i64> {
        self.missing.keys().copied().collect()
    }

    pub fn heard(&mut self) -> Heard {
        let missing = self
            .shown
            .get_or_insert_with(|| Arc::new(self.missing.keys().copied().collect()));
        Heard {
            last: self.last,
            missing: missing.clone(),
        }
    }

    /// Notes an id that was read; ids must come in order. False when it was read before.
    pub fn read(&mut self, id: i64) -> bool {
        if id <= self.last {
            let late = self.missing.remove(&id).is_some();
            self.shown = self.shown.take().filter(|_| !late);
            return late;
        }
        if id > self.last + 1 {
            self.shown = None;
        }
        for passed in (self.last + 1..id).rev().take(MOST_MISSING) {
            self.missing.insert(passed, None);
        }
        self.last = id;
        while self.missing.len() > MOST_MISSING {
            self.missing.pop_first();
        }
        true
    }

    /// Before a look, with what was seen of the transactions just then. Ids that an earlier look passed over were taken
    /// by transactions that have a number by now.
    pub fn begin(&mut self, horizon: &Horizon) {
        for until in self.missing.values_mut() {
            until.get_or_insert(horizon.next);
        }
    }

    /// After that look: what could have been seen in it and was not will never come.
    pub fn end(&mut self, horizon: &Horizon) {
        let before = self.missing.len();
        self.missing
            .retain(|_, until| until.is_none_or(|until| until > horizon.oldest));
        if self.missing.len() < before {
            self.shown = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn horizon(oldest: i64, next: i64) -> Horizon {
        Horizon { oldest, next }
    }

    #[test]
    fn an_id_that_appears_late_is_read_once_and_one_whose_transaction_is_over_is_given_up() {
        let mut gaps = Gaps::after(10);
        assert!(gaps.read(11) && gaps.read(14));
        assert_eq!((gaps.last(), gaps.missing()), (14, vec![12, 13]));
        assert!(gaps.read(13));
        assert!(!gaps.read(13) && !gaps.read(14) && !gaps.read(5));
        // It was passed over in the look that is just over: who has it may have no number yet.
        gaps.end(&horizon(700, 700));
        assert_eq!(gaps.missing(), [12]);
        // Transaction 650 runs, and may have it, however long that takes.
        gaps.begin(&horizon(650, 700));
        for _ in 0..1000 {
            gaps.begin(&horizon(650, 9000));
            gaps.end(&horizon(650, 9000));
        }
        assert_eq!(gaps.heard().to_string(), "14~12");
        // The oldest that runs has begun since.
        gaps.end(&horizon(700, 9001));
        assert!(gaps.missing().is_empty());
    }

    #[test]
    fn a_huge_leap_keeps_the_newest_gaps_alone() {
        let mut gaps = Gaps::after(0);
        gaps.read(1_000_000);
        let missing = gaps.missing();
        assert_eq!((missing.len(), missing.last()), (MOST_MISSING, Some(&999_999)));
    }
}
