//! What is wished for of a workload, and how a wish changes it. Pure.

use chrono::{DateTime, Utc};
use domain::{Error, Result};
use ports::{Launch, Mark, Pace, Revision, RevisionId, RollOut, Side};
use serde::{Deserialize, Serialize};

/// As many earlier versions are remembered.
const REVISIONS: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wishes {
    /// How many changes there were.
    pub(crate) made: u64,
    pub(crate) stable: Option<Wish>,
    pub(crate) candidate: Option<Wish>,
    /// Which change retired the candidate that stood last.
    pub(crate) retired: u64,
    /// Newest first.
    pub(crate) revisions: Vec<Revision>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Which change made it so.
    made: u64,
    /// Which change brought the version.
    #[serde(default)]
    pub(crate) since: u64,
    pub(crate) version: String,
    pub(crate) replicas: u32,
    pub(crate) paused: bool,
    pub(crate) pace: Option<Pace>,
}

impl Wish {
    /// The number of the change, and a sum of the wish itself: who edits the file by hand changes the mark too.
    pub(crate) fn mark(&self) -> Mark {
        let text = format!(
            "{} {} {} {:?}",
            self.version, self.replicas, self.paused, self.pace
        );
        Mark(format!("{}-{:016x}", self.made, sum(text.as_bytes())))
    }
}

/// FNV-1a, which is the same on every machine and in every release.
pub(crate) fn sum(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Wishes {
    pub(crate) fn side(&self, side: Side) -> Option<&Wish> {
        match side {
            Side::Stable => self.stable.as_ref(),
            Side::Candidate => self.candidate.as_ref(),
        }
    }

    /// The mark of a candidate that was retired and has not gone yet.
    pub(crate) fn retired_mark(&self) -> Mark {
        Mark(format!("{}-retired", self.retired))
    }

    pub(crate) fn roll_out(
        &mut self,
        wanted: &RollOut,
        seen: Option<&Mark>,
        now: Option<DateTime<Utc>>,
    ) -> Result<Mark> {
        if let Some(stable) = self.stable.as_ref().filter(|s| s.version == wanted.version) {
            return Ok(stable.mark());
        }
        self.may_change(Side::Stable, seen)?;
        self.made += 1;
        let before = self.stable.take();
        let wish = Wish {
            made: self.made,
            since: self.made,
            version: wanted.version.clone(),
            replicas: before.as_ref().map_or(wanted.replicas, |stable| stable.replicas),
            paused: before.is_some_and(|stable| stable.paused),
            pace: wanted.pace,
        };
        self.came(&wanted.version, now);
        Ok(self.stable.insert(wish).mark())
    }

    pub(crate) fn pause(&mut self, paused: bool, seen: &Mark) -> Result<Mark> {
        self.change(
            Side::Stable,
            seen,
            |wish| wish.paused == paused,
            |wish| wish.paused = paused,
        )
    }

    pub(crate) fn scale(&mut self, side: Side, replicas: u32, seen: &Mark) -> Result<Mark> {
        self.change(
            side,
            seen,
            |wish| wish.replicas == replicas,
            |wish| wish.replicas = replicas,
        )
    }

    pub(crate) fn undo(&mut self, to: &RevisionId, seen: &Mark, now: Option<DateTime<Utc>>) -> Result<Mark> {
        let known = self.revisions.iter().find(|revision| revision.id == *to);
        let Some(version) = known.map(|revision| revision.version.clone()) else {
            return Err(Error::not_found(format!("it has no revision {} any more", to.0))
                .next("See which revisions it has, or roll the version out"));
        };
        let is_so = |wish: &Wish| wish.version == version && !wish.paused;
        let mark = self.change(Side::Stable, seen, is_so, |wish| {
            wish.version.clone_from(&version);
            wish.paused = false;
            wish.pace = None;
        })?;
        if self
            .revisions
            .first()
            .is_some_and(|newest| newest.version != version)
        {
            self.came(&version, now);
        }
        Ok(mark)
    }

    pub(crate) fn launch(&mut self, wanted: &Launch, seen: Option<&Mark>) -> Result<Mark> {
        if self.stable.is_none() {
            return Err(
                Error::not_found("nothing of it runs that a version could stand beside")
                    .next("Roll a first version out"),
            );
        }
        let same = |wish: &&Wish| wish.version == wanted.version && wish.replicas == wanted.replicas;
        if let Some(there) = self.candidate.as_ref().filter(same) {
            return Ok(there.mark());
        }
        // Who has seen what is going away has seen what is there.
        let seen = seen.filter(|seen| self.candidate.is_some() || **seen != self.retired_mark());
        self.may_change(Side::Candidate, seen)?;
        self.made += 1;
        let same = self
            .candidate
            .as_ref()
            .filter(|wish| wish.version == wanted.version);
        let wish = Wish {
            made: self.made,
            since: same.map_or(self.made, |wish| wish.since),
            version: wanted.version.clone(),
            replicas: wanted.replicas,
            paused: false,
            pace: None,
        };
        Ok(self.candidate.insert(wish).mark())
    }

    pub(crate) fn retire(&mut self, seen: Option<&Mark>) -> Result<()> {
        if self.candidate.is_none() {
            return Ok(());
        }
        self.may_change(Side::Candidate, seen)?;
        self.made += 1;
        self.retired = self.made;
        self.candidate = None;
        Ok(())
    }

    /// Nothing shall run, on no side.
    pub(crate) fn remove(&mut self) {
        if self.stable.is_some() || self.candidate.is_some() {
            self.made += 1;
            (self.stable, self.candidate) = (None, None);
            self.revisions.clear();
        }
    }

    fn change(
        &mut self,
        side: Side,
        seen: &Mark,
        is_so: impl Fn(&Wish) -> bool,
        make_so: impl FnOnce(&mut Wish),
    ) -> Result<Mark> {
        if let Some(wish) = self.side(side).filter(|wish| is_so(wish)) {
            return Ok(wish.mark());
        }
        self.may_change(side, Some(seen))?;
        self.made += 1;
        let made = self.made;
        let wish = match side {
            Side::Stable => self.stable.as_mut(),
            Side::Candidate => self.candidate.as_mut(),
        };
        let Some(wish) = wish else {
            return Err(Error::conflict(format!(
                "nothing stands on the {} side",
                side.as_str()
            )));
        };
        make_so(wish);
        wish.made = made;
        Ok(wish.mark())
    }

    fn may_change(&self, side: Side, seen: Option<&Mark>) -> Result<()> {
        let now = self.side(side).map(Wish::mark);
        if now.as_ref() == seen {
            return Ok(());
        }
        let wish = self.side(side).map_or("nothing".to_owned(), |wish| {
            format!("{} with {} replicas", wish.version, wish.replicas)
        });
        Err(Error::conflict(format!(
            "somebody else changed the {} side since it was looked at: {wish} is wished for now",
            side.as_str()
        ))
        .next("Look who did it before going on"))
    }

    /// That version is the newest revision now, under the name that it had before if it had one.
    fn came(&mut self, version: &str, now: Option<DateTime<Utc>>) {
        let before = self.revisions.iter().position(|known| known.version == version);
        let mut revision = before.map_or_else(
            || Revision {
                id: RevisionId(self.made.to_string()),
                version: version.to_owned(),
                at: None,
            },
            |place| self.revisions.remove(place),
        );
        revision.at = now;
        self.revisions.insert(0, revision);
        self.revisions.truncate(REVISIONS);
    }
}
