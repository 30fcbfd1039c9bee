//! What somebody has heard of the events, small enough to be handed out as the `id` of each and brought back.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Most ids that may be missing; of more the newest are waited for. All of them are written down: whoever comes back is told
/// nothing twice, so that each call brings it further.
pub const MOST_MISSING: usize = 1000;

/// All events up to one were heard, but for some that were not there yet: ids are given before their transactions
/// commit, so that a smaller one may appear after a larger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub last: i64,
    pub missing: Arc<BTreeSet<i64>>,
}

impl Heard {
    pub fn knows(&self, id: i64) -> bool {
        id <= self.last && !self.missing.contains(&id)
    }

    /// What both together have heard.
    pub fn and(&self, other: &Self) -> Self {
        let mut missing: BTreeSet<i64> = BTreeSet::new();
        missing.extend(other.missing.iter().filter(|id| !self.knows(**id)));
        missing.extend(self.missing.iter().filter(|id| !other.knows(**id)));
        Self {
            last: self.last.max(other.last),
            missing: missing.into(),
        }
    }

    /// How far one is who is told all of `whole` in the order of ids, and has come to `id`.
    pub fn on_the_way_to(&self, whole: &Self, id: i64) -> Self {
        let behind = whole.missing.iter().filter(|missing| **missing < id);
        let before = self.missing.iter().filter(|missing| **missing > id);
        Self {
            last: self.last.max(id),
            missing: Arc::new(behind.chain(before).copied().collect()),
        }
    }
}

/// `LAST`, or `LAST~RUN,RUN` with what is missing. The first run is `ID` or `FIRST-LAST`, each further one `+AFTER` or
/// `+AFTER-MORE`: so far behind the end of the one before, and so many more. A thousand fit into a header's line that way.
impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(i64, i64)> = Vec::new();
        for id in self.missing.iter().copied() {
            match runs.last_mut() {
                Some((_, end)) if *end + 1 == id => *end = id,
                _ => runs.push((id, id)),
            }
        }
        write!(f, "{}", self.last)?;
        let mut before = None;
        for (start, end) in runs {
            match before {
                None => write!(f, "~{start}")?,
                Some(before) => write!(f, ",+{}", start - before)?,
            }
            match (before, end - start) {
                (_, 0) => {}
                (None, _) => write!(f, "-{end}")?,
                (Some(_), more) => write!(f, "-{more}")?,
            }
            before = Some(end);
        }
        Ok(())
    }
}

/// What was sent is no place among the events.
#[derive(Debug, PartialEq, Eq)]
pub struct NoPlace;

impl FromStr for Heard {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| digits).ok_or(NoPlace)
        };
        let (last, runs) = text.split_once('~').unwrap_or((text, ""));
        let last = number(last)?;
        let mut missing = BTreeSet::new();
        let mut before = 0_i64;
        for run in runs.split(',').filter(|run| !run.is_empty()) {
            let (start, end) = match run.strip_prefix('+') {
                Some(run) => {
                    let (after, more) = run.split_once('-').unwrap_or((run, "0"));
                    let start = before.checked_add(number(after)?).ok_or(NoPlace)?;
                    (start, start.checked_add(number(more)?).ok_or(NoPlace)?)
                }
                None => {
                    let (start, end) = run.split_once('-').unwrap_or((run, run));
                    (number(start)?, number(end)?)
                }
            };
            // Before they are counted: what comes from outside may say anything.
            if start > end || end >= last || end - start >= MOST_MISSING as i64 {
                return Err(NoPlace);
            }
            missing.extend(start..=end);
            before = end;
            if missing.len() > MOST_MISSING {
                return Err(NoPlace);
            }
        }
        Ok(Self {
            last,
            missing: missing.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_written_and_read_again() {
        for text in ["0", "17", "17~3", "17~3,+2-4,+7", "17~3-4,+8"] {
            assert_eq!(heard(text).to_string(), text);
        }
        let missing: Vec<i64> = heard("17~3,+2-4,+7").missing.iter().copied().collect();
        assert_eq!(missing, [3, 5, 6, 7, 8, 9, 16]);
        assert_eq!(heard("17~3,5-9,16"), heard("17~3,+2-4,+7"));
        assert!(heard("17~3").knows(4) && !heard("17~3").knows(3) && !heard("17~3").knows(18));
        for wrong in [
            "",
            "x",
            "-1",
            "3~3",
            "9~5-2",
            "9999999~1-5000",
            "5~1-",
            "5~~1",
            "9~1,+",
            "9~1,+8",
            "9~1,++2",
            "9~1,+9223372036854775807",
            "9~1,+1-9223372036854775807",
            "9999999~1,+1-5000",
        ] {
            assert_eq!(wrong.parse::<Heard>(), Err(NoPlace), "{wrong}");
        }
    }

    #[test]
    fn very_many_gaps_far_apart_fit_into_a_header_and_none_is_forgotten() {
        let many = Heard {
            last: 1_000_000_000,
            missing: Arc::new((990_000_000..1_000_000_000).step_by(10_000).collect()),
        };
        assert_eq!(many.missing.len(), MOST_MISSING);
        let text = many.to_string();
        // What nginx takes of one header.
        assert!(text.len() < 8 * 1024, "{}", text.len());
        assert_eq!(heard(&text), many);
    }

    #[test]
    fn two_who_heard_different_things_miss_only_what_neither_heard() {
        assert_eq!(heard("20~5,18").and(&heard("10~5,7")), heard("20~5,18"));
        assert_eq!(heard("10~5,7").and(&heard("20~5,18")), heard("20~5,18"));
        assert_eq!(heard("20~5").and(&heard("10~7")), heard("20"));
    }

    #[test]
    fn on_the_way_what_was_late_counts_once_it_is_told() {
        let (from, to) = (heard("10~3,5"), heard("20~5,15"));
        for (told, at) in [(3, "10~5"), (12, "12~5"), (16, "16~5,15"), (20, "20~5,15")] {
            assert_eq!(from.on_the_way_to(&to, told), heard(at), "{told}");
        }
    }
}
