use super::difference::{Chances, Difference, difference, usable};
use super::plan::{Analysis, Check, Compare, Criticality, Direction, Metric};
use super::score::{Score, score};
use super::series::{self, Pair, Window, pairs, values};
use super::verdict::{Decision, Estimate, Evidence, Finding, Judgement, Outcome, PerSide, Scale, Span};

/// An effect that is the same all along shows itself as one and a half times as large where growth is looked for.
const CONSTANT_AS_GROWING: f64 = 1.5;

/// After so many intervals half of the risk of a false abort may be spent.
const HALF_SPENT: f64 = 50.0;

/// Judges a canary by all its windows so far, in the order of time. `last` is whether promotion follows.
///
/// The same windows give the same judgement: nothing else is read, so a replay decides alike.
pub fn judge(analysis: &Analysis, windows: &[Window], last: bool) -> Judgement {
    let look = u32::try_from(windows.len().max(1)).unwrap_or(u32::MAX);
    let findings: Vec<Finding> = analysis
        .metrics
        .iter()
        .map(|m| find(analysis, m, windows, look))
        .collect();
    let score = score(analysis, &findings);
    let (outcome, settled) = overall(analysis, &findings, score);
    let step = windows.last().map(|w| w.step);
    let extensions = windows
        .iter()
        .rev()
        .take_while(|w| Some(w.step) == step)
        .count()
        .saturating_sub(1);
    let left = (analysis.max_extensions as usize).saturating_sub(extensions);
    let (decision, next) = decide(analysis, &findings, outcome, last, left);
    Judgement {
        outcome,
        decision,
        why: format!("{settled}; {next}"),
        score: score.unwrap_or(Score {
            worst: 0.0,
            best: 100.0,
        }),
        look,
        findings,
    }
}

fn find(analysis: &Analysis, metric: &Metric, windows: &[Window], look: u32) -> Finding {
    let mut critical = metric.criticality == Criticality::Critical;
    let mut leaning_good = false;
    let (outcome, why, mut evidence) = match &metric.check {
        Check::Compare(compare) => {
            let pairs = pairs(windows, &metric.name, compare.nan);
            let before = match windows.split_last() {
                Some((_, earlier)) => series::pairs(earlier, &metric.name, compare.nan).len(),
                None => 0,
            };
            let judged_before = if before < analysis.min_points as usize {
                0
            } else {
                before
            };
            let share = spent_by(pairs.len()) - spent_by(judged_before);
            let chances = Chances {
                low: (analysis.risk.abort / f64::from(analysis.comparisons()) / 2.0 * share).max(1e-12),
                high: analysis.risk.promote,
            };
            let found = compared(compare, &pairs, chances, analysis.min_points);
            leaning_good = found.leaning_good;
            (found.outcome, found.why, found.evidence)
        }
        Check::Ranks(ranks) => {
            let (canary, baseline) = values(windows, &metric.name, ranks.nan);
            let (outcome, by_effect, why, evidence) =
                ranks.assess(&canary, &baseline, look, analysis.min_points);
            critical |= by_effect;
            (outcome, why, evidence)
        }
        Check::Threshold(threshold) => {
            let measured: Vec<_> = windows
                .iter()
                .filter_map(|w| w.measured.get(&metric.name))
                .flatten()
                .cloned()
                .collect();
            threshold.assess(&measured)
        }
    };
    evidence.windows = windows.iter().map(|w| w.span).collect::<Vec<Span>>();
    Finding {
        metric: metric.name.clone(),
        outcome,
        why,
        critical,
        leaning_good,
        evidence,
    }
}

/// The part of the risk of a false abort that may be spent by the time that so many intervals were seen. It comes to no more than
/// all of it however often is looked, and little is spent while there is little to see chance by (after Lan and DeMets 1983).
fn spent_by(points: usize) -> f64 {
    let squared = (points * points) as f64;
    squared / (squared + HALF_SPENT * HALF_SPENT)
}

struct Compared {
    outcome: Outcome,
    why: String,
    leaning_good: bool,
    evidence: Evidence,
}

fn compared(compare: &Compare, pairs: &[Pair], chances: Chances, min_points: u32) -> Compared {
    match compare.direction {
        Direction::Increase => one_way(compare, pairs, chances, min_points, false),
        Direction::Decrease => one_way(compare, pairs, chances, min_points, true),
        Direction::Either => {
            // Two questions are asked, so each may err half as often.
            let half = Chances {
                low: chances.low / 2.0,
                ..chances
            };
            let more = one_way(compare, pairs, half, min_points, false);
            let less = one_way(compare, pairs, half, min_points, true);
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

fn one_way(compare: &Compare, pairs: &[Pair], chances: Chances, min_points: u32, flipped: bool) -> Compared {
    let pairs = usable(pairs, compare, flipped);
    let mut evidence = Evidence {
        method: "difference by interval".to_owned(),
        points: PerSide {
            canary: pairs.len() as f64,
            baseline: pairs.len() as f64,
        },
        scale: Some(compare.scale),
        limits: [
            ("allowed", compare.allowed),
            ("harm", compare.harm),
            ("chance_of_false_fail", chances.low),
            ("chance_of_false_pass", chances.high),
            ("min_points", f64::from(min_points)),
        ]
        .map(|(name, limit)| (name.to_owned(), limit))
        .into(),
        ..Evidence::default()
    };
    let enough = pairs.len() >= min_points as usize;
    let Some(found) = difference(&pairs, compare, chances).filter(|_| enough) else {
        let why = format!(
            "{} intervals have enough data on both sides; {min_points} are needed",
            pairs.len()
        );
        return Compared {
            outcome: Outcome::NoData,
            why,
            leaning_good: false,
            evidence,
        };
    };
    let worth = |limit: f64| {
        if compare.scale == Scale::Ratio {
            limit.ln()
        } else {
            limit
        }
    };
    let (allowed, harm) = (worth(compare.allowed), worth(compare.harm));
    let (whole, growing) = (found.whole, found.growing);
    // Few points know little of how far chance reaches, so the effect must be the nearer to harm the fewer there are.
    let stopping = allowed + (harm - allowed) * (1.0 - found.points as f64 / HALF_SPENT).max(0.0);
    let large = whole.value >= allowed;
    let grows = growing.value >= CONSTANT_AS_GROWING * allowed;
    let shown = |limit: f64| say(compare, limit);
    let (outcome, why) = if whole.value >= stopping && whole.low > 0.0 {
        (
            Outcome::Fail,
            format!(
                "{}: more than chance, and {} is allowed",
                worse_by(compare, whole),
                shown(allowed)
            ),
        )
    } else if growing.value >= CONSTANT_AS_GROWING * stopping && growing.low > 0.0 {
        (
            Outcome::Fail,
            format!("growing, by now {}: more than chance", worse_by(compare, growing)),
        )
    } else if !large && whole.high < harm && growing.high < harm {
        (
            Outcome::Pass,
            format!("{}: {} is ruled out", worse_by(compare, whole), shown(harm)),
        )
    } else if large || grows {
        (
            Outcome::Inconclusive,
            format!(
                "{}: too much to pass, but it may be chance",
                worse_by(compare, whole)
            ),
        )
    } else if whole.high >= harm {
        (
            Outcome::Inconclusive,
            format!(
                "{}: {} cannot be ruled out yet",
                worse_by(compare, whole),
                shown(harm)
            ),
        )
    } else {
        let why = format!(
            "{}: that it grows to {} cannot be ruled out yet",
            worse_by(compare, whole),
            shown(growing.high.max(harm))
        );
        (Outcome::Inconclusive, why)
    };
    fill(&mut evidence, compare, &found, flipped);
    Compared {
        outcome,
        why,
        leaning_good: !large && !grows,
        evidence,
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
    let unscaled = |e: Estimate| match compare.scale {
        Scale::Difference => e,
        Scale::Ratio => Estimate {
            value: e.value.exp(),
            low: e.low.exp(),
            high: e.high.exp(),
        },
    };
    let points = found.points as f64;
    evidence.points = PerSide {
        canary: points,
        baseline: points,
    };
    evidence.requests = found.requests.map(turned);
    evidence.level = Some(turned(found.level));
    evidence.effect = Some(unscaled(found.whole));
    evidence.growing = Some(unscaled(found.growing));
    evidence.autocorrelation = Some(found.autocorrelation);
}

fn worse_by(compare: &Compare, effect: Estimate) -> String {
    format!(
        "worse by {} ({} to {})",
        say(compare, effect.value),
        say(compare, effect.low),
        say(compare, effect.high)
    )
}

/// An effect for people: shares and quotients in percent.
fn say(compare: &Compare, effect: f64) -> String {
    match (compare.scale, compare.kind) {
        (Scale::Ratio, _) => format!("{:+.1} %", (effect.exp() - 1.0) * 100.0),
        (Scale::Difference, super::plan::Kind::Rate) => format!("{:+.2} points", effect * 100.0),
        (Scale::Difference, _) => format!("{effect:+.4}"),
    }
}

fn overall(analysis: &Analysis, findings: &[Finding], score: Option<Score>) -> (Outcome, String) {
    let counted = || {
        let pairs = analysis.metrics.iter().zip(findings);
        pairs
            .filter(|(metric, _)| metric.criticality != Criticality::ReportOnly)
            .map(|(_, finding)| finding)
    };
    let quote = |finding: &Finding| format!("{}: {}", finding.metric, finding.why);
    let failed: Vec<String> = counted()
        .filter(|f| f.outcome == Outcome::Fail)
        .map(quote)
        .collect();
    if let Some(finding) = counted().find(|f| f.critical && f.outcome == Outcome::Fail) {
        return (Outcome::Fail, quote(finding));
    }
    let open: Vec<&Finding> = counted()
        .filter(|f| matches!(f.outcome, Outcome::Inconclusive | Outcome::NoData))
        .collect();
    let Some(score) = score else {
        return (Outcome::NoData, "no metric counts".to_owned());
    };
    if score.best < analysis.marginal {
        let why = format!(
            "the score is at most {:.0}, below {:.0}; {}",
            score.best,
            analysis.marginal,
            failed.join("; ")
        );
        return (Outcome::Fail, why);
    }
    if score.worst >= analysis.pass && !open.iter().any(|f| f.critical) {
        return (
            Outcome::Pass,
            format!(
                "the score is {:.0} of {:.0} that are needed",
                score.worst, analysis.pass
            ),
        );
    }
    let why: Vec<String> = open.iter().map(|f| quote(f)).chain(failed).collect();
    let outcome = match open.iter().any(|f| f.outcome == Outcome::NoData) {
        true => Outcome::NoData,
        false => Outcome::Inconclusive,
    };
    (outcome, why.join("; "))
}

fn decide(
    analysis: &Analysis,
    findings: &[Finding],
    outcome: Outcome,
    last: bool,
    extensions_left: usize,
) -> (Decision, String) {
    let open = analysis.metrics.iter().zip(findings).filter(|(metric, finding)| {
        metric.criticality != Criticality::ReportOnly && finding.outcome != Outcome::Pass
    });
    let leaning_good = open
        .into_iter()
        .all(|(_, f)| f.outcome == Outcome::Inconclusive && f.leaning_good);
    match outcome {
        Outcome::Fail => (Decision::Abort, "abort".to_owned()),
        Outcome::Pass if last => (Decision::Proceed, "promote".to_owned()),
        Outcome::Pass => (Decision::Proceed, "go on".to_owned()),
        Outcome::Inconclusive if !last && leaning_good => (
            Decision::Proceed,
            "nothing speaks against the next step, and promotion will need more".to_owned(),
        ),
        _ if extensions_left > 0 => (
            Decision::Extend,
            format!("one more window, {} may follow", extensions_left - 1),
        ),
        _ => (
            Decision::AskPerson,
            "no more windows are left: a person decides".to_owned(),
        ),
    }
}

#[cfg(test)]
#[path = "course_tests.rs"]
mod tests;
