use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::plan::{Analysis, Criticality};
use super::verdict::{Finding, Outcome};

/// The weighted score as Kayenta sums it (of each group the share of its metrics that passed, times its weight), once with all
/// that is not settled counted as failed and once as passed. Kayenta leaves what has no data out, which lets it decide by
/// accident.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub worst: f64,
    pub best: f64,
}

#[derive(Default)]
struct Group {
    passed: f64,
    failed: f64,
    open: f64,
}

/// Findings in the order of the metrics. `None` if no metric counts.
pub(super) fn score(analysis: &Analysis, findings: &[Finding]) -> Option<Score> {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for (metric, finding) in analysis.metrics.iter().zip(findings) {
        if metric.criticality == Criticality::ReportOnly {
            continue;
        }
        for name in analysis.groups_of(metric) {
            let group = groups.entry(name).or_default();
            match finding.outcome {
                Outcome::Pass => group.passed += 1.0,
                Outcome::Fail => group.failed += 1.0,
                Outcome::Inconclusive | Outcome::NoData => group.open += 1.0,
            }
        }
    }
    let named: f64 = groups.keys().filter_map(|name| analysis.groups.get(*name)).sum();
    let unnamed = groups
        .keys()
        .filter(|name| !analysis.groups.contains_key(**name))
        .count();
    let share = if unnamed == 0 {
        0.0
    } else {
        (100.0 - named).max(0.0) / unnamed as f64
    };
    let (mut worst, mut best, mut total) = (0.0, 0.0, 0.0);
    for (name, group) in &groups {
        let weight = analysis.groups.get(*name).copied().unwrap_or(share);
        let all = group.passed + group.failed + group.open;
        worst += weight * group.passed / all;
        best += weight * (group.passed + group.open) / all;
        total += weight;
    }
    (total > 0.0).then(|| Score {
        worst: 100.0 * worst / total,
        best: 100.0 * best / total,
    })
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Check, Metric};
    use super::super::threshold::Threshold;
    use super::*;

    fn scored(weights: &[(&str, f64)], metrics: &[(&str, Outcome, Criticality)]) -> Option<Score> {
        let analysis = Analysis {
            metrics: metrics
                .iter()
                .map(|(group, _, criticality)| Metric {
                    name: "m".to_owned(),
                    groups: vec![(*group).to_owned()],
                    criticality: *criticality,
                    check: Check::Threshold(Threshold::default()),
                })
                .collect(),
            groups: weights
                .iter()
                .map(|(name, weight)| ((*name).to_owned(), *weight))
                .collect(),
            ..Analysis::default()
        };
        let findings: Vec<_> = metrics
            .iter()
            .map(|(_, outcome, _)| Finding {
                metric: "m".to_owned(),
                outcome: *outcome,
                why: String::new(),
                critical: false,
                leaning_good: false,
                evidence: Default::default(),
            })
            .collect();
        score(&analysis, &findings)
    }

    fn settled(weights: &[(&str, f64)], metrics: &[(&str, Outcome)]) -> f64 {
        let metrics: Vec<_> = metrics
            .iter()
            .map(|(group, outcome)| (*group, *outcome, Criticality::Normal))
            .collect();
        let score = scored(weights, &metrics).unwrap();
        assert_eq!(score.worst, score.best);
        score.worst
    }

    /// Kayenta's `ScorerSuite`, test by test.
    #[test]
    fn scores_as_kayentas_own_tests_have_them() {
        use Outcome::{Fail, Pass};
        assert_eq!(settled(&[], &[("a", Pass)]), 100.0);
        assert_eq!(settled(&[], &[("a", Fail)]), 0.0);
        assert_eq!(settled(&[], &[("a", Pass), ("a", Fail)]), 50.0);
        assert!((settled(&[], &[("a", Pass), ("a", Fail), ("a", Fail)]) - 33.33).abs() < 1e-2);
        assert_eq!(
            settled(
                &[("1", 75.0), ("2", 25.0)],
                &[("1", Pass), ("1", Pass), ("2", Fail)]
            ),
            75.0
        );
        assert_eq!(
            settled(
                &[("1", 50.0), ("2", 50.0)],
                &[("1", Pass), ("1", Fail), ("2", Fail)]
            ),
            25.0
        );
        let report_only = scored(
            &[],
            &[
                ("a", Pass, Criticality::Normal),
                ("a", Fail, Criticality::ReportOnly),
            ],
        )
        .unwrap();
        assert_eq!(
            report_only,
            Score {
                worst: 100.0,
                best: 100.0
            }
        );
    }

    #[test]
    fn groups_without_a_weight_share_what_is_left() {
        use Outcome::{Fail, Pass};
        assert_eq!(
            settled(&[("1", 60.0)], &[("1", Pass), ("2", Fail), ("3", Pass)]),
            80.0
        );
    }

    #[test]
    fn what_is_open_counts_neither_way() {
        use Outcome::{NoData, Pass};
        let normal = Criticality::Normal;
        let score = scored(&[("1", 75.0)], &[("1", Pass, normal), ("2", NoData, normal)]).unwrap();
        assert_eq!(
            score,
            Score {
                worst: 75.0,
                best: 100.0
            }
        );
        assert_eq!(scored(&[], &[("1", Pass, Criticality::ReportOnly)]), None);
    }
}
