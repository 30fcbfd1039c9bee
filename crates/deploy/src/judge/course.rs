use super::compare::{Seen, Terms, compared};
use super::plan::{Analysis, Check, Criticality, Metric};
use super::score::{Score, score};
use super::series::{Measurement, Window, pairs, values};
use super::verdict::{Decision, Finding, Judgement, Outcome, Span};

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
    let (mut outcome, mut why, mut evidence) = match &metric.check {
        Check::Compare(compare) => {
            let earlier = windows.split_last().map_or(&[][..], |(_, earlier)| earlier);
            let seen = Seen {
                all: pairs(windows, &metric.name, compare.nan),
                earlier: pairs(earlier, &metric.name, compare.nan),
            };
            let terms = Terms {
                abort: analysis.risk.abort / f64::from(analysis.comparisons()),
                promote: analysis.risk.promote,
                min_points: analysis.min_points as usize,
            };
            let found = compared(compare, &seen, terms);
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
    // What earlier steps were measured by says nothing of a share that nobody measured.
    if matches!(outcome, Outcome::Pass | Outcome::Inconclusive) && !is_measured(metric, windows) {
        (outcome, leaning_good) = (Outcome::NoData, false);
        why = format!("nothing was measured since the step before ({why})");
    }
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

/// Whether the newest window has anything to judge the metric by.
fn is_measured(metric: &Metric, windows: &[Window]) -> bool {
    let Some(newest) = windows.last() else {
        return false;
    };
    let newest = std::slice::from_ref(newest);
    match &metric.check {
        Check::Compare(compare) => !pairs(newest, &metric.name, compare.nan).is_empty(),
        Check::Ranks(ranks) => {
            let (canary, baseline) = values(newest, &metric.name, ranks.nan);
            !canary.is_empty() && !baseline.is_empty()
        }
        Check::Threshold(threshold) => {
            let measured = newest[0].measured.get(&metric.name).into_iter().flatten();
            measured.into_iter().any(|measurement| {
                matches!(measurement, Measurement::Value(value) if threshold.of(*value) != Outcome::NoData)
            })
        }
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
