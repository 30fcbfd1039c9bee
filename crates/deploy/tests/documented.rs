//! The examples of docs/deploy.md are what the code reads, and the values that it calls usual are.

use deploy::{Deploy, DeployParams, Environments};
use durable::Handler;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/deploy.md");

fn examples() -> Vec<Value> {
    let blocks = PAGE.split("```json\n").skip(1);
    blocks
        .map(|block| {
            let (text, _) = block.split_once("```").expect("a block ends");
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
        })
        .collect()
}

#[test]
fn payloads_and_settings_of_the_page_are_read() {
    let mut examples = examples();
    // What flagd reads is for its own crate.
    examples.retain(|example| example["flags"].is_null());
    let (settings, payloads): (Vec<&Value>, Vec<&Value>) = examples
        .iter()
        .partition(|example| !example["production"].is_null());
    assert_eq!((settings.len(), payloads.len()), (1, 3));
    for payload in payloads {
        let read: DeployParams = Deploy::read(payload).unwrap_or_else(|error| panic!("{error}"));
        let is_one = read.version.is_some() && read.strategy.is_some();
        assert!(is_one || read.services.is_some(), "{read:?}");
    }
    let settings: Environments = serde_json::from_value(settings[0].clone()).expect("settings");
    assert_eq!(settings.len(), 2);
}

#[test]
fn the_usual_values_are_those_of_the_page() {
    let examples = examples();
    let page = examples
        .iter()
        .find(|example| !example["production"].is_null())
        .expect("settings");
    let page = &page["production"];
    let least: Environments =
        serde_json::from_value(json!({"least": {"target": "a", "workload": "b"}})).expect("settings");
    let usual = serde_json::to_value(&least["least"]).expect("JSON");
    for key in [
        "replicas",
        "canary",
        "rolling",
        "blue_green",
        "when_newer",
        "progress_deadline",
        "watch",
        "freeze",
    ] {
        let mut usual = usual[key].clone();
        if let Some(map) = usual.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        assert_eq!(usual, page[key], "{key}");
    }
    for key in [
        "source",
        "at_least",
        "scrape_interval",
        "minimum_samples",
        "min_points",
        "extensions",
        "groups",
        "pass",
        "marginal",
        "risk",
    ] {
        assert_eq!(usual["analysis"][key], page["analysis"][key], "{key}");
    }
    assert_eq!(usual["approval"]["within"], page["approval"]["within"]);
}

#[test]
fn the_types_are_those_of_the_contract() {
    assert_eq!(Deploy::TASK_TYPES, ["deploy"]);
    assert_eq!(deploy::Rollback::TASK_TYPES, ["rollback"]);
}
