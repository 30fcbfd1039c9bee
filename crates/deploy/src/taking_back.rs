//! Taking back what a deployment did, from what stands now: which of the run's steps took effect does not matter.

use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind, Report, Verdict};
use durable::{Cause, Stop, TaskCx};
use ports::{DeploymentOutcome, LogEntry, RecordRef, RecordStatus};
use serde_json::Value;

use crate::act;
use crate::analysis::Judged;
use crate::carry::{Carrier, NOT_WELL};
use crate::course::Kind;
use crate::deploy::{Deploy, Settled};
use crate::judging::Looked as Judging;
use crate::look::Look;
use crate::part::{self, Looked, Part, Scopes};
use crate::plan::{self, Place, Plan};
use crate::report::{self, Told};
use crate::revert::{self, Bad, Opened};
use crate::settings::Revert;
use crate::story::{self, Story};
use crate::verify::{self, Verified};
use crate::{asking, group, ledger, patience, target, turn, undoing};

/// Why it is taken back, as far as that decides what is done.
struct Why<'a> {
    cause: &'a Cause,
    is_superseded: bool,
}

impl Why<'_> {
    /// What went wrong; nothing for what is only not wanted any more.
    fn failed(&self) -> Option<&Error> {
        self.cause.error().filter(|_| !self.is_superseded)
    }

    fn unwanted(&self) -> DeploymentOutcome {
        match self.is_superseded {
            true => DeploymentOutcome::Superseded,
            false => DeploymentOutcome::Cancelled,
        }
    }
}

/// How a part was left.
enum Undone<'a> {
    /// Nothing of it was begun.
    NotBegun,
    Back(Back<'a>),
    /// By a person's word.
    Left(String),
}

/// What served before serves again.
struct Back<'a> {
    lines: Vec<act::Line>,
    carrier: Box<Carrier<'a>>,
    /// None where nothing was changed, or nothing served before.
    verified: Option<Verified>,
}

impl Back<'_> {
    fn is_unwell(&self) -> bool {
        self.verified
            .as_ref()
            .is_some_and(|found| found.unwell().is_some())
    }
}

impl Undone<'_> {
    fn back_at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Back(back) => back.verified.as_ref()?.back_at(),
            _ => None,
        }
    }
}

impl Deploy {
    /// Of a group, what was brought out last goes first; what a person wants left as it is keeps what it needs.
    pub(crate) async fn take_all_back(
        &self,
        cx: &TaskCx,
        settled: &Settled,
        cause: &Cause,
    ) -> Result<Report, Stop> {
        let parts = &settled.parts[..];
        let scopes = Scopes::of(cx, parts)?;
        let superseded = |error: &Error| error.what.starts_with(turn::SUPERSEDED);
        let why = Why {
            cause,
            is_superseded: cause.error().is_some_and(superseded),
        };
        let mut begun = Vec::new();
        for at in 0..parts.len() {
            begun.push(match scopes.at(at).recorded::<String>("start")? {
                Some(key) => cx
                    .recorded::<Vec<Looked>>(key)?
                    .and_then(|all| all.into_iter().nth(at)),
                None => None,
            });
        }
        if cx.recorded::<Value>("end")?.is_some() {
            return self.over_already(cx, &scopes, parts, &begun, cause).await;
        }
        let last = begun.iter().rposition(Option::is_some);
        let blamed = last.and_then(|last| Some((last, why.failed()?)));
        if let Some((at, error)) = blamed {
            let id = parts[at].id(&cx.task().id);
            ledger::write(cx, &self.outside, "blame", &[ledger::failure(&id, error)]).await?;
        }
        // What did well by itself is taken back for another's sake.
        let of_another = blamed.map(|(at, error)| Cause::Failure {
            error: parts[at].told(error.clone()),
        });
        let cause_of = |at: usize| match blamed {
            Some((blamed, _)) if blamed != at => of_another.as_ref().unwrap_or(cause),
            _ => cause,
        };
        let by_hand = blamed.filter(|(_, error)| error.kind == ErrorKind::Conflict);
        let mut left = by_hand.map(|(_, error)| report::told_once(error));
        let mut undone: Vec<Undone<'_>> = Vec::new();
        for (at, part) in parts.iter().enumerate().rev() {
            let how = match (&begun[at], &left) {
                (None, _) => Undone::NotBegun,
                (Some(_), Some(why)) => Undone::Left(why.clone()),
                (Some(begun), None) => self.take_back(scopes.at(at), part, begun, 0).await?,
            };
            if let Undone::Left(why) = &how {
                left.get_or_insert_with(|| why.clone());
            }
            undone.insert(0, how);
        }
        // Once the traffic is back everywhere: nothing waits for what is measured then.
        let mut found: Vec<Undone<'_>> = Vec::new();
        for (at, how) in undone.into_iter().enumerate().rev() {
            let how = match (how, &begun[at]) {
                (Undone::Back(back), Some(begun)) => {
                    let (scope, part) = (scopes.at(at), &parts[at]);
                    self.verified(scope, settled, (part, begun), &why, back).await?
                }
                (how, _) => how,
            };
            found.insert(0, how);
        }
        let undone = found;
        let mut entries = Vec::new();
        for (at, (part, how)) in parts.iter().zip(&undone).enumerate() {
            let failed_itself = blamed.is_some_and(|(blamed, _)| blamed == at);
            let (id, begun) = (part.id(&cx.task().id), begun[at].as_ref());
            // It is not over while what serves is not well.
            if failed_itself && matches!(how, Undone::Back(back) if !back.is_unwell()) {
                let id = ledger::failure_id(&id);
                let at = how.back_at();
                entries.push(LogEntry::Recovered { id, at });
            }
            let outcome = outcome(
                &why,
                how,
                begun.map(|begun| &begun.plan),
                failed_itself || last.is_none(),
            );
            entries.push(ledger::ended(id, outcome, ledger::cause_words(cause_of(at))));
        }
        if cx.recorded::<Value>("asked")?.is_some() {
            ledger::write(cx, &self.outside, "end", &entries).await?;
        }
        // The forge comes last: what serves does not wait for it.
        let records = self.records(&scopes, parts).await?;
        let agreed = story::agreement(cx)?;
        let mut reports = Vec::new();
        for (at, (part, how)) in parts.iter().zip(&undone).enumerate() {
            let failed_itself = blamed.is_some_and(|(blamed, _)| blamed == at);
            let (begun, record) = (begun[at].as_ref(), records[at].as_ref());
            let mut told = self
                .told(scopes.at(at), part, begun, how, record, cause_of(at))
                .await?;
            if blamed.is_some() && !failed_itself && !matches!(how, Undone::Left(_)) {
                told.next_steps.clear();
            }
            if let Some((agreed, looked)) = agreed.as_ref().and_then(|all| Some((all, all.looked.get(at)?))) {
                told = report::with_agreed(told, &part.place, looked, agreed.approved_by.as_deref());
            }
            reports.push(told);
        }
        for (at, part) in parts.iter().enumerate() {
            let status = match undone[at] {
                Undone::NotBegun => RecordStatus::Canceled,
                Undone::Back(_) if blamed.is_some_and(|(blamed, _)| blamed != at) => RecordStatus::Canceled,
                _ if *cause == Cause::Cancelled => RecordStatus::Canceled,
                _ => RecordStatus::Failed,
            };
            let (scope, record) = (scopes.at(at), records[at].as_ref());
            ledger::update(scope, &self.outside, &part.place, "record-end", record, status).await?;
        }
        if let (Some((at, error)), false) = (blamed, left.is_some()) {
            let (scope, part, begun) = (scopes.at(at), &parts[at], begun[at].as_ref());
            let opened = self.revert(scope, part, begun, error).await?;
            reports[at] = report::with_revert(reports[at].clone(), opened.as_ref());
            if let (Some(begun), Verdict::RolledBack) = (begun, reports[at].verdict) {
                let reason = report::told_once(error);
                let mut history = scope.history();
                // What was asked about the whole of a group.
                history.extend(part.service.iter().flat_map(|_| cx.history()));
                let story = Story::of(&history, &begun.plan.acts);
                let draft = self.post_mortem(scope, part, begun, &story, (&reason, opened.as_ref()));
                reports[at] = report::with_draft(reports[at].clone(), draft.await?);
            }
        }
        let is_left = left.is_some();
        Ok(part::together(parts, reports, |reports| {
            group::taken_back(reports, last, is_left, cause)
        }))
    }

    /// Takes the code back as well, where the environment's settings want that. It comes last of all: nothing waits for it.
    async fn revert(
        &self,
        cx: &TaskCx,
        part: &Part,
        begun: Option<&Looked>,
        error: &Error,
    ) -> Result<Option<Opened>, Stop> {
        let place = &part.place;
        let wanted = place.environment.rollback.revert == Revert::MergeRequest && !place.only_flag;
        let plan = begun.map(|begun| &begun.plan);
        // What failed although it had served before is not the code's fault.
        let Some((plan, from)) = plan
            .and_then(|plan| Some((plan, plan.from()?)))
            .filter(|_| wanted)
        else {
            return Ok(None);
        };
        // A deadline, a right that is missing or a person's no says nothing of the code.
        if plan.kind == Kind::There || cx.recorded::<bool>(NOT_WELL)?.is_none() {
            return Ok(None);
        }
        let reason = report::told_once(error);
        let served = self.served(cx, place, from).await?;
        let bad = Bad {
            version: Some(&part.version),
            sha: part.commit.as_ref().map(|commit| commit.sha.as_str()),
            target: from,
            target_sha: served.as_deref(),
            reason: &reason,
        };
        revert::open(cx, &self.outside, place, &bad).await.map(Some)
    }

    /// The commit of what serves again, as far as that is known.
    async fn served(&self, cx: &TaskCx, place: &Place, version: &str) -> Result<Option<String>, Stop> {
        let (log, forge) = (&self.outside.log, &self.outside);
        let known: Option<String> = cx
            .step("served", |_| async move {
                let newest = log
                    .newest(&place.repo_id, &place.name, ledger::LOOKED_THROUGH)
                    .await?;
                Ok(target::made_from(version, &newest).map(|commit| commit.sha))
            })
            .await?;
        if known.is_some() {
            return Ok(known);
        }
        let found = ledger::at_the_forge(cx, "served-commit", |_| {
            plan::commit(forge, &place.repo, None, version)
        });
        Ok(found.await?.ok().flatten().map(|commit| commit.sha))
    }

    async fn records(&self, scopes: &Scopes<'_>, parts: &[Part]) -> Result<Vec<Option<RecordRef>>, Stop> {
        let mut records = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let (cx, commit) = (scopes.at(at), part.commit.as_ref());
            let known = cx.recorded("record")?;
            records.push(ledger::recorded(cx, &self.outside, &part.place, commit, known).await?);
        }
        Ok(records)
    }

    /// What stopped it came when every part had ended well and was written down so: that stays.
    async fn over_already(
        &self,
        whole: &TaskCx,
        scopes: &Scopes<'_>,
        parts: &[Part],
        begun: &[Option<Looked>],
        cause: &Cause,
    ) -> Result<Report, Stop> {
        let records = self.records(scopes, parts).await?;
        let approved_by = story::agreement(whole)?.and_then(|agreed| agreed.approved_by);
        let mut reports = Vec::new();
        for (at, (part, begun)) in parts.iter().zip(begun).enumerate() {
            let (cx, place, record) = (scopes.at(at), &part.place, records[at].as_ref());
            let success = RecordStatus::Success;
            let refused = ledger::update(cx, &self.outside, place, "record-end", record, success).await?;
            let Some(begun) = begun else {
                reports.push(report::untouched(place, &part.version, cause));
                continue;
            };
            let judged = judged(cx, &begun.plan)?;
            let told = Told {
                gates: &begun.gates,
                judged: &judged,
                approved_by: approved_by.clone(),
                unrecorded: refused,
                record_url: record.and_then(|record| record.url.clone()),
            };
            reports.push(report::done(place, &begun.plan, &told));
        }
        let told = part::together(parts, reports, group::done);
        Ok(report::over_already(told, cause))
    }

    async fn told(
        &self,
        cx: &TaskCx,
        part: &Part,
        begun: Option<&Looked>,
        how: &Undone<'_>,
        record: Option<&RecordRef>,
        cause: &Cause,
    ) -> Result<Report, Stop> {
        let place = &part.place;
        Ok(match (begun, how) {
            (Some(begun), Undone::Back(back)) => {
                let (mut judged, served) = (judged(cx, &begun.plan)?, back.carrier.version);
                if let Some(found) = &back.verified {
                    judged.extend(found.judged(place, served));
                }
                let told = Told {
                    gates: &begun.gates,
                    judged: &judged,
                    record_url: record.and_then(|record| record.url.clone()),
                    ..Told::default()
                };
                let report = report::undone(place, &begun.plan, &back.lines, cause, &told);
                match &back.verified {
                    Some(found) => found.told(report, place, served),
                    None => report,
                }
            }
            (Some(begun), Undone::Left(why)) => {
                let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
                let by_hand = report::is_by_hand(cause);
                report::left(place, &begun.plan, &report::stands(&look), why, by_hand)
            }
            _ => report::untouched(place, &part.version, cause),
        })
    }

    /// Goes back to what stood before, or says why it was left as it is, by a person's word.
    async fn take_back<'a>(
        &'a self,
        cx: &'a TaskCx,
        part: &'a Part,
        begun: &'a Looked,
        first: u32,
    ) -> Result<Undone<'a>, Stop> {
        let (place, version) = (&part.place, &part.version);
        let mut round = first;
        loop {
            let (before, planned) = (&begun.look, &begun.plan.acts);
            let (now, acts) = patience::look(cx, &self.outside, place, ("look-back", round), |now| {
                undoing::back(before, now, version, &place.environment, planned)
            })
            .await?;
            let why = match acts {
                Ok(acts) => {
                    let lines = act::outline_back(&acts, &now.standing(), &place.environment);
                    let mut carrier = Carrier::new(cx, &self.outside, place, version, &now).back(round);
                    match carrier.carry(&acts).await {
                        Ok(()) => {
                            let served = begun.look.serves().map(|served| served.version.as_str());
                            carrier.version = served.unwrap_or(version);
                            let verified = None;
                            return Ok(Undone::Back(Back {
                                lines,
                                carrier: Box::new(carrier),
                                verified,
                            }));
                        }
                        Err(Stop::Fail(error)) => report::told_once(&error),
                        Err(stop) => return Err(stop),
                    }
                }
                Err(why) => why,
            };
            if !asking::to_undo_again(cx, place, round, &why).await? {
                return Ok(Undone::Left(why));
            }
            round += 1;
        }
    }

    /// Verifies what serves again. Where that is not well it is held, and a yes looks at all of it anew.
    async fn verified<'a>(
        &'a self,
        cx: &'a TaskCx,
        settled: &Settled,
        (part, begun): (&'a Part, &'a Looked),
        why: &Why<'_>,
        mut back: Back<'a>,
    ) -> Result<Undone<'a>, Stop> {
        let place = &part.place;
        let serves = place.only_flag || begun.look.serves().is_some();
        if back.lines.is_empty() || !serves {
            return Ok(Undone::Back(back));
        }
        let unseen = match (settled.verifies, why.failed()) {
            (false, _) => Some(Verified::by_an_older_program()),
            // Whoever made it stop waits for the environment.
            (true, None) => Some(Verified::not(
                "it was not measured, since whoever comes next need not wait for that",
            )),
            (true, Some(_)) => None,
        };
        if unseen.is_some() {
            back.verified = unseen;
            return Ok(Undone::Back(back));
        }
        loop {
            let found = back.carrier.verify().await?;
            let unwell = found.unwell().map(str::to_owned);
            back.verified = Some(found);
            let Some(unwell) = unwell else {
                return Ok(Undone::Back(back));
            };
            let (round, again) = (back.carrier.round, verify::again(place, back.carrier.version));
            if !asking::to_verify_again(cx, place, round, &again, &unwell).await? {
                return Ok(Undone::Back(back));
            }
            match self.take_back(cx, part, begun, round + 1).await? {
                Undone::Back(mut anew) => {
                    anew.lines = [back.lines, anew.lines].concat();
                    back = anew;
                }
                other => return Ok(other),
            }
        }
    }
}

/// What failed by itself is told apart from what was only taken back with it.
fn outcome(why: &Why<'_>, how: &Undone<'_>, plan: Option<&Plan>, failed_itself: bool) -> DeploymentOutcome {
    let failed = why.failed().is_some();
    match how {
        Undone::Left(_) => DeploymentOutcome::Failed,
        _ if !failed || !failed_itself => why.unwanted(),
        Undone::NotBegun => DeploymentOutcome::Failed,
        Undone::Back(_) if plan.is_none_or(|plan| plan.from().is_none() || plan.kind == Kind::There) => {
            DeploymentOutcome::Failed
        }
        Undone::Back(_) => DeploymentOutcome::RolledBack,
    }
}

/// Every judgement that the run came to, with what had been reached then.
fn judged(cx: &TaskCx, plan: &Plan) -> Result<Vec<(String, Judged)>, Stop> {
    let mut reached = "nothing yet".to_owned();
    let mut judged = Vec::new();
    for (place, act) in plan.acts.iter().enumerate() {
        if act.exposes() {
            reached = act.what();
        }
        for round in 0_u32.. {
            let Some(looked) = cx.recorded::<Judging>(("judge", place, round))? else {
                break;
            };
            judged.push((reached.clone(), looked.judged));
        }
    }
    Ok(judged)
}
