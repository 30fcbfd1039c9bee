//! Whether what serves again after going back is well: by the environment's health checks, and by those of its metrics that
//! have limits of their own. Nobody waits for it: the traffic is back by then.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Error, Report, Span, Verdict};
use durable::Stop;
use ports::Side;
use serde::{Deserialize, Serialize};

use crate::analysis::{self, Judged};
use crate::carry::Carrier;
use crate::judge::{self, Criticality, Decision, Finding, Outcome};
use crate::judging::Looked;
use crate::plan::Place;
use crate::report;
use crate::settings::Analysis;

/// What was found of what serves again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verified {
    /// What was found well, in words.
    well: Vec<String>,
    /// Why it is not known to be well.
    open: Vec<String>,
    /// What was not looked at, or does not count.
    aside: Vec<String>,
    unwell: Option<String>,
    judged: Vec<Judged>,
    /// Since when it serves again.
    #[serde(default)]
    back_at: Option<DateTime<Utc>>,
}

/// What serves again, in the words of a sentence's beginning.
pub(crate) fn again(place: &Place, version: &str) -> String {
    match place.only_flag {
        true => "the flag is back where it was".to_owned(),
        false => format!("{version} serves again"),
    }
}

impl Verified {
    /// Nobody looked.
    pub(crate) fn not(why: &str) -> Self {
        Self {
            open: vec![why.to_owned()],
            ..Self::default()
        }
    }

    /// What began before ways back were verified ends as it was begun.
    pub(crate) fn by_an_older_program() -> Self {
        Self::not("the task was begun by an older version of the program, which measured nothing of it")
    }

    pub(crate) fn back_at(&self) -> Option<DateTime<Utc>> {
        self.back_at
    }

    pub(crate) fn unwell(&self) -> Option<&str> {
        self.unwell.as_deref()
    }

    fn is_well(&self) -> bool {
        self.unwell.is_none() && self.open.is_empty() && !self.well.is_empty()
    }

    /// What was seen and judged, under what had been reached then.
    pub(crate) fn judged(&self, place: &Place, version: &str) -> Vec<(String, Judged)> {
        let reached = again(place, version);
        let under = |judged: &Judged| (reached.clone(), judged.clone());
        self.judged.iter().map(under).collect()
    }

    pub(crate) fn told(&self, mut report: Report, place: &Place, version: &str) -> Report {
        let again = again(place, version);
        let label = match (&self.unwell, self.is_well()) {
            (Some(_), _) => "Not well",
            (None, true) => "Verified",
            (None, false) => "Not verified",
        };
        let mut words = again.clone();
        if !self.well.is_empty() {
            words.push_str(&format!(": {}", self.well.join(", ")));
        }
        for more in self.unwell.iter().chain(&self.open).chain(&self.aside) {
            words.push_str(&format!("; {more}"));
        }
        if let Some(why) = &self.unwell {
            report.verdict = Verdict::Failed;
            report
                .summary
                .push_str(&format!("; {again} and is not well: {why}"));
            let held = format!("hold: {again} and is not well; a person said to leave it so");
            match report
                .facts
                .iter_mut()
                .find(|fact| fact.label == report::DECISION)
            {
                Some(fact) => fact.value = held,
                None => report = report.fact(report::DECISION, held),
            }
        }
        if report.data.is_object() {
            report.data["verified"] = self.is_well().into();
        }
        report.fact(label, words)
    }
}

impl Carrier<'_> {
    /// Looks at what serves now, and measures it over one window that begins with the switch.
    pub(crate) async fn verify(&mut self) -> Result<Verified, Stop> {
        let environment = &self.place.environment;
        let mut found = Verified::default();
        let (checks, asked) = (environment.health.len(), environment.analysis.asked(false));
        if checks == 0 && asked.metrics.is_empty() {
            return Ok(Verified::not(&format!(
                "nothing is declared to verify it by: {} has neither health checks nor metrics with limits of their own",
                self.place.name
            )));
        }
        let now: DateTime<Utc> = self
            .cx
            .step(("verify-from", self.round), |_| self.outside.log.now())
            .await?;
        let from = self.switched.unwrap_or(now);
        found.back_at = Some(from);
        if checks == 0 {
            found.aside.push("no health check is declared".to_owned());
        } else {
            let tag = format!("back-{}", self.round);
            let looked = self.checks(&tag, "health").await;
            let seen = std::mem::take(&mut self.judged);
            found.judged.extend(seen.into_iter().map(|(_, judged)| judged));
            match looked {
                Ok(()) => {
                    let words = format!("{checks} of {checks} health checks answered");
                    found.well.push(words);
                }
                Err(Stop::Fail(error)) => return Ok(found.with(&error)),
                Err(stop) => return Err(stop),
            }
        }
        if asked.metrics.is_empty() {
            let words = "nothing is measured, since no metric has a limit of its own";
            found.aside.push(words.to_owned());
            return Ok(found);
        }
        let span = self.since_the_switch(&environment.analysis, from, now).await?;
        let (this, judging) = (&*self, &asked);
        let looked: Result<Looked, Stop> = self
            .cx
            .step(("verify", self.round), |_| {
                this.look(Some(span), Side::Stable, false, judging, &[])
            })
            .await;
        match looked {
            Ok(looked) => found.measured(looked.judged, &asked, span),
            Err(Stop::Fail(error)) => return Ok(found.with(&error)),
            Err(stop) => return Err(stop),
        }
        let names = environment.analysis.metrics.iter().map(|metric| &metric.name);
        let without = names.filter(|name| asked.metrics.iter().all(|of| of.name != **name));
        let without: Vec<String> = without
            .map(|name| format!("{name} is not measured, since it has no limit of its own"))
            .collect();
        found.aside.extend(without);
        Ok(found)
    }

    /// As long as a window must be that is held against limits, and no longer; waited for until all of it was collected.
    async fn since_the_switch(
        &self,
        analysis: &Analysis,
        from: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<judge::Span, Stop> {
        let points = i32::try_from(analysis.minimum_samples.max(1)).unwrap_or(i32::MAX);
        let needed = analysis.interval().checked_mul(points);
        let at_least = TimeDelta::from_std(analysis.at_least.0).unwrap_or(TimeDelta::MAX);
        let length = needed.unwrap_or(TimeDelta::MAX).max(at_least);
        let span = judge::Span {
            from,
            to: from.checked_add_signed(length).unwrap_or(now),
        };
        let rest = (span.readable_at(analysis.scrape()) - now)
            .to_std()
            .unwrap_or_default();
        let why = "for measurements of what serves again";
        self.cx.sleep_for(("verify-wait", self.round), why, rest).await?;
        Ok(span)
    }
}

impl Verified {
    fn with(mut self, error: &Error) -> Self {
        self.unwell = Some(report::told_once(error));
        self
    }

    fn measured(&mut self, mut judged: Judged, asked: &judge::Analysis, span: judge::Span) {
        // There is one window: what comes next is a person's to say, not the judge's.
        if let Some(judgement) = &mut judged.judgement
            && let Some((settled, _)) = judgement.why.rsplit_once("; ")
        {
            judgement.why = settled.to_owned();
        }
        if judged.decision() == Decision::Abort {
            self.unwell = Some(judged.why());
        }
        let seconds = (span.to - span.from).num_seconds();
        let over = Span::seconds(u64::try_from(seconds).unwrap_or_default());
        let findings = judged.judgement.iter().flat_map(|judgement| &judgement.findings);
        for (metric, finding) in asked.metrics.iter().zip(findings) {
            let outcome = analysis::words(finding.outcome);
            match finding.outcome {
                Outcome::Pass => self.well.push(format!("{} over {over}", measured(finding))),
                _ if metric.criticality == Criticality::ReportOnly => {
                    let words = format!("{} ({outcome}) does not count", measured(finding));
                    self.aside.push(words);
                }
                // What failed stands in what is not well.
                Outcome::Fail if self.unwell.is_some() => {}
                _ => {
                    let words = format!("{}: {outcome} over {over} ({})", finding.metric, finding.why);
                    self.open.push(words);
                }
            }
        }
        self.open.extend(judged.unanswered.iter().cloned());
        self.judged.push(judged);
    }
}

/// `error_rate 0.001 (at most 0.01)`
fn measured(finding: &Finding) -> String {
    let mut words = finding.metric.clone();
    if let Some(value) = finding.evidence.values.last() {
        words.push_str(&format!(" {}", judge::short(*value)));
    }
    let limit = |name: &str, says: &str| {
        let limit = finding.evidence.limits.get(name)?;
        Some(format!("{says} {}", judge::short(*limit)))
    };
    let limits: Vec<String> = [
        limit("success_min", "at least"),
        limit("success_max", "at most"),
        limit("failure_min", "fails from"),
        limit("failure_max", "fails up to"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !limits.is_empty() {
        words.push_str(&format!(" ({})", limits.join(", ")));
    }
    words
}
