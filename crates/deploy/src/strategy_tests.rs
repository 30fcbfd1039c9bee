use super::*;

fn environment() -> Environment {
    serde_json::from_value(json!({"target": "a", "workload": "b"})).unwrap()
}

fn wishes(strategy: StrategyName) -> Wishes {
    Wishes {
        strategy: Some(strategy),
        ..Wishes::default()
    }
}

fn weights(strategy: &Strategy) -> Vec<u32> {
    let steps = match strategy {
        Strategy::Canary { steps } | Strategy::FeatureFlag { steps } => steps.as_slice(),
        _ => &[],
    };
    let weight = |step: &Step| match step {
        Step::SetWeight(weight) => Some(*weight),
        _ => None,
    };
    steps.iter().filter_map(weight).collect()
}

#[test]
fn the_usual_values_are_those_that_people_know() {
    let rolling = Strategy::of(&environment(), &Wishes::default()).unwrap();
    let quarter = Portion::Percent(25);
    let pace = Pace {
        max_unavailable: quarter,
        max_surge: quarter,
    };
    assert_eq!(rolling, Strategy::Rolling { pace });
    let canary = Strategy::of(&environment(), &wishes(StrategyName::Canary)).unwrap();
    assert_eq!(weights(&canary), [10, 30, 50, 70, 90]);
    let Strategy::Canary { steps } = canary else {
        panic!("a canary")
    };
    assert_eq!(
        steps[..3],
        [
            Step::SetWeight(10),
            Step::Pause(Span::seconds(300)),
            Step::Analyse
        ]
    );
    let flag = Wishes {
        initial_percentage: Some(100),
        ..wishes(StrategyName::FeatureFlag)
    };
    assert_eq!(weights(&Strategy::of(&environment(), &flag).unwrap()), [100]);
}

#[test]
fn the_task_goes_before_the_settings_and_numbers_before_the_settings_steps() {
    let mut environment = environment();
    environment.strategy = StrategyName::Canary;
    environment.canary.steps = Some(vec![StepParam::SetWeight(5), StepParam::Pause(None)]);
    let by_settings = Strategy::of(&environment, &Wishes::default()).unwrap();
    let steps = vec![Step::SetWeight(5), Step::Ask];
    assert_eq!(by_settings, Strategy::Canary { steps });
    let numbers = Wishes {
        increment: Some(40),
        ..Wishes::default()
    };
    assert_eq!(
        weights(&Strategy::of(&environment, &numbers).unwrap()),
        [10, 50, 90]
    );
}

#[test]
fn steps_are_read_in_the_forms_that_people_use() {
    let read: Vec<StepParam> = serde_json::from_value(json!([
        {"set_weight": 20}, {"pause": "10m"}, {"pause": 90}, {"pause": {"duration": "1h"}}, {"pause": {}},
        {"pause": null}, {"analyse": {}}, "analyse", {"set_scale": 3}]))
    .unwrap();
    let pause = |seconds| StepParam::Pause(Some(Span::seconds(seconds)));
    assert_eq!(
        read,
        [
            StepParam::SetWeight(20),
            pause(600),
            pause(90),
            pause(3600),
            StepParam::Pause(None),
            StepParam::Pause(None),
            StepParam::Analyse,
            StepParam::Analyse,
            StepParam::SetScale(3)
        ]
    );
    let again: Vec<StepParam> = serde_json::from_value(json!(read)).unwrap();
    assert_eq!(again, read);
    for wrong in [json!({"weight": 3}), json!({"set_scale": 0}), json!(3), json!({})] {
        let error = serde_json::from_value::<StepParam>(wrong)
            .unwrap_err()
            .to_string();
        assert!(error.contains("{\"set_weight\": 20}"), "{error}");
    }
}

#[test]
fn what_cannot_be_is_told_before_anything_is_touched() {
    let told = |wishes: Wishes| Strategy::of(&environment(), &wishes).unwrap_err().to_string();
    let canary = || wishes(StrategyName::Canary);
    for (wishes, words) in [
        (
            Wishes {
                initial_percentage: Some(150),
                ..canary()
            },
            "initial_percentage is 150",
        ),
        (
            Wishes {
                increment: Some(-5),
                ..canary()
            },
            "increment is -5",
        ),
        (
            Wishes {
                increment: Some(0),
                ..canary()
            },
            "at least 1",
        ),
        (
            Wishes {
                initial_percentage: Some(10),
                ..wishes(StrategyName::Rolling)
            },
            "initial_percentage belongs to the strategy canary or feature_flag, but this deployment's is rolling",
        ),
        (
            Wishes {
                max_surge: Some(Portion::Percent(50)),
                ..wishes(StrategyName::BlueGreen)
            },
            "max_surge belongs to the strategy rolling, but this deployment's is blue_green",
        ),
        (
            Wishes {
                steps: Some(vec![StepParam::SetWeight(1)]),
                interval: Some(Span::seconds(1)),
                ..canary()
            },
            "steps and interval are both given",
        ),
        (
            Wishes {
                steps: Some(vec![StepParam::SetWeight(50), StepParam::SetWeight(20)]),
                ..canary()
            },
            "steps[1] sets the weight to 20 after 50: steps go up only",
        ),
        (
            Wishes {
                steps: Some(vec![StepParam::SetWeight(101)]),
                ..canary()
            },
            "steps[0].set_weight is 101",
        ),
        (
            Wishes {
                steps: Some(Vec::new()),
                ..canary()
            },
            "no step sets a weight",
        ),
        (
            Wishes {
                steps: Some(vec![StepParam::Analyse]),
                ..canary()
            },
            "nothing to judge",
        ),
        (
            Wishes {
                max_surge: Some(Portion::Percent(0)),
                max_unavailable: Some(Portion::Percent(0)),
                ..Wishes::default()
            },
            "both nothing",
        ),
    ] {
        let error = told(wishes);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_strategy_has_many_spellings_and_a_wrong_one_is_told_the_nearest() {
    for (text, name) in [
        ("Blue-Green", StrategyName::BlueGreen),
        ("feature flag", StrategyName::FeatureFlag),
        ("canary", StrategyName::Canary),
        ("rolling", StrategyName::Rolling),
    ] {
        assert_eq!(text.parse(), Ok(name));
    }
    let error = "canray".parse::<StrategyName>().unwrap_err();
    assert!(error.contains("did you mean canary?"), "{error}");
}
