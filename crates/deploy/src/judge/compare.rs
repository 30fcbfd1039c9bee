use super::difference::{Chances, Difference, Lower, difference, usable};
use super::plan::{Compare, Direction, Kind};
use super::series::Pair;
use super::verdict::{Estimate, Evidence, Outcome, PerSide, Scale};

/// An effect that is the same all along shows itself as one and a half times as large where growth is looked for.
const CONSTANT_AS_GROWING: f64 = 1.5;

/// After so many intervals half of the risk of a false abort may be spent. Kayenta's advice for a metric is as many points.
const HALF_SPENT: f64 = 50.0;

/// The latest window keeps a canary from passing if it is this unlikely to look so bad by chance.
const SUSPICION: f64 = 0.1;

/// The whole course, its growth and its latest window: three questions, each of which may abort.
const QUESTIONS: f64 = 3.0;

/// Both sides by interval: with the latest window, and without it.
pub(super) struct Seen {
    pub all: Vec<Pair>,
    pub earlier: Vec<Pair>,
}

#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// The chance of a false abort that this metric may spend over the whole course.
    pub abort: f64,
    pub promote: f64,
    pub min_points: usize,
}

pub(super) struct Compared {
    pub outcome: Outcome,
    pub why: String,
    /// Not settled, and what there is speaks for the canary.
    pub leaning_good: bool,
    pub evidence: Evidence,
}

pub(super) fn compared(compare: &Compare, seen: &Seen, terms: Terms) -> Compared {
    match compare.direction {
        Direction::Increase => one_way(compare, seen, terms, false),
        Direction::Decrease => one_way(compare, seen, terms, true),
        Direction::Either => {
            // Two ways to fail, so each may err half as often.
            let half = Terms {
                abort: terms.abort / 2.0,
                ..terms
            };
            let more = one_way(compare, seen, half, false);
            let less = one_way(compare, seen, half, true);
            let rank = |c: &Compared| match c.outcome {
                Outcome::Fail => 3,
                Outcome::NoData => 2,
                Outcome::Inconclusive => 1,
                Outcome::Pass => 0,
            };
            let leaning_good = more.leaning_good && less.leaning_good;
            let decides = if rank(&less) > rank(&more) { less } else { more };
            Compared {
                leaning_good,
                ..decides
            }
        }
    }
}

/// The part of the risk of a false abort that may be spent by the time that so many intervals were seen. It comes to no more than
/// all of it however often is looked, and little is spent while there is little to see chance by (after Lan and DeMets 1983).
pub(super) fn spent_by(points: usize) -> f64 {
    let squared = (points * points) as f64;
    squared / (squared + HALF_SPENT * HALF_SPENT)
}

fn one_way(compare: &Compare, seen: &Seen, terms: Terms, flipped: bool) -> Compared {
    let pairs = usable(&seen.all, compare, flipped);
    let earlier = usable(&seen.earlier, compare, flipped).len();
    let judged = if earlier < terms.min_points { 0 } else { earlier };
    let share = spent_by(pairs.len()) - spent_by(judged);
    let chances = Chances {
        low: (terms.abort / QUESTIONS * share).max(1e-12),
        high: terms.promote,
        lower: Lower::Stop,
    };
    let mut evidence = evidence(compare, &pairs, chances, terms);
    let enough = pairs.len() >= terms.min_points;
    let Some(found) = difference(&pairs, compare, chances).filter(|_| enough) else {
        let (have, need) = (pairs.len(), terms.min_points);
        let why = format!("{have} intervals have enough data on both sides; {need} are needed");
        return Compared {
            outcome: Outcome::NoData,
            why,
            leaning_good: false,
            evidence,
        };
    };
    let latest = &pairs[earlier.min(pairs.len() - terms.min_points)..];
    let apart = latest.len() < pairs.len();
    let recent = |chances| {
        difference(latest, compare, chances)
            .filter(|_| apart)
            .map(|d| d.whole)
    };
    let stops = recent(chances);
    let hinted = recent(Chances {
        low: SUSPICION,
        lower: Lower::Suspect,
        ..chances
    });
    fill(&mut evidence, compare, &found, flipped);
    evidence.recent = stops.map(|r| unscaled(compare, r));
    let effects = Effects {
        whole: found.whole,
        growing: found.growing,
        recent: stops,
        hinted,
    };
    let (outcome, why, leaning_good) = effects.settle(compare, found.points);
    Compared {
        outcome,
        why,
        leaning_good,
        evidence,
    }
}

struct Effects {
    whole: Estimate,
    growing: Estimate,
    /// Of the latest window, where there are others.
    recent: Option<Estimate>,
    /// The same, with a lower bound that only has to rouse suspicion.
    hinted: Option<Estimate>,
}

impl Effects {
    fn settle(&self, compare: &Compare, points: usize) -> (Outcome, String, bool) {
        let worth = |limit: f64| {
            if compare.scale == Scale::Ratio {
                limit.ln()
            } else {
                limit
            }
        };
        let (allowed, harm) = (worth(compare.allowed), worth(compare.harm));
        let (whole, growing) = (self.whole, self.growing);
        // Few points know little of how far chance reaches, so the effect must be the nearer to harm the fewer there are.
        let stopping = allowed + (harm - allowed) * (1.0 - points as f64 / HALF_SPENT).max(0.0);
        let fails = |effect: Estimate, limit: f64| effect.value >= limit && effect.low > 0.0;
        let by = |effect: Estimate| worse_by(compare, effect);
        let limit = |limit: f64| say(compare, limit);

        if fails(whole, stopping) {
            let why = format!(
                "{}: more than chance, and {} is allowed",
                by(whole),
                limit(allowed)
            );
            return (Outcome::Fail, why, false);
        }
        if fails(growing, CONSTANT_AS_GROWING * stopping) {
            return (
                Outcome::Fail,
                format!("growing, by now {}: more than chance", by(growing)),
                false,
            );
        }
        if let Some(recent) = self.recent.filter(|recent| fails(*recent, harm)) {
            return (
                Outcome::Fail,
                format!("in the latest window {}: more than chance", by(recent)),
                false,
            );
        }
        let suspect = self.hinted.filter(|hinted| fails(*hinted, allowed));
        let leaning_good = whole.value < allowed && growing.value < CONSTANT_AS_GROWING * allowed;
        let ruled_out = whole.high < harm && growing.high < harm;
        if whole.value < allowed && ruled_out && suspect.is_none() {
            return (
                Outcome::Pass,
                format!("{}: {} is ruled out", by(whole), limit(harm)),
                true,
            );
        }
        let why = if let Some(recent) = suspect {
            format!(
                "in the latest window {}: too much to pass, but it may be chance",
                by(recent)
            )
        } else if whole.value >= allowed {
            format!("{}: too much to pass, but it may be chance", by(whole))
        } else if whole.high >= harm {
            format!("{}: {} cannot be ruled out yet", by(whole), limit(harm))
        } else {
            format!(
                "growing, by now {}: {} cannot be ruled out yet",
                by(growing),
                limit(harm)
            )
        };
        (Outcome::Inconclusive, why, leaning_good)
    }
}

fn evidence(compare: &Compare, pairs: &[Pair], chances: Chances, terms: Terms) -> Evidence {
    let points = pairs.len() as f64;
    let limits = [
        ("allowed", compare.allowed),
        ("harm", compare.harm),
        ("chance_of_false_fail", chances.low),
        ("chance_of_missed_harm", chances.high),
        ("min_points", terms.min_points as f64),
    ];
    Evidence {
        method: "difference by interval".to_owned(),
        points: PerSide {
            canary: points,
            baseline: points,
        },
        scale: Some(compare.scale),
        limits: limits.map(|(name, limit)| (name.to_owned(), limit)).into(),
        ..Evidence::default()
    }
}

fn fill(evidence: &mut Evidence, compare: &Compare, found: &Difference, flipped: bool) {
    let turned = |sides: PerSide| match flipped {
        false => sides,
        true => PerSide {
            canary: sides.baseline,
            baseline: sides.canary,
        },
    };
    evidence.requests = found.requests.map(turned);
    evidence.level = Some(turned(found.level));
    evidence.effect = Some(unscaled(compare, found.whole));
    evidence.growing = Some(unscaled(compare, found.growing));
    evidence.autocorrelation = Some(found.autocorrelation);
}

fn unscaled(compare: &Compare, effect: Estimate) -> Estimate {
    match compare.scale {
        Scale::Difference if compare.kind == Kind::Rate => Estimate {
            value: of_a_share(effect.value),
            low: of_a_share(effect.low),
            high: of_a_share(effect.high),
        },
        Scale::Difference => effect,
        Scale::Ratio => Estimate {
            value: effect.value.exp(),
            low: effect.low.exp(),
            high: effect.high.exp(),
        },
    }
}

fn worse_by(compare: &Compare, effect: Estimate) -> String {
    let said = |effect| say(compare, effect);
    format!(
        "worse by {} ({} to {})",
        said(effect.value),
        said(effect.low),
        said(effect.high)
    )
}

/// Two shares are at most the whole apart, however little is known of them.
fn of_a_share(difference: f64) -> f64 {
    difference.clamp(-1.0, 1.0)
}

/// An effect for people: shares and quotients in percent.
fn say(compare: &Compare, effect: f64) -> String {
    match (compare.scale, compare.kind) {
        (Scale::Ratio, _) => format!("{:+.1} %", (effect.exp() - 1.0) * 100.0),
        (Scale::Difference, Kind::Rate) => format!("{:+.2} points", of_a_share(effect) * 100.0),
        (Scale::Difference, _) => format!("{effect:+.4}"),
    }
}
