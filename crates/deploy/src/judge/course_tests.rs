use std::collections::BTreeMap;

use chrono::{DateTime, Duration};

use super::super::compare::spent_by;
use super::super::plan::{Analysis, Check, Compare, Criticality, Direction, Metric};
use super::super::ranks::Ranks;
use super::super::series::{Measurement, Sample, Sides, Window};
use super::super::threshold::{Bounds, Threshold};
use super::super::verdict::{Decision, Outcome, Scale, Span};
use super::*;

const REQUESTS: f64 = 500.0;

/// Small, known disturbances that sum to nothing over 11 points.
fn wobble(i: i64) -> f64 {
    (i * 7 % 11 - 5) as f64 / 5.0
}

/// Twenty intervals. `canary` says errors and latency of the canary by interval.
fn window(step: u32, number: i64, canary: impl Fn(i64) -> (f64, f64)) -> Window {
    let first = number * 20;
    let samples = |values: &dyn Fn(i64) -> f64| -> Vec<Sample> {
        (first..first + 20)
            .map(|i| Sample::new(i * 15, values(i), Some(REQUESTS)))
            .collect()
    };
    let sides = |canary: &dyn Fn(i64) -> f64, baseline: &dyn Fn(i64) -> f64| Sides {
        canary: samples(canary),
        baseline: samples(baseline),
    };
    let errors = sides(&|i| canary(i).0 + 0.002 * wobble(i), &|i| {
        0.01 + 0.002 * wobble(i + 3)
    });
    let latency = sides(&|i| canary(i).1 * (1.0 + 0.02 * wobble(i + 5)), &|i| {
        100.0 * (1.0 + 0.02 * wobble(i))
    });
    let at = |i: i64| DateTime::UNIX_EPOCH + Duration::seconds(i * 15);
    Window {
        span: Span {
            from: at(first),
            to: at(first + 20),
        },
        step,
        interval_s: 15,
        compared: BTreeMap::from([
            ("error_rate".to_owned(), errors),
            ("latency_p95".to_owned(), latency),
        ]),
        measured: BTreeMap::new(),
    }
}

fn windows(count: i64, canary: impl Fn(i64) -> (f64, f64) + Copy) -> Vec<Window> {
    (0..count).map(|n| window(n as u32, n, canary)).collect()
}

fn same(_: i64) -> (f64, f64) {
    (0.01, 100.0)
}

#[test]
fn the_same_version_goes_on_and_is_promoted() {
    let (analysis, all) = (Analysis::default(), windows(4, same));
    for seen in 1..=4 {
        let found = judge(&analysis, &all[..seen], seen == 4);
        assert_eq!(
            (found.outcome, found.decision),
            (Outcome::Pass, Decision::Proceed),
            "{}",
            found.why
        );
        assert_eq!(found.look as usize, seen);
    }
}

#[test]
fn harm_aborts_and_says_by_what() {
    let analysis = Analysis::default();
    for (canary, metric, said) in [
        ((0.03, 100.0), "error_rate", "+2.00 points"),
        ((0.01, 120.0), "latency_p95", "+20."),
    ] {
        let found = judge(&analysis, &windows(3, |_| canary), false);
        assert_eq!(
            (found.outcome, found.decision),
            (Outcome::Fail, Decision::Abort),
            "{}",
            found.why
        );
        assert!(
            found.why.starts_with(metric) && found.why.contains(said),
            "{}",
            found.why
        );
        let finding = found.findings.iter().find(|f| f.metric == metric).unwrap();
        let effect = finding.evidence.effect.unwrap();
        assert!(effect.low < effect.value && effect.value < effect.high);
        assert_eq!(finding.evidence.points.canary, 60.0);
        assert_eq!(finding.evidence.windows.len(), 3);
    }
}

/// Real and small: the bounds exclude chance, and the limit allows it.
#[test]
fn what_is_allowed_passes_even_if_it_is_certain() {
    let found = judge(&Analysis::default(), &windows(20, |_| (0.012, 104.0)), true);
    assert_eq!(found.outcome, Outcome::Pass, "{}", found.why);
    assert!(
        found.findings[1].evidence.effect.unwrap().low > 1.0,
        "{:?}",
        found.findings[1].evidence.effect
    );
}

#[test]
fn a_slow_burn_is_seen_before_its_mean_says_so() {
    let canary = |i: i64| (0.01 + 0.02 * i as f64 / 200.0, 100.0);
    let analysis = Analysis::default();
    let all = windows(10, canary);
    let mean = |seen: i64| 0.02 * (seen * 10) as f64 / 200.0;
    let aborted = (1..=10)
        .find(|seen| judge(&analysis, &all[..*seen], *seen == 10).decision == Decision::Abort)
        .unwrap();
    assert!(
        mean(aborted as i64) < 0.01,
        "the mean alone would have been allowed at look {aborted}"
    );
}

#[test]
fn what_comes_late_is_seen_in_the_latest_window() {
    let canary = |i: i64| if i < 80 { (0.01, 100.0) } else { (0.035, 100.0) };
    let found = judge(&Analysis::default(), &windows(5, canary), true);
    assert_eq!(found.decision, Decision::Abort, "{}", found.why);
    assert!(found.why.contains("in the latest window"), "{}", found.why);
    let evidence = &found.findings[0].evidence;
    assert!(evidence.effect.unwrap().value < 0.01 && evidence.recent.unwrap().value > 0.02);
}

/// Too little to abort for, too much to pass: one more window, before promotion; on the way it goes on.
#[test]
fn a_latest_window_that_is_suspicious_is_not_promoted() {
    let all = windows(10, |i| if i < 180 { (0.01, 100.0) } else { (0.0215, 100.0) });
    let found = judge(&Analysis::default(), &all, true);
    assert_eq!(
        (found.outcome, found.decision),
        (Outcome::Inconclusive, Decision::Extend),
        "{}",
        found.why
    );
    assert!(found.why.contains("in the latest window"), "{}", found.why);
    let evidence = &found.findings[0].evidence;
    let (effect, growing) = (evidence.effect.unwrap(), evidence.growing.unwrap());
    assert!(
        effect.high < 0.02 && growing.high < 0.02,
        "nothing else keeps it: {effect:?} {growing:?}"
    );
    assert_eq!(
        judge(&Analysis::default(), &all, false).decision,
        Decision::Proceed
    );
}

#[test]
fn a_critical_metric_must_pass_whatever_the_score() {
    let analysis = Analysis {
        pass: 50.0,
        marginal: 40.0,
        ..Analysis::default()
    };
    let mut all = windows(4, same);
    all.iter_mut().for_each(|w| _ = w.compared.remove("latency_p95"));
    assert_eq!(judge(&analysis, &all, true).outcome, Outcome::NoData);
    let mut lenient = analysis;
    lenient.metrics[1].criticality = Criticality::Normal;
    assert_eq!(judge(&lenient, &all, true).outcome, Outcome::Pass);
}

#[test]
fn without_data_a_step_is_extended_and_then_a_person_is_asked() {
    let analysis = Analysis {
        max_extensions: 2,
        ..Analysis::default()
    };
    let empty = |number| Window {
        compared: BTreeMap::new(),
        ..window(0, number, same)
    };
    let mut seen = Vec::new();
    for (number, decision) in [
        (0, Decision::Extend),
        (1, Decision::Extend),
        (2, Decision::AskPerson),
    ] {
        seen.push(empty(number));
        let found = judge(&analysis, &seen, true);
        assert_eq!(
            (found.outcome, found.decision),
            (Outcome::NoData, decision),
            "{}",
            found.why
        );
    }
    assert_eq!(judge(&analysis, &[], true).outcome, Outcome::NoData);
    // Data that come in an extension are judged like any.
    seen.truncate(1);
    seen.extend([window(0, 1, same), window(0, 2, same)]);
    assert_eq!(judge(&analysis, &seen, true).decision, Decision::Proceed);
}

#[test]
fn a_side_without_data_is_no_data() {
    for canary_gone in [true, false] {
        let mut all = windows(3, same);
        for window in &mut all {
            for sides in window.compared.values_mut() {
                let side = if canary_gone {
                    &mut sides.canary
                } else {
                    &mut sides.baseline
                };
                side.iter_mut().for_each(|sample| sample.value = None);
            }
        }
        assert_eq!(judge(&Analysis::default(), &all, true).outcome, Outcome::NoData);
    }
}

#[test]
fn extensions_are_counted_for_each_step() {
    let analysis = Analysis {
        max_extensions: 1,
        ..Analysis::default()
    };
    let empty = |step, number| Window {
        compared: BTreeMap::new(),
        ..window(step, number, same)
    };
    let found = judge(&analysis, &[empty(0, 0), empty(0, 1), empty(1, 2)], false);
    assert_eq!(found.decision, Decision::Extend);
    let found = judge(&analysis, &[empty(0, 0), empty(1, 1), empty(1, 2)], false);
    assert_eq!(found.decision, Decision::AskPerson);
}

/// Ten intervals of few requests settle nothing: on the way they do not hold it up, before promotion they do.
#[test]
fn little_evidence_lets_on_to_the_next_step_and_not_to_promotion() {
    let mut few = window(0, 0, same);
    for samples in few
        .compared
        .values_mut()
        .flat_map(|s| [&mut s.canary, &mut s.baseline])
    {
        samples.iter_mut().for_each(|sample| sample.requests = Some(30.0));
    }
    let analysis = Analysis::default();
    let found = judge(&analysis, std::slice::from_ref(&few), false);
    assert_eq!(
        (found.outcome, found.decision),
        (Outcome::Inconclusive, Decision::Proceed),
        "{}",
        found.why
    );
    let found = judge(&analysis, &[few], true);
    assert_eq!(
        (found.outcome, found.decision),
        (Outcome::Inconclusive, Decision::Extend),
        "{}",
        found.why
    );
}

#[test]
fn a_decrease_is_worse_where_that_is_said() {
    let metric = |direction| Analysis {
        metrics: vec![Metric {
            name: "latency_p95".to_owned(),
            groups: Vec::new(),
            criticality: Criticality::Normal,
            check: Check::Compare(Compare {
                direction,
                ..Compare::latency(0.95)
            }),
        }],
        ..Analysis::default()
    };
    let lower = windows(4, |_| (0.01, 80.0));
    assert_eq!(
        judge(&metric(Direction::Increase), &lower, true).outcome,
        Outcome::Pass
    );
    assert_eq!(
        judge(&metric(Direction::Decrease), &lower, true).outcome,
        Outcome::Fail
    );
    let either = judge(&metric(Direction::Either), &lower, true);
    assert_eq!(either.outcome, Outcome::Fail);
    let evidence = &either.findings[0].evidence;
    assert!(
        (evidence.effect.unwrap().value - 1.25).abs() < 0.01,
        "worse by a quarter: {:?}",
        evidence.effect
    );
    assert!(evidence.level.unwrap().canary < evidence.level.unwrap().baseline);
}

#[test]
fn weights_decide_what_is_not_critical() {
    let mut analysis = Analysis::default();
    analysis
        .metrics
        .iter_mut()
        .for_each(|m| m.criticality = Criticality::Normal);
    let slow = windows(4, |_| (0.01, 125.0));
    assert_eq!(
        judge(&analysis, &slow, true).outcome,
        Outcome::Fail,
        "half of the score is below marginal"
    );
    analysis.groups = BTreeMap::from([("error_rate".to_owned(), 80.0), ("latency_p95".to_owned(), 20.0)]);
    let found = judge(&analysis, &slow, true);
    assert_eq!((found.score.worst, found.score.best), (80.0, 80.0));
    assert_eq!(found.outcome, Outcome::Inconclusive, "between marginal and pass");
    analysis.pass = 80.0;
    assert_eq!(judge(&analysis, &slow, true).outcome, Outcome::Pass);
    analysis.metrics[1].criticality = Criticality::Critical;
    assert_eq!(judge(&analysis, &slow, true).outcome, Outcome::Fail);
    analysis.metrics[1].criticality = Criticality::ReportOnly;
    assert_eq!(judge(&analysis, &slow, true).outcome, Outcome::Pass);
}

#[test]
fn ranks_and_thresholds_are_judged_beside() {
    let metric = |name: &str, check| Metric {
        name: name.to_owned(),
        groups: vec!["all".to_owned()],
        criticality: Criticality::Normal,
        check,
    };
    let restarts = Threshold {
        success: Some(Bounds {
            min: None,
            max: Some(0.0),
        }),
        ..Threshold::default()
    };
    let analysis = Analysis {
        metrics: vec![
            metric("latency_p95", Check::Ranks(Ranks::default())),
            metric("restarts", Check::Threshold(restarts)),
        ],
        ..Analysis::default()
    };
    let measured = |value: f64, canary: fn(i64) -> (f64, f64)| {
        let mut all = windows(3, canary);
        all[2]
            .measured
            .insert("restarts".to_owned(), vec![Measurement::Value(value)]);
        judge(&analysis, &all, true)
    };
    assert_eq!(measured(0.0, same).outcome, Outcome::Pass);
    assert_eq!(measured(1.0, same).outcome, Outcome::Fail);
    let slow = measured(0.0, |_| (0.01, 110.0));
    assert_eq!(slow.outcome, Outcome::Fail);
    assert_eq!(slow.findings[0].evidence.method, "mann-whitney");
}

#[test]
fn windows_that_overlap_count_a_point_once() {
    let twice = [window(0, 0, same), window(1, 0, same)];
    let found = judge(&Analysis::default(), &twice, false);
    assert_eq!(found.findings[0].evidence.points.canary, 20.0);
}

#[test]
fn a_judgement_survives_the_journal_and_a_replay_judges_the_same() {
    let all = windows(3, |_| (0.03, 100.0));
    let found = judge(&Analysis::default(), &all, false);
    let text = serde_json::to_string(&all).unwrap();
    let read: Vec<Window> = serde_json::from_str(&text).unwrap();
    let again = judge(&Analysis::default(), &read, false);
    assert_eq!(
        (again.outcome, again.decision, &again.why),
        (found.outcome, found.decision, &found.why)
    );
    // Reading JSON may move a number by its last bit; words and limits are the same.
    let text = serde_json::to_string(&found).unwrap();
    let kept: Judgement = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (kept.decision, &kept.why, kept.look),
        (found.decision, &found.why, found.look)
    );
    for (kept, found) in kept.findings.iter().zip(&found.findings) {
        assert_eq!(
            (&kept.metric, &kept.why, kept.outcome),
            (&found.metric, &found.why, found.outcome)
        );
        assert_eq!(kept.evidence.windows, found.evidence.windows);
        let (kept, found) = (kept.evidence.effect.unwrap(), found.evidence.effect.unwrap());
        assert!((kept.low - found.low).abs() < 1e-12);
    }
}

#[test]
fn the_risk_that_is_spent_is_never_more_than_there_is() {
    let spent: f64 = (1..1000_usize)
        .map(|look| spent_by(look * 7) - spent_by((look - 1) * 7))
        .sum();
    assert!(spent < 1.0 && spent > 0.99, "{spent}");
    assert_eq!(spent_by(50), 0.5);
    // Looks of one course: two metrics, three questions.
    let all = windows(8, same);
    let at = |seen: usize| {
        judge(&Analysis::default(), &all[..seen], false).findings[0]
            .evidence
            .limits["chance_of_false_fail"]
    };
    let looks: f64 = (1..=8).map(at).sum();
    let whole = Analysis::default().risk.abort / 6.0;
    assert!(
        (looks - whole * spent_by(160)).abs() < 1e-12,
        "{looks} of {whole}"
    );
}

#[test]
fn settings_read_with_their_defaults_and_their_problems_are_named() {
    let text = r#"{"metrics": [{"name": "cpu", "check": {"compare": {"allowed": 1.3, "harm": 1.5}}},
        {"name": "5xx", "groups": ["errors"], "criticality": "critical",
         "check": {"threshold": {"failure": {"min": 0.05}, "failure_limit": 2}}}], "groups": {"errors": 60}}"#;
    let analysis: Analysis = serde_json::from_str(text).unwrap();
    assert_eq!(analysis.problems(), Vec::<String>::new());
    assert_eq!(Analysis::default().problems(), Vec::<String>::new());
    let Check::Compare(compare) = &analysis.metrics[0].check else {
        panic!("cpu is compared")
    };
    assert_eq!((compare.scale, compare.min_requests), (Scale::Ratio, 100.0));

    let broken = text
        .replace("1.5", "1.2")
        .replace("60", "160")
        .replace(r#""failure": {"min": 0.05}, "#, "");
    let problems = serde_json::from_str::<Analysis>(&broken).unwrap().problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("`cpu`") && p.contains("allowed < harm"))
    );
    assert!(problems.iter().any(|p| p.contains("160")));
    assert!(
        problems
            .iter()
            .any(|p| p.contains("`5xx`") && p.contains("`success` or `failure`"))
    );
    assert!(
        serde_json::from_str::<Analysis>(r#"{"metric": []}"#).is_err(),
        "an unknown key"
    );
}

#[test]
fn a_window_may_be_read_two_scrapes_after_its_end() {
    let span = window(0, 0, same).span;
    assert_eq!(
        span.readable_at(Duration::seconds(15)) - span.to,
        Duration::seconds(30)
    );
}

#[test]
fn a_step_that_nobody_measured_does_not_pass_by_the_steps_before() {
    let checks = [
        Check::Compare(Compare::error_rate()),
        Check::Ranks(Ranks::default()),
        Check::Threshold(Threshold {
            success: Some(Bounds {
                min: None,
                max: Some(0.05),
            }),
            ..Threshold::default()
        }),
    ];
    for check in checks {
        let analysis = Analysis {
            metrics: vec![Metric {
                name: "error_rate".to_owned(),
                check: check.clone(),
                groups: Vec::new(),
                criticality: Criticality::Critical,
            }],
            ..Analysis::default()
        };
        let mut seen = windows(4, same);
        for window in &mut seen {
            window
                .measured
                .insert("error_rate".to_owned(), vec![Measurement::Value(0.01)]);
        }
        let decided = |seen: &[Window]| judge(&analysis, seen, false).decision;
        assert_eq!(decided(&seen), Decision::Proceed, "{check:?}");
        let newest = seen.last_mut().unwrap();
        newest.compared.clear();
        newest.measured.clear();
        assert_eq!(decided(&seen), Decision::Extend, "{check:?}");
    }
}
