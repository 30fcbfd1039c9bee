use serde_json::json;

use super::*;

fn analysis(value: serde_json::Value) -> Analysis {
    serde_json::from_value(value).unwrap()
}

#[test]
fn two_queries_under_their_usual_names_have_the_default_comparison() {
    let least = analysis(json!({"metrics": [
        {"name": "error_rate", "query": "e"}, {"name": "latency_p95", "query": "l"}]}));
    assert_eq!(least.problems(), Vec::<String>::new());
    let (found, usual) = (least.asked(true), judge::Analysis::default());
    let checks =
        |of: &judge::Analysis| -> Vec<Check> { of.metrics.iter().map(|m| m.check.clone()).collect() };
    assert_eq!(checks(&found), checks(&usual));
    assert!(
        found
            .metrics
            .iter()
            .all(|m| m.criticality == judge::Criticality::Critical)
    );
    assert_eq!(
        judge::Analysis {
            metrics: Vec::new(),
            ..found
        },
        judge::Analysis {
            metrics: Vec::new(),
            ..usual
        }
    );
    assert_eq!(
        least.asked(false).metrics,
        [],
        "nothing says what is well without a baseline"
    );
}

#[test]
fn what_a_metric_says_goes_before_its_name_and_limits_hold_where_it_is_alone() {
    let said = analysis(json!({"groups": {"speed": 40}, "metrics": [
        {"name": "latency_p99", "query": "l", "groups": ["speed"], "check": {"ranks": {}}},
        {"name": "error_rate", "query": "e", "max": 0.02},
        {"name": "traffic", "query": "t", "min": 5.0}]}));
    assert_eq!(said.problems(), Vec::<String>::new());
    let beside: Vec<Check> = said.asked(true).metrics.into_iter().map(|m| m.check).collect();
    assert!(matches!(beside[0], Check::Ranks(_)));
    assert_eq!(beside[1], Check::Compare(Compare::error_rate()));
    assert!(matches!(beside[2], Check::Threshold(_)));
    let alone = said.asked(false);
    let names: Vec<&str> = alone.metrics.iter().map(|m| m.name.as_str()).collect();
    assert_eq!((names, alone.groups.len()), (vec!["error_rate", "traffic"], 0));
}

#[test]
fn quantiles_are_read_off_names() {
    for (name, found) in [
        ("latency_p50", Some(0.5)),
        ("latency_p999", Some(0.999)),
        ("latency_p5", None),
        ("latency_pxx", None),
        ("p95", None),
    ] {
        let metric: Metric = serde_json::from_value(json!({"name": name, "query": "q"})).unwrap();
        let compared = found.map(|quantile| Check::Compare(Compare::latency(quantile)));
        assert_eq!(metric.beside(), compared, "{name}");
    }
}

#[test]
fn a_query_names_its_side_and_its_interval() {
    let of = Of {
        side: Side::Candidate,
        version: "v2",
        workload: "shop",
    };
    let query = "rate(errors{side=\"${side}\", app=\"${workload}\", version=\"${version}\"}[${interval}])";
    let mut metric: Metric = serde_json::from_value(json!({"name": "error_rate", "query": query})).unwrap();
    let asked = question(&Analysis::default(), &metric, query, of);
    assert_eq!(asked.source, "default");
    metric.source = Some("logs".to_owned());
    assert_eq!(question(&Analysis::default(), &metric, query, of).source, "logs");
    assert_eq!(
        asked.query,
        "rate(errors{side=\"candidate\", app=\"shop\", version=\"v2\"}[60s])"
    );
}

#[test]
fn the_first_point_of_a_window_is_of_its_first_interval() {
    let from = DateTime::UNIX_EPOCH;
    let to = from + TimeDelta::seconds(300);
    let points = points(&Analysis::default(), judge::Span { from, to });
    assert_eq!(points.start, from + TimeDelta::seconds(60));
    assert_eq!((points.end, points.step.as_secs()), (to, 60));
}

fn judged(well: bool, decision: Option<(Outcome, Decision)>) -> Judged {
    Judged {
        unjudged: None,
        seen: vec![Seen {
            at: None,
            name: "replicas".to_owned(),
            well,
            why: "2 of 2 ready".to_owned(),
        }],
        judgement: decision.map(|(outcome, decision)| judge::Judgement {
            outcome,
            decision,
            why: "error_rate: worse".to_owned(),
            score: judge::Score {
                worst: 0.0,
                best: 0.0,
            },
            look: 1,
            findings: Vec::new(),
        }),
        unanswered: Vec::new(),
    }
}

#[test]
fn what_is_not_well_decides_whatever_was_measured() {
    let pass = Some((Outcome::Pass, Decision::Proceed));
    assert_eq!(judged(true, None).decision(), Decision::Proceed);
    assert_eq!(judged(true, pass).decision(), Decision::Proceed);
    let unwell = judged(false, pass);
    assert_eq!((unwell.decision(), unwell.words()), (Decision::Abort, "fail"));
    assert_eq!(unwell.why(), "replicas: 2 of 2 ready");
    let open = judged(true, Some((Outcome::NoData, Decision::AskPerson)));
    assert_eq!(
        (open.words(), open.why().as_str()),
        ("no data", "error_rate: worse")
    );
}

#[test]
fn an_effect_is_told_with_its_bounds_and_limits_with_their_values() {
    let evidence = Evidence {
        scale: Some(Scale::Ratio),
        points: judge::PerSide {
            canary: 20.0,
            baseline: 20.0,
        },
        level: Some(judge::PerSide {
            canary: 0.125,
            baseline: 0.1,
        }),
        effect: Some(judge::Estimate {
            value: 1.25,
            low: 1.1,
            high: 1.4,
        }),
        ..Evidence::default()
    };
    assert_eq!(
        effect(&evidence).as_deref(),
        Some("0.125 against 0.1, effect times 1.25 (1.1 to 1.4) over 20 points")
    );
    let values = Evidence {
        values: vec![0.0512345, 123456.0],
        ..Evidence::default()
    };
    assert_eq!(effect(&values).as_deref(), Some("values 0.05123, 123456"));
    assert_eq!(effect(&Evidence::default()), None);
}

#[test]
fn several_series_are_an_error_that_says_what_to_do() {
    let series = Series {
        labels: BTreeMap::new(),
        samples: Vec::new(),
    };
    assert_eq!(only(Vec::new()), Ok(None));
    assert!(only(vec![series.clone()]).unwrap().is_some());
    let error = only(vec![series.clone(), series]).unwrap_err();
    assert!(error.to_string().contains("2 series"), "{error}");
}
