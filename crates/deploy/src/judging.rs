//! How a [`Carrier`] looks and judges on its way.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::Error;
use durable::Stop;
use ports::{Group, Side};

use crate::act;
use crate::analysis::{self, Finding, Judgement, Verdict};
use crate::carry::Carrier;
use crate::{asking, progress, report};

/// How often what users reach is looked at before it is held to be unwell, and how long lies between.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(5);

impl Carrier<'_> {
    pub(crate) async fn checks(&mut self, tag: &str, which: &str) -> Result<(), Stop> {
        let (environment, outside) = (&self.place.environment, self.outside);
        let checks = if which == "smoke" {
            &environment.smoke
        } else {
            &environment.health
        };
        if checks.is_empty() {
            return Ok(());
        }
        for look in 0..LOOKS {
            let found: Vec<Finding> = self
                .cx
                .step((which, tag, look), |_| async move {
                    let mut found = Vec::new();
                    for check in checks {
                        let seen = outside.probe.check(&check.check()).await?;
                        found.push(Finding {
                            name: check.name().to_owned(),
                            verdict: if seen.well { Verdict::Pass } else { Verdict::Fail },
                            why: seen.what,
                        });
                    }
                    Ok(found)
                })
                .await?;
            let judgement = Judgement::of(found);
            if judgement.verdict == Verdict::Pass {
                return Ok(());
            }
            if look + 1 == LOOKS {
                let error = Error::rejected(format!("the {which} check failed: {}", judgement.why()));
                self.judged.push((self.reached.clone(), judgement));
                return Err(Stop::Fail(error));
            }
            self.cx
                .sleep(("unwell", format!("{which}-{tag}"), look), BETWEEN)
                .await?;
        }
        Ok(())
    }

    /// Judges what was measured since traffic was last parted anew. Too little to judge by extends the time, and then
    /// a person is asked: it counts neither as a failure nor as a success.
    pub(crate) async fn analyse(&mut self, tag: &str, side: Side, compared: bool) -> Result<(), Stop> {
        let analysis = &self.place.environment.analysis;
        for round in 0_u32.. {
            let window = match analysis.metrics.is_empty() {
                true => None,
                false => Some(self.ended_window(tag, round).await?),
            };
            let judgement: Judgement = self
                .cx
                .step(("judge", tag, round), |_| self.judge(window, side, compared))
                .await?;
            let (verdict, why) = (judgement.verdict, judgement.why());
            self.judged.push((self.reached.clone(), judgement));
            match verdict {
                Verdict::Pass => return Ok(()),
                Verdict::Fail => {
                    let what = format!("{} failed its judgement: {why}", self.version);
                    return Err(Stop::Fail(Error::rejected(what)));
                }
                Verdict::NoData | Verdict::Inconclusive if round < analysis.extensions => {
                    let longer = window.map_or(analysis.at_least.0, |(start, end)| {
                        (end - start).to_std().unwrap_or(analysis.at_least.0)
                    });
                    self.pause(&format!("{tag}-longer-{round}"), longer).await?;
                }
                undecided => {
                    let what = format!("the judgement is {}: {why}", undecided.words());
                    return asking::without_a_verdict(self.cx, self.place, tag, &what, &self.reached).await;
                }
            }
        }
        Ok(())
    }

    /// A window of at least the length that may be judged, waited for until everything in it was collected.
    async fn ended_window(&self, tag: &str, round: u32) -> Result<(DateTime<Utc>, DateTime<Utc>), Stop> {
        let environment = &self.place.environment;
        let until: DateTime<Utc> = self
            .cx
            .step(("until", tag, round), |_| self.outside.log.now())
            .await?;
        let at_least = TimeDelta::from_std(environment.analysis.at_least.0).unwrap_or(TimeDelta::MAX);
        let start = self.since.unwrap_or(until);
        let end = until.max(start.checked_add_signed(at_least).unwrap_or(until));
        let rest = (end - until).to_std().unwrap_or_default();
        self.cx
            .sleep(("collect", tag, round), rest + act::settle(environment))
            .await?;
        Ok((start, end))
    }

    async fn judge(
        &self,
        window: Option<(DateTime<Utc>, DateTime<Utc>)>,
        side: Side,
        compared: bool,
    ) -> Result<Judgement, Error> {
        let (analysis, at) = (&self.place.environment.analysis, &self.place.workload);
        let mut findings = Vec::new();
        let mut versions = [None, None];
        if !self.place.only_flag {
            self.unmoved(&self.marks).await?;
            let fleet = self.outside.fleet(at)?;
            for (place, of) in [side, Side::Stable].into_iter().enumerate() {
                let group = fleet.observe(at, of).await?;
                if place == 0 {
                    findings.push(self.replicas(group.as_ref()));
                }
                versions[place] = group.map(|group| group.version);
            }
        }
        let Some((start, end)) = window else {
            return Ok(Judgement::of(findings));
        };
        let window = analysis::window(analysis, start, end);
        let [tried, served] = versions.map(|version| version.unwrap_or_else(|| self.version.to_owned()));
        for metric in &analysis.metrics {
            let read = async |of: Side, version: &str| {
                let asked = analysis::question(analysis, metric, of, version, &at.name);
                let answer = self.outside.metrics.range(&asked, &window).await?;
                Ok::<_, Error>(analysis::samples(&answer))
            };
            let baseline_wanted = compared && metric.max_increase_percent.is_some();
            let both = async {
                let candidate = read(side, &tried).await?;
                let baseline = match baseline_wanted {
                    true => Some(read(Side::Stable, &served).await?),
                    false => None,
                };
                Ok::<_, Error>((candidate, baseline))
            };
            let (verdict, why) = match both.await {
                Ok((candidate, baseline)) => {
                    analysis::judge(metric, analysis.minimum_samples, &candidate, baseline.as_deref())
                }
                // A store that does not answer says nothing of the candidate, neither good nor bad.
                Err(error) => (Verdict::Inconclusive, report::told_once(&error)),
            };
            findings.push(Finding {
                name: metric.name.clone(),
                verdict,
                why,
            });
        }
        Ok(Judgement::of(findings))
    }

    fn replicas(&self, group: Option<&Group>) -> Finding {
        let finding = |verdict, why: String| Finding {
            name: "replicas".to_owned(),
            verdict,
            why,
        };
        let Some(group) = group else {
            return finding(Verdict::Fail, "there are none".to_owned());
        };
        let again = group.restarts.saturating_sub(self.restarts);
        let so_far = progress::so_far(group);
        if again > 0 {
            let said = group
                .trouble
                .first()
                .map_or_else(String::new, |said| format!(": {said}"));
            finding(
                Verdict::Fail,
                format!("started again {again} times ({so_far}){said}"),
            )
        } else if group.ready < group.wanted {
            finding(Verdict::Fail, so_far)
        } else {
            finding(Verdict::Pass, so_far)
        }
    }
}
