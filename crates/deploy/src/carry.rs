//! Carries acts out, one after the other, each of its effects a step.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Error, ErrorKind, Idem, Report, Verdict as Told};
use durable::{Stop, TaskCx};
use ports::{Commit, Group, Launch, LogEntry, Mark, RollOut, Side};
use serde::{Deserialize, Serialize};

use crate::act::{Act, short};
use crate::analysis::Judged;
use crate::judge::Window;
use crate::look::{Look, Marks};
use crate::outside::Outside;
use crate::plan::Place;
use crate::turn::{Ahead, Turn};
use crate::{asking, ledger};

/// By how much of a hundred a share that was set may be off what was planned.
pub(crate) const TOLERANCE: f64 = 0.5;

/// Under this name a judgement against the version is recorded.
pub(crate) const NOT_WELL: &str = "not-well";

pub(crate) struct Carrier<'a> {
    pub(crate) cx: &'a TaskCx,
    pub(crate) outside: &'a Outside,
    pub(crate) place: &'a Place,
    pub(crate) version: &'a str,
    /// What the version was made from, where the forge knows.
    pub(crate) commit: Option<&'a Commit>,
    /// Forward, it makes way for newer wishes and tells how far it is; back, nothing stops it.
    forward: Option<Forward<'a>>,
    /// How often going back was tried before: steps have names of their own each time.
    pub(crate) round: u32,
    pub(crate) marks: Marks,
    /// Nobody gets more of the new version by what is left to do: it is only watched.
    all_out: bool,
    /// It is written down that users may get the new version.
    reaches: bool,
    /// The stable side was told to stop in the middle.
    pub(crate) halted: bool,
    /// Since when traffic is parted as it is.
    pub(crate) since: Option<DateTime<Utc>>,
    /// Since when users get what they get now: what is taken away beside that changes nothing for them.
    pub(crate) switched: Option<DateTime<Utc>>,
    /// How often each side's replicas had been started again when they were ready.
    pub(crate) restarts: BTreeMap<Side, u32>,
    /// Every judgement, in order, with what had been reached then.
    pub(crate) judged: Vec<(String, Judged)>,
    /// What was measured on both sides so far: each comparison is over all of it.
    pub(crate) windows: Vec<Window>,
    /// Which of the steps that compare is on, from 0, and whether promotion follows it.
    pub(crate) step: u32,
    pub(crate) last: bool,
    pub(crate) reached: String,
    /// How long the plan waits since the last change before it judges.
    pub(crate) interval: Duration,
}

/// The way out.
#[derive(Clone)]
pub(crate) struct Forward<'a> {
    pub(crate) turn: Turn<'a>,
    /// Its name in the log.
    pub(crate) id: String,
    /// The pause that the plan begins with was answered with the plan.
    pub(crate) asked: bool,
    /// Other parts of a group come after it.
    pub(crate) more: bool,
}

/// What stands after somebody else changed it and a person said to go on, and what goes before that by now.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LookedAgain {
    #[serde(flatten)]
    look: Look,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<Ahead>,
}

/// What a write gave: the marks from then on, and when it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    marks: Marks,
    pub(crate) at: DateTime<Utc>,
    /// For who reads the history; an older program did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) what: Option<String>,
}

impl<'a> Carrier<'a> {
    pub(crate) fn new(
        cx: &'a TaskCx,
        outside: &'a Outside,
        place: &'a Place,
        version: &'a str,
        look: &Look,
    ) -> Self {
        Self {
            cx,
            outside,
            place,
            version,
            commit: None,
            forward: None,
            round: 0,
            marks: look.marks(),
            all_out: false,
            reaches: false,
            halted: false,
            since: None,
            switched: None,
            restarts: look.restarts(),
            judged: Vec::new(),
            windows: Vec::new(),
            step: 0,
            last: true,
            reached: "nothing yet".to_owned(),
            interval: Duration::ZERO,
        }
    }

    pub(crate) fn made_from(mut self, commit: Option<&'a Commit>) -> Self {
        self.commit = commit;
        self
    }

    pub(crate) fn forward(mut self, forward: Forward<'a>) -> Self {
        self.forward = Some(forward);
        self
    }

    pub(crate) fn back(mut self, round: u32) -> Self {
        self.round = round;
        self
    }

    pub(crate) fn turn(&self) -> Option<Turn<'a>> {
        let forward = self.forward.as_ref()?;
        Some(forward.turn.watched(self.all_out && !forward.more))
    }

    pub(crate) fn asker(&self) -> asking::Asker<'a> {
        asking::Asker {
            cx: self.cx,
            place: self.place,
            turn: self.turn(),
        }
    }

    pub(crate) async fn carry(&mut self, acts: &[Act]) -> Result<(), Stop> {
        for (place, act) in acts.iter().enumerate() {
            self.all_out = !acts[place..].iter().any(Act::exposes);
            self.last = !acts[place + 1..].iter().any(Act::compares);
            let forward = self.forward.clone();
            if place == 0 && matches!(act, Act::Ask { .. }) && forward.as_ref().is_some_and(|way| way.asked) {
                continue;
            }
            if let Some(forward) = forward.as_ref().filter(|_| act.exposes()) {
                if let Some(turn) = self.turn() {
                    turn.still_ours(&place.to_string()).await?;
                }
                if !self.reaches {
                    let id = forward.id.clone();
                    let reached = LogEntry::Reached { id };
                    ledger::write(self.cx, self.outside, "reach", &[reached]).await?;
                    self.reaches = true;
                }
            }
            match act {
                Act::Pause { span } => self.interval = self.interval.saturating_add(span.0),
                act if act.exposes() => self.interval = Duration::ZERO,
                _ => {}
            }
            self.act(place, act).await?;
            self.step += u32::from(act.compares());
            if forward.is_some() && act.exposes() {
                self.reached = act.what();
                let report = self.under_way(place, acts.len());
                self.cx.tell(("told", place), &report).await?;
            }
        }
        Ok(())
    }

    /// Ends it because the version does not do well, and writes that down: only then its code may be at fault.
    pub(crate) async fn not_well(&self, error: Error) -> Stop {
        if !self.is_forward() {
            return Stop::Fail(error);
        }
        match self.cx.step(NOT_WELL, |_| async { Ok(true) }).await {
            Ok(_) => Stop::Fail(error),
            Err(stop) => stop,
        }
    }

    /// It is on its way out, not back.
    pub(crate) fn is_forward(&self) -> bool {
        self.forward.is_some()
    }

    /// Waits; forward, what goes before it need not wait for the end. The answer says for how long a person paused it.
    pub(crate) async fn pause(&mut self, tag: &str, why: &str, span: Duration) -> Result<Duration, Stop> {
        let Some(turn) = self.turn() else {
            self.cx.sleep_for(("pause", tag), why, span).await?;
            return Ok(Duration::ZERO);
        };
        let stood = turn.rest(tag, why, span, false).await?;
        self.stood_still(stood);
        Ok(stood)
    }

    /// What it stood still makes no window longer that is judged.
    fn stood_still(&mut self, stood: Duration) {
        let stood = TimeDelta::from_std(stood).unwrap_or(TimeDelta::MAX);
        self.since = self.since.and_then(|since| since.checked_add_signed(stood));
    }

    /// The same between two looks at one thing.
    pub(crate) async fn nap(&mut self, tag: &str, why: &str, span: Duration) -> Result<(), Stop> {
        match self.turn() {
            Some(turn) => {
                let stood = turn.rest(tag, why, span, true).await?;
                self.stood_still(stood);
                Ok(())
            }
            None => self.cx.nap(("pause", tag), why, span).await,
        }
    }

    /// One act, again and again if somebody else gets in its way and a person says to go on.
    async fn act(&mut self, place: usize, act: &Act) -> Result<(), Stop> {
        for again in 0_u32.. {
            let tag = match (self.round, again) {
                (0, 0) => place.to_string(),
                (round, again) => format!("{place}.{round}.{again}"),
            };
            match self.attempt(place, &tag, act).await {
                Err(Stop::Fail(error)) if error.kind == ErrorKind::Conflict => {
                    asking::after_a_change_by_hand(&self.asker(), &tag, act, &error).await?;
                    let (turn, place, outside) = (self.turn(), self.place, self.outside);
                    let found: LookedAgain = self
                        .cx
                        .step(("look-again", &tag), |_| async move {
                            let ahead = match &turn {
                                Some(turn) => turn.ahead().await?,
                                None => None,
                            };
                            let look = place.look(outside).await?;
                            Ok(LookedAgain { look, ahead })
                        })
                        .await?;
                    self.marks = found.look.marks();
                    // Whoever said to go on need not know of a pause, nor of a rollback.
                    if let Some(turn) = turn {
                        let stood = turn.yields(&format!("again {tag}"), found.ahead).await?;
                        self.stood_still(stood);
                    }
                }
                done => return done,
            }
        }
        Ok(())
    }

    async fn attempt(&mut self, place: usize, tag: &str, act: &Act) -> Result<(), Stop> {
        match act {
            Act::RollOut { .. } | Act::Undo { .. } => {
                self.write(tag, act).await?;
                self.ready(tag, Side::Stable).await
            }
            Act::Launch { .. } => {
                self.write(tag, act).await?;
                self.ready(tag, Side::Candidate).await
            }
            Act::Scale { side, .. } => {
                self.write(tag, act).await?;
                self.ready(tag, *side).await
            }
            Act::Split { split, .. } => {
                // What grows is ready before what shrinks goes.
                let sides = [(Side::Candidate, split.candidate), (Side::Stable, split.stable)];
                for (side, replicas) in sides {
                    let tag = format!("{tag}-{}", side.as_str());
                    self.write(&tag, &Act::Scale { side, replicas }).await?;
                    self.ready(&tag, side).await?;
                }
                Ok(())
            }
            Act::Retire => {
                self.write(tag, act).await?;
                self.left(tag).await
            }
            Act::Weight { share, .. } => {
                self.carries(tag, *share).await?;
                self.write(tag, act).await
            }
            Act::Flag { .. } => self.write(tag, act).await,
            Act::Pause { span } => {
                let why = format!("in the pause of step {}", place + 1);
                self.pause(tag, &why, span.0).await.map(|_| ())
            }
            Act::Ask { what } => asking::to_go_on(&self.asker(), tag, what, &self.reached).await,
            Act::Analyse { side, compared } => self.analyse(tag, *side, *compared).await,
            Act::Smoke => self.checks(tag, "smoke").await,
            Act::Health => self.checks(tag, "health").await,
        }
    }

    async fn write(&mut self, tag: &str, act: &Act) -> Result<(), Stop> {
        let (marks, this) = (self.marks.clone(), &*self);
        let written: Written = self
            .cx
            .step((act.key(), tag), |idem| async move {
                let marks = this.changed(act, marks, &idem).await?;
                let at = this.outside.log.now().await?;
                let what = Some(act.what());
                Ok(Written { marks, at, what })
            })
            .await?;
        self.marks = written.marks;
        self.since = Some(written.at);
        if *act != Act::Retire {
            self.switched = Some(written.at);
        }
        Ok(())
    }

    /// Carries one change out and answers with the marks after it.
    async fn changed(&self, act: &Act, mut marks: Marks, idem: &Idem) -> Result<Marks, Error> {
        let at = &self.place.workload;
        match act {
            Act::Weight { percent, share } => {
                self.unmoved(&marks).await?;
                self.can_serve(*share).await?;
                let (route, seen) = match (&self.place.route, &marks.route) {
                    (Some(route), Some(seen)) => (route, seen),
                    _ => return Err(gone("the route", at)),
                };
                let router = self.outside.router(&route.target)?;
                let set = router.set(route, *percent, seen, idem).await?;
                let (wanted, found) = (share.percent(), set.candidate.percent());
                if (wanted - found).abs() > TOLERANCE {
                    return Err(Error::rejected(format!(
                        "{} sends {} % of the traffic to the new version where {} % were planned",
                        route.name,
                        short(found),
                        short(wanted)
                    )));
                }
                marks.route = Some(set.mark);
                return Ok(marks);
            }
            Act::Flag { percent } => {
                let (flag, seen) = match (&self.place.flag, &marks.flag) {
                    (Some(flag), Some(seen)) => (flag, seen),
                    _ => return Err(gone("the flag", at)),
                };
                let set = self.outside.flags.set(flag, *percent, seen, idem).await?;
                marks.flag = Some(set.mark);
                return Ok(marks);
            }
            _ => {}
        }
        let fleet = self.outside.fleet(at)?;
        match act {
            Act::RollOut {
                version,
                replicas,
                pace,
            } => {
                let wanted = RollOut {
                    version: version.clone(),
                    replicas: *replicas,
                    pace: *pace,
                };
                let mark = fleet.roll_out(at, &wanted, marks.stable.as_ref(), idem).await?;
                // Who paused it by hand, and then said to go on, wants it to go on.
                marks.stable = Some(fleet.pause(at, false, &mark, idem).await?);
            }
            Act::Undo { to, .. } => {
                let seen = seen(&marks.stable, Side::Stable, at)?;
                let mark = fleet.undo(at, to, seen, idem).await?;
                marks.stable = Some(self.let_go(&mark, idem).await?);
            }
            Act::Launch { version, replicas } => {
                let wanted = Launch {
                    version: version.clone(),
                    replicas: *replicas,
                };
                let mark = fleet.launch(at, &wanted, marks.candidate.as_ref(), idem).await?;
                marks.candidate = Some(mark);
            }
            Act::Scale { side, replicas } => {
                let mark = seen(marks.side(*side), *side, at)?.clone();
                let mut mark = fleet.scale(at, *side, *replicas, &mark, idem).await?;
                if *side == Side::Stable {
                    mark = self.let_go(&mark, idem).await?;
                }
                *marks.side(*side) = Some(mark);
            }
            Act::Retire => {
                fleet.retire(at, marks.candidate.as_ref(), idem).await?;
                marks.candidate = None;
            }
            _ => {}
        }
        Ok(marks)
    }

    /// What a person paused in the middle is not so for who goes back from there: it would never get there.
    async fn let_go(&self, seen: &Mark, idem: &Idem) -> Result<Mark, Error> {
        if self.is_forward() && !self.halted {
            return Ok(seen.clone());
        }
        let at = &self.place.workload;
        self.outside.fleet(at)?.pause(at, false, seen, idem).await
    }

    /// Nobody else has changed either side since it was last seen.
    pub(crate) async fn unmoved(&self, marks: &Marks) -> Result<(), Error> {
        let at = &self.place.workload;
        let fleet = self.outside.fleet(at)?;
        for (side, seen) in [(Side::Stable, &marks.stable), (Side::Candidate, &marks.candidate)] {
            let now = fleet.observe(at, side).await?;
            if now.as_ref().map(|group| &group.mark) != seen.as_ref() {
                return Err(moved(side, at, now.as_ref()));
            }
        }
        Ok(())
    }

    fn under_way(&self, place: usize, of: usize) -> Report {
        let mut report = Report::new(
            Told::Running,
            format!("{}: {} (step {} of {of})", self.version, self.reached, place + 1),
        );
        report.environment = Some(self.place.name.clone());
        report.version = Some(self.version.to_owned());
        report
    }
}

fn seen<'a>(mark: &'a Option<Mark>, side: Side, at: &ports::WorkloadRef) -> Result<&'a Mark, Error> {
    mark.as_ref()
        .ok_or_else(|| gone(&format!("the {} side", side.as_str()), at))
}

pub(crate) fn gone(what: &str, at: &ports::WorkloadRef) -> Error {
    Error::conflict(format!("{what} of {} is gone", at.name))
}

pub(crate) fn moved(side: Side, at: &ports::WorkloadRef, now: Option<&Group>) -> Error {
    let now = now.map_or_else(
        || "nothing stands there now".to_owned(),
        |group| {
            format!(
                "it is told to run {} with {} replicas now",
                group.version, group.wanted
            )
        },
    );
    Error::conflict(format!(
        "the {} side of {} was changed by somebody else: {now}",
        side.as_str(),
        at.name
    ))
}
