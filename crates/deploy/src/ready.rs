//! How a [`Carrier`] waits for replicas: until they are ready, and until they are gone.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::Error;
use durable::Stop;
use ports::{Group, Share, Side};
use serde::{Deserialize, Serialize};

use crate::carry::{Carrier, gone, moved};
use crate::progress::{self, Progress};

/// What stood on a side, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stood {
    pub(crate) group: Option<Group>,
    at: DateTime<Utc>,
}

impl Carrier<'_> {
    /// Waits until a side has all replicas that were wished for, or is stuck. What is measured from then on is theirs.
    pub(crate) async fn ready(&mut self, tag: &str, side: Side) -> Result<(), Stop> {
        let (group, at) = self.complete(tag, side).await?;
        self.restarts.insert(side, group.restarts);
        (self.since, self.switched) = (Some(at), Some(at));
        Ok(())
    }

    /// On the way out, what is to carry a share is ready for it: a pause may have passed since it was, or a person may have
    /// said to go on with what somebody changed.
    pub(crate) async fn carries(&mut self, tag: &str, share: Share) -> Result<(), Stop> {
        if !self.is_forward() {
            return Ok(());
        }
        let side = if share.part > 0 {
            Side::Candidate
        } else {
            Side::Stable
        };
        let (group, _) = self.complete(&format!("{tag}-carries"), side).await?;
        let said = if group.version != self.version {
            format!("runs {}, not {}", group.version, self.version)
        } else if group.wanted == 0 {
            "has no replicas".to_owned()
        } else {
            return Ok(());
        };
        Err(Stop::Fail(Error::rejected(format!(
            "the {} side of {} {said}, so it gets no traffic",
            side.as_str(),
            self.place.workload.name
        ))))
    }

    /// The last look before a share is set: nobody is sent to where nothing answers.
    pub(crate) async fn can_serve(&self, share: Share) -> Result<(), Error> {
        let at = &self.place.workload;
        let side = if share.part > 0 {
            Side::Candidate
        } else {
            Side::Stable
        };
        let group = self.outside.fleet(at)?.observe(at, side).await?;
        let group = group.ok_or_else(|| gone(&format!("the {} side", side.as_str()), at))?;
        match group.ready {
            0 => Err(Error::rejected(format!(
                "the {} side of {} has no replica that is ready, so it gets no traffic",
                side.as_str(),
                at.name
            ))),
            _ => Ok(()),
        }
    }

    async fn complete(&mut self, tag: &str, side: Side) -> Result<(Group, DateTime<Utc>), Stop> {
        let (at, outside) = (&self.place.workload, self.outside);
        let deadline = self.place.environment.progress_deadline.0;
        let (mut before, mut last, mut still) = (None, None, Duration::ZERO);
        let mut looks = 0_u32;
        loop {
            let stood: Stood = self
                .cx
                .step(("progress", tag, looks), |_| async move {
                    let group = outside.fleet(at)?.observe(at, side).await?;
                    let at = outside.log.now().await?;
                    Ok(Stood { group, at })
                })
                .await?;
            let Some(group) = stood.group else {
                return Err(Stop::Fail(gone(&format!("the {} side", side.as_str()), at)));
            };
            if Some(&group.mark) != self.marks.of(side) {
                return Err(Stop::Fail(moved(side, at, Some(&group))));
            }
            let before = *before.get_or_insert(group.restarts);
            let position = progress::position(&group);
            if last.replace(position) != Some(position) {
                still = Duration::ZERO;
            }
            let so_far = match progress::judge(&group, before, still, deadline) {
                Progress::Complete => return Ok((group, stood.at)),
                Progress::Stuck { why } => {
                    let what = format!("{} does not become ready: {why}", group.version);
                    return Err(self.not_well(Error::rejected(what)).await);
                }
                Progress::Going { so_far } => so_far,
            };
            let pause = progress::pause(looks);
            let why = format!("for {} to become ready ({so_far})", group.version);
            let key = ("wait", tag, looks);
            looks = looks.saturating_add(1);
            match self.turn() {
                None => self.cx.nap(key, &why, pause).await?,
                Some(turn) => {
                    if !turn.napped(key, &why, pause).await? {
                        let before = format!("{tag}-ready-{}", looks - 1);
                        if let Some(paused) = turn.paused(&before).await? {
                            self.halt(&before, side, &group.version, true).await?;
                            turn.stand_still(&before, paused).await?;
                            self.halt(&before, side, &group.version, false).await?;
                        }
                        continue;
                    }
                }
            }
            still += pause;
        }
    }

    /// Stops the stable side's replacement of its replicas by `version` in the middle, or lets it go on. Where it is so
    /// already the target takes that for done, whoever did it, and whatever else they changed.
    async fn halt(&mut self, before: &str, side: Side, version: &str, paused: bool) -> Result<(), Stop> {
        let (Side::Stable, Some(seen)) = (side, &self.marks.stable) else {
            return Ok(());
        };
        let (at, outside) = (&self.place.workload, self.outside);
        // From here on whoever writes that side next lets it go on.
        self.halted = true;
        let key = if paused { "halt" } else { "let-go" };
        let mark = self
            .cx
            .step((key, before), |idem| async move {
                let fleet = outside.fleet(at)?;
                let mark = fleet.pause(at, paused, seen, &idem).await?;
                match fleet.observe(at, side).await? {
                    Some(now) if now.version == version => Ok(mark),
                    now => Err(moved(side, at, now.as_ref())),
                }
            })
            .await?;
        self.marks.stable = Some(mark);
        self.halted = paused;
        Ok(())
    }

    /// Waits until what was taken away has answered its last request: until then the next deployment has no place. What
    /// never goes stops nothing here, and is shown to whoever looks next.
    pub(crate) async fn left(&self, tag: &str) -> Result<(), Stop> {
        let (at, outside) = (&self.place.workload, self.outside);
        let deadline = self.place.environment.progress_deadline.0;
        let mut waited = Duration::ZERO;
        for looks in 0_u32.. {
            let stands: bool = self
                .cx
                .step(("leaving", tag, looks), |_| async move {
                    let group = outside.fleet(at)?.observe(at, Side::Candidate).await?;
                    Ok(group.is_some())
                })
                .await?;
            if !stands || waited >= deadline {
                break;
            }
            let pause = progress::pause(looks);
            let why = "for what was taken away to answer its last requests";
            self.cx.nap(("drain", tag, looks), why, pause).await?;
            waited += pause;
        }
        Ok(())
    }
}
