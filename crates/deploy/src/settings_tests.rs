use super::*;
use serde_json::json;

fn read(settings: Value, name: &str) -> Result<Environment, String> {
    environment(&settings, "shop", name).map_err(|error| error.to_string())
}

#[test]
fn two_lines_are_an_environment_and_the_rest_has_the_usual_values() {
    let settings = json!({"environments": {"staging": {"target": "cluster", "workload": "shop/checkout"}}});
    let read = read(settings, "staging").unwrap();
    assert_eq!(read.strategy, StrategyName::Rolling);
    assert_eq!(read.rolling.max_surge, Portion::Percent(25));
    let canary = &read.canary;
    assert_eq!(
        (canary.initial_percentage, canary.increment, canary.interval),
        (10, 20, Span::seconds(300))
    );
    assert_eq!(read.when_newer, WhenNewer::Queue);
}

#[test]
fn the_schema_has_every_setting_with_its_meaning_and_its_usual_value() {
    let schema = settings_schema();
    let properties = &schema["$defs"]["Environment"]["properties"];
    let Value::Object(properties) = properties else {
        panic!("{schema:#}")
    };
    let undocumented: Vec<_> = properties
        .iter()
        .filter(|(_, property)| !property.to_string().contains("description") && property["$ref"].is_null())
        .map(|(name, _)| name)
        .collect();
    assert!(undocumented.is_empty(), "{undocumented:?}");
    assert_eq!(properties["progress_deadline"]["default"], "10m");
    let environment = &schema["$defs"]["Environment"];
    assert_eq!(environment["required"], Value::Null);
    assert_eq!(
        environment["anyOf"],
        json!([{"required": ["target", "workload"]}, {"required": ["flag"]}])
    );
    assert_eq!(environment["dependentRequired"]["router"], json!(["target"]));
}

#[test]
fn an_unknown_environment_names_the_nearest() {
    let settings = json!({"environments": {
        "staging": {"target": "a", "workload": "b"}, "production": {"target": "a", "workload": "b"}}});
    let error = read(settings.clone(), "stagign").unwrap_err();
    assert!(
        error.contains("no environment \"stagign\"; did you mean \"staging\"? It has production, staging"),
        "{error}"
    );
    let error = read(settings, "qa").unwrap_err();
    assert!(!error.contains("did you mean"), "{error}");
    assert!(read(json!({}), "qa").unwrap_err().contains("is not there"));
}

#[test]
fn what_does_not_fit_is_named() {
    let with = |key: &str, value: Value| {
        let mut own = json!({"target": "a", "workload": "b"});
        own[key] = value;
        read(json!({"environments": {"qa": own}}), "qa").unwrap_err()
    };
    for (key, value, words) in [
        ("healht", json!([]), "unknown field `healht`"),
        ("health", json!([{"name": "x"}]), "needs one of `url`, `tcp`"),
        (
            "analysis",
            json!({"metrics": [{"name": "errors", "query": "q"}]}),
            "metric \"errors\" says nothing",
        ),
        (
            "analysis",
            json!({"at_least": "30s", "metrics": [{"name": "error_rate", "query": "q"}]}),
            "at_least is shorter than one interval",
        ),
        (
            "analysis",
            json!({"groups": {"speed": 40}, "metrics": [{"name": "error_rate", "query": "q"}]}),
            "group `speed` has a weight and no metric",
        ),
        (
            "freeze",
            json!({"time_zone": "Berlin"}),
            "freeze: `time_zone` is \"Berlin\", which is no time zone",
        ),
        ("watch", json!("soon"), "\"soon\" is not a length of time"),
        ("strategy", json!("canray"), "did you mean canary?"),
    ] {
        let error = with(key, value);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_flag_alone_needs_no_place_to_run_and_takes_what_needs_one_from_nobody() {
    let with = |more: Value| {
        let mut own = json!({"flag": {"store": "edge", "key": "new-checkout"}});
        own.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        read(json!({"environments": {"production": own}}), "production")
    };
    let alone = with(json!({})).unwrap();
    assert_eq!(
        (alone.strategy, alone.subject()),
        (StrategyName::FeatureFlag, "new-checkout")
    );
    with(json!({"strategy": "feature_flag"})).unwrap();
    let both = with(json!({"target": "a", "workload": "b"})).unwrap();
    assert_eq!((both.strategy, both.subject()), (StrategyName::Rolling, "b"));
    for (more, words) in [
        (
            json!({"strategy": "canary"}),
            "the strategy canary needs a `target` and a `workload`",
        ),
        (
            json!({"router": "shop"}),
            "`router` needs a `target` and a `workload`",
        ),
        (
            json!({"container": "app"}),
            "`container` needs a `target` and a `workload`",
        ),
        (json!({"target": "a"}), "`workload` is missing"),
        (json!({"workload": "b"}), "`target` is missing"),
        (json!({"flag": null}), "`target` and `workload` are missing"),
    ] {
        let error = with(more).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_check_is_one_thing_and_a_job_a_smoke_test() {
    let with = |list: &str, check: Value| {
        let mut own = json!({"target": "a", "workload": "b"});
        own[list] = json!([check]);
        read(json!({"environments": {"staging": own}}), "staging")
    };
    for check in [
        json!({"url": "http://a"}),
        json!({"tcp": "a:1"}),
        json!({"command": "smoke"}),
        json!({"job": {}}),
        json!({"job": {"ref": "main", "workflow": "smoke.yml", "variables": {"A": "${version}"}}, "timeout": "1h"}),
    ] {
        with("smoke", check.clone()).unwrap_or_else(|error| panic!("{check}: {error}"));
    }
    for (list, check, words) in [
        (
            "smoke",
            json!({}),
            "smoke[0] needs one of `url`, `tcp`, `command` and `job`",
        ),
        ("smoke", json!({"tcp": "a:1", "command": "b"}), "needs one of"),
        ("health", json!({"job": {}}), "health[0].job belongs to `smoke`"),
        (
            "health",
            json!({"command": "a", "contains": "ok"}),
            "only a `url` answers with",
        ),
        (
            "smoke",
            json!({"url": "http://a", "status": [300, 200]}),
            ".status goes down",
        ),
        (
            "smoke",
            json!({"url": "http://a", "timeout": "0s"}),
            ".timeout is nothing",
        ),
        (
            "smoke",
            json!({"command": {"program": "/bin/sh"}}),
            "invalid type: map",
        ),
        (
            "smoke",
            json!({"command": "a", "args": ["-c"]}),
            "unknown field `args`",
        ),
    ] {
        let error = with(list, check).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn where_versions_come_from_is_checked_with_the_rest() {
    let settings = json!({"environments": {"staging": {"target": "a", "workload": "b",
        "from": {"branches": ["main"], "version": "${tag}"}}}});
    let error = read(settings, "staging").unwrap_err();
    assert!(error.contains("a branch has none"), "{error}");
}
