//! How a [`Carrier`] looks and judges on its way.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::Error;
use durable::Stop;
use ports::{Check, Group, Side};
use serde::{Deserialize, Serialize};

use crate::analysis::{Judged, Of, Reader, Seen};
use crate::carry::Carrier;
use crate::checks::{About, CheckSettings};
use crate::judge::{self, Decision};
use crate::{asking, progress, turn};

/// How often what users reach is looked at before it is held to be unwell, and how long lies between.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(5);

/// What a step of judging records: a replay judges by what was read then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Looked {
    pub(crate) judged: Judged,
    /// None where nothing is measured.
    window: Option<judge::Window>,
    /// When it was; an older program did not write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<DateTime<Utc>>,
}

impl Looked {
    /// When it was judged, as well as that is known.
    pub(crate) fn at(&self) -> Option<DateTime<Utc>> {
        self.at.or(self.window.as_ref().map(|window| window.span.to))
    }
}

impl Carrier<'_> {
    pub(crate) async fn checks(&mut self, tag: &str, which: &str) -> Result<(), Stop> {
        let environment = &self.place.environment;
        let (checks, side) = match which {
            "smoke" => (&environment.smoke, Side::Candidate),
            _ => (&environment.health, Side::Stable),
        };
        let about = About {
            place: self.place,
            version: self.version,
            commit: self.commit,
            side,
        };
        let looks: Vec<_> = checks
            .iter()
            .filter_map(|check| Some((check, check.check(about)?)))
            .collect();
        if !looks.is_empty() {
            self.look_at(tag, which, &looks).await?;
        }
        for (number, check) in checks.iter().enumerate() {
            let Some(job) = &check.job else { continue };
            let seen = self
                .run_job(&format!("{tag}-{number}"), check, job, about)
                .await?;
            let judged = Judged {
                seen: vec![seen],
                ..Judged::default()
            };
            self.settled(which, judged).await?;
        }
        Ok(())
    }

    /// What answers is asked up to three times; what runs (a command) too, so that it must bear being run again.
    async fn look_at(
        &mut self,
        tag: &str,
        which: &str,
        looks: &[(&CheckSettings, Check)],
    ) -> Result<(), Stop> {
        let outside = self.outside;
        for look in 0..LOOKS {
            let seen: Vec<Seen> = self
                .cx
                .step((which, tag, look), |_| async move {
                    let mut found = Vec::new();
                    for (settings, check) in looks {
                        let seen = outside.probe.check(check).await?;
                        let at = Some(outside.log.now().await?);
                        found.push(Seen {
                            at,
                            name: settings.name().to_owned(),
                            well: seen.well,
                            why: seen.what,
                        });
                    }
                    Ok(found)
                })
                .await?;
            let mut judged = Judged {
                seen,
                ..Judged::default()
            };
            if judged.decision() == Decision::Proceed {
                // That an address answers is not worth a line; what a command found is.
                let mut ran = looks.iter().map(|(settings, _)| settings.command.is_some());
                judged.seen.retain(|_| ran.next().unwrap_or_default());
                if !judged.seen.is_empty() {
                    self.judged.push((self.reached.clone(), judged));
                }
                return Ok(());
            }
            if look + 1 == LOOKS {
                return self.settled(which, judged).await;
            }
            let why = format!("to look again, since the {which} check failed: {}", judged.why());
            self.cx
                .nap(("unwell", format!("{which}-{tag}"), look), &why, BETWEEN)
                .await?;
        }
        Ok(())
    }

    /// Keeps what was seen at last; the deployment ends with it where that is not well.
    async fn settled(&mut self, which: &str, judged: Judged) -> Result<(), Stop> {
        let failed = (judged.decision() != Decision::Proceed)
            .then(|| Error::rejected(format!("the {which} check failed: {}", judged.why())));
        self.judged.push((self.reached.clone(), judged));
        match failed {
            None => Ok(()),
            Some(error) => Err(self.not_well(error).await),
        }
    }

    /// Judges what was measured since traffic was last parted anew; beside the stable side, together with the windows of
    /// earlier steps. Too little to judge by gives the step another window, and then a person is asked: it counts neither
    /// as a failure nor as a success.
    pub(crate) async fn analyse(&mut self, tag: &str, side: Side, compared: bool) -> Result<(), Stop> {
        let asked = self.place.environment.analysis.asked(compared);
        let mut windows = match compared {
            // Kept until it is over: what stops it and is tried again has them still.
            true => self.windows.clone(),
            false => Vec::new(),
        };
        let (mut before, mut length): (Option<DateTime<Utc>>, _) = (None, None);
        // What people took to answer makes no later window longer.
        let planned = self.interval.max(self.place.environment.analysis.at_least.0);
        for round in 0_u32.. {
            let span = match asked.metrics.is_empty() {
                true => None,
                false => Some(self.ended_window(tag, round, before).await?),
            };
            let (this, asked, earlier) = (&*self, &asked, &windows);
            let looked: Looked = self
                .cx
                .step(("judge", tag, round), |_| {
                    this.look(span, side, compared, asked, earlier)
                })
                .await?;
            windows.extend(looked.window);
            let judged = looked.judged;
            let (decision, words, why) = (judged.decision(), judged.words(), judged.why());
            self.judged.push((self.reached.clone(), judged));
            match decision {
                Decision::Proceed => break,
                Decision::Abort => {
                    let what = format!("{} failed its judgement: {why}", self.version);
                    return Err(self.not_well(Error::rejected(what)).await);
                }
                Decision::Extend => {
                    let longer = span.and_then(|span| (span.to - span.from).to_std().ok());
                    let longer = longer.map_or(Duration::ZERO, |longer| {
                        longer.min(*length.get_or_insert(longer.min(planned)))
                    });
                    let why = "for more traffic to judge by";
                    let stood = self.pause(&format!("{tag}-longer-{round}"), why, longer).await?;
                    let stood = TimeDelta::from_std(stood).unwrap_or(TimeDelta::MAX);
                    before = span.and_then(|span| span.to.checked_add_signed(stood));
                }
                Decision::AskPerson => {
                    let what = format!("the judgement is {words}: {why}");
                    asking::without_a_verdict(&self.asker(), tag, &what, &self.reached).await?;
                    break;
                }
            }
        }
        if compared {
            self.windows = windows;
        }
        Ok(())
    }

    /// A window of at least the length that may be judged, waited for until everything in it was collected. It begins with
    /// the last change of the traffic, or where the one `before` it ended; later by what it stood still.
    async fn ended_window(
        &self,
        tag: &str,
        round: u32,
        before: Option<DateTime<Utc>>,
    ) -> Result<judge::Span, Stop> {
        let analysis = &self.place.environment.analysis;
        let until: DateTime<Utc> = self
            .cx
            .step(("until", tag, round), |_| self.outside.log.now())
            .await?;
        let at_least = TimeDelta::from_std(analysis.at_least.0).unwrap_or(TimeDelta::MAX);
        let from = before.or(self.since).unwrap_or(until);
        let span = judge::Span {
            from,
            to: until.max(from.checked_add_signed(at_least).unwrap_or(until)),
        };
        let rest = (span.readable_at(analysis.scrape()) - until)
            .to_std()
            .unwrap_or_default();
        let why = format!("for {} of measurements", turn::whole(rest));
        self.cx.sleep_for(("collect", tag, round), &why, rest).await?;
        Ok(span)
    }

    pub(crate) async fn look(
        &self,
        span: Option<judge::Span>,
        side: Side,
        compared: bool,
        asked: &judge::Analysis,
        earlier: &[judge::Window],
    ) -> Result<Looked, Error> {
        let at = &self.place.workload;
        let analysis = &self.place.environment.analysis;
        let mut judged = Judged {
            unjudged: analysis.unjudged(compared, self.place.only_flag),
            ..Judged::default()
        };
        let mut versions = [None, None];
        if !self.place.only_flag {
            self.unmoved(&self.marks).await?;
            let fleet = self.outside.fleet(at)?;
            for (place, of) in [side, Side::Stable].into_iter().enumerate() {
                let group = fleet.observe(at, of).await?;
                if place == 0 {
                    judged.seen.push(self.replicas(side, group.as_ref()));
                }
                versions[place] = group.map(|group| group.version);
            }
        }
        let Some(span) = span else {
            let at = Some(self.outside.log.now().await?);
            return Ok(Looked {
                judged,
                window: None,
                at,
            });
        };
        let [tried, served] = versions.map(|version| version.unwrap_or_else(|| self.version.to_owned()));
        let of = |side, version| Of {
            side,
            version,
            workload: &at.name,
        };
        let reader = Reader {
            store: &*self.outside.metrics,
            analysis,
            span,
            step: self.step,
            tried: of(side, &tried),
            baseline: compared.then(|| of(Side::Stable, &served)),
        };
        let (window, unanswered) = reader.read(asked).await;
        let windows: Vec<judge::Window> = earlier.iter().chain([&window]).cloned().collect();
        judged.judgement = Some(judge::judge(asked, &windows, self.last));
        judged.unanswered = unanswered;
        Ok(Looked {
            judged,
            window: Some(window),
            at: Some(self.outside.log.now().await?),
        })
    }

    fn replicas(&self, side: Side, group: Option<&Group>) -> Seen {
        let seen = |well, why: String| Seen {
            at: None,
            name: "replicas".to_owned(),
            well,
            why,
        };
        let Some(group) = group else {
            return seen(false, "there are none".to_owned());
        };
        let before = self.restarts.get(&side).copied().unwrap_or_default();
        let again = group.restarts.saturating_sub(before);
        let so_far = progress::so_far(group);
        if again > 0 {
            let said = group
                .trouble
                .first()
                .map_or_else(String::new, |said| format!(": {said}"));
            seen(false, format!("started again {again} times ({so_far}){said}"))
        } else {
            seen(group.ready >= group.wanted, so_far)
        }
    }
}
