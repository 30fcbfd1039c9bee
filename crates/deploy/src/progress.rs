//! Whether replicas get on. A target's own word for progress counts a replica that is started again and again.

use std::time::Duration;

use ports::Group;
use serde::{Deserialize, Serialize};

/// How often replicas of a version may be started again by themselves before they are held to crash.
const RESTARTS: u32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub(crate) enum Progress {
    Complete,
    /// In words: `2 of 4 ready`.
    Going {
        so_far: String,
    },
    Stuck {
        why: String,
    },
}

/// `before`: how often its replicas had been started again when it was first looked at.
/// `still`: for how long nothing has changed.
pub(crate) fn judge(group: &Group, before: u32, still: Duration, deadline: Duration) -> Progress {
    if group.is_complete() {
        return Progress::Complete;
    }
    let so_far = so_far(group);
    let trouble = group
        .trouble
        .first()
        .map_or_else(String::new, |said| format!(": {said}"));
    let restarts = group.restarts.saturating_sub(before);
    let why = if group.observed && restarts >= RESTARTS {
        format!("its replicas were started again {restarts} times ({so_far}){trouble}")
    } else if still >= deadline {
        let waited = domain::Span(deadline);
        format!("nothing has changed for {waited} ({so_far}){trouble}")
    } else {
        return Progress::Going { so_far };
    };
    Progress::Stuck { why }
}

pub(crate) fn so_far(group: &Group) -> String {
    let old = group.total.saturating_sub(group.updated);
    let old = if old > 0 {
        format!(", {old} old ones left")
    } else {
        String::new()
    };
    let paused = if group.paused { ", paused" } else { "" };
    format!("{} of {} ready{old}{paused}", group.ready, group.wanted)
}

/// What must differ between two looks for something to have changed.
pub(crate) fn position(group: &Group) -> (bool, u32, u32, u32) {
    (group.observed, group.updated, group.ready, group.total)
}

/// How long to wait before the next look: short at first, since most are ready soon.
pub(crate) fn pause(looks: u32) -> Duration {
    Duration::from_secs(u64::from(2_u32.saturating_pow(looks.min(4))).min(15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ports::Mark;

    fn group() -> Group {
        Group {
            version: "v2".to_owned(),
            mark: Mark("1".to_owned()),
            observed: true,
            paused: false,
            wanted: 4,
            total: 6,
            updated: 4,
            ready: 3,
            available: 5,
            restarts: 0,
            trouble: vec!["back-off restarting".to_owned()],
        }
    }

    const DEADLINE: Duration = Duration::from_secs(600);

    fn after(group: &Group, seconds: u64) -> Progress {
        judge(group, 1, Duration::from_secs(seconds), DEADLINE)
    }

    #[test]
    fn progress_is_complete_only_when_nothing_old_is_left() {
        let so_far = "3 of 4 ready, 2 old ones left".to_owned();
        assert_eq!(after(&group(), 0), Progress::Going { so_far });
        let mut done = group();
        (done.total, done.ready) = (4, 4);
        assert_eq!(after(&done, 0), Progress::Complete);
        done.observed = false;
        assert!(
            matches!(after(&done, 0), Progress::Going { .. }),
            "an older wish's numbers"
        );
    }

    #[test]
    fn a_crash_loop_and_standing_still_are_no_progress() {
        let mut crashing = group();
        crashing.restarts = 3;
        assert!(
            matches!(after(&crashing, 0), Progress::Going { .. }),
            "two since it began"
        );
        crashing.restarts = 4;
        let Progress::Stuck { why } = after(&crashing, 0) else {
            panic!("a crash loop")
        };
        assert_eq!(
            why,
            "its replicas were started again 3 times (3 of 4 ready, 2 old ones left): back-off restarting"
        );
        assert!(matches!(after(&group(), 599), Progress::Going { .. }));
        let Progress::Stuck { why } = after(&group(), 600) else {
            panic!("it stands still")
        };
        assert!(why.starts_with("nothing has changed for 10m"), "{why}");
    }

    #[test]
    fn looks_come_less_often_with_time() {
        let pauses: Vec<u64> = (0..7).map(|looks| pause(looks).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15]);
    }
}
