use domain::ErrorKind;
use ports::{FlagRef, Mark};
use serde_json::{Value, json};

fn at(key: &str) -> FlagRef {
    FlagRef {
        store: "shop".to_owned(),
        key: key.to_owned(),
        scope: None,
    }
}

fn flags(flag: &Value) -> String {
    json!({ "flags": { "new": flag } }).to_string()
}

fn percent(flag: &Value) -> Result<u32, String> {
    let read = crate::read(&flags(flag), &at("new"), "flags.json");
    read.map(|flag| flag.percent).map_err(|error| {
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
        error.what
    })
}

/// The flag at that share, and the share that is read back.
fn set(text: &str, percent: u32) -> String {
    let at = at("new");
    let seen = crate::read(text, &at, "flags.json").expect("reads").mark;
    let changed = crate::change(text, &at, "flags.json", percent, &seen);
    let changed = changed.expect("may be set").expect("is a change");
    let now = crate::read(&changed, &at, "flags.json").expect("reads");
    assert_eq!(now.percent, percent);
    let again = crate::change(&changed, &at, "flags.json", percent, &seen);
    assert_eq!(again, Ok(None), "it is so already");
    changed
}

fn onoff(targeting: &Value) -> Value {
    json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off", "targeting": targeting })
}

/// Variants that rules give as plain truths.
fn truth(targeting: &Value) -> Value {
    json!({ "state": "ENABLED", "variants": { "true": true, "false": false }, "defaultVariant": "false", "targeting": targeting })
}

/// Everything that may stand in such a file, and spaces as somebody likes them.
const FILE: &str = r#"{
  "$schema": "https://flagd.dev/schema/v0/flags.json",
  "metadata": {"flagSetId": "shop",   "version": "7"},
  "flags": {
    "other":   { "state":"ENABLED", "variants":{"a":1.50,"b":2e3}, "defaultVariant":"a", "targeting": {"fractional":[["a",10],["b",90]]} },
    "new": {
      "state": "ENABLED",
      "variants": {"on": true, "off": false},
      "x-owner": "ada \u00e9",
      "targeting": { "if": [
        { "in": [ {"var": "country"}, ["de", "at"] ] },
        { "fractional": [ {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}, [ "off", 90 ], ["on",10] ] },
        null
      ] },
      "defaultVariant": "off"
    }
  },
  "$evaluators": {"staff": {"ends_with": [{"var": "email"}, "@shop.example"]}}
}
"#;

#[test]
fn only_the_weights_change_and_no_other_byte() {
    let changed = set(FILE, 35);
    let expected = FILE.replace(r#"[ "off", 90 ], ["on",10]"#, r#"[ "off", 65 ], ["on",35]"#);
    assert_eq!(changed, expected);
    assert_eq!(set(&changed, 10), FILE, "and back");
}

#[test]
fn a_flag_without_targeting_gets_one_beside_its_other_fields() {
    let text = "{\"flags\": {\n  \"new\": {\n    \"state\": \"ENABLED\",\n    \"variants\": {\"yes\": true, \"no\": false},\n    \"defaultVariant\": \"no\"\n  }\n}}";
    let changed = set(text, 10);
    let expected = text.replace(
        "\"defaultVariant\": \"no\"",
        "\"defaultVariant\": \"no\",\n    \"targeting\": {\"fractional\": [[\"yes\", 10], [\"no\", 90]]}",
    );
    assert_eq!(changed, expected);
    let in_one_line =
        r#"{"flags":{"new":{"state":"ENABLED","variants":{"on":true,"off":false},"defaultVariant":"off"}}}"#;
    assert!(
        set(in_one_line, 1).ends_with(r#""off","targeting": {"fractional": [["on", 1], ["off", 99]]}}}}"#)
    );
    let empty = flags(&onoff(&json!({})));
    assert!(set(&empty, 100).contains(r#""targeting":{"fractional": [["on", 100], ["off", 0]]}"#));
}

#[test]
fn a_flag_of_a_list_is_found_by_its_key() {
    let text = r#"{"flags": [{"key": "a", "variants": {}}, {"key": "new", "variants": {"on": true, "off": false}, "state": "ENABLED"}]}"#;
    assert!(
        set(text, 5)
            .ends_with(r#""state": "ENABLED","targeting": {"fractional": [["on", 5], ["off", 95]]}}]}"#)
    );
}

#[test]
fn each_form_is_read_as_the_share_that_it_is() {
    let string = |default: &str, targeting: Value| json!({ "state": "ENABLED", "variants": { "old": "a", "new": "b" }, "defaultVariant": default, "targeting": targeting });
    for (flag, expected) in [
        (onoff(&Value::Null), 0),
        (
            json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" }),
            100,
        ),
        (
            json!({ "state": "ENABLED", "variants": { "on": true, "off": false } }),
            0,
        ),
        (
            json!({ "state": "DISABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" }),
            0,
        ),
        (onoff(&json!({ "fractional": [["on", 25], ["off", 75]] })), 25),
        (onoff(&json!({ "fractional": [["off", 3], ["on", 1]] })), 25),
        (onoff(&json!({ "fractional": [["on"], ["off"]] })), 50),
        (
            onoff(&json!({ "fractional": [{ "var": "email" }, ["on", 0], ["off", 100]] })),
            0,
        ),
        (
            string("old", json!({ "fractional": [["new", 7], ["old", 93]] })),
            7,
        ),
        (string("new", Value::Null), 0),
        (
            onoff(&json!({ "if": [{ "var": "robot" }, "off", { "fractional": [["on", 40], ["off", 60]] }] })),
            40,
        ),
        (truth(&json!({ "if": [{ "var": "robot" }, false, null] })), 0),
    ] {
        assert_eq!(percent(&flag), Ok(expected), "{flag}");
    }
}

#[test]
fn what_is_no_share_is_a_conflict_that_says_why() {
    let many = |targeting: Value| {
        let variants = json!({ "a": 1, "b": 2, "c": 3 });
        json!({ "state": "ENABLED", "variants": variants, "defaultVariant": "a", "targeting": targeting })
    };
    for (flag, why) in [
        (
            onoff(&json!({ "if": [{ "$ref": "staff" }, "on", { "fractional": [["on", 1], ["off", 99]] }] })),
            "a rule of its `targeting` gives `on`",
        ),
        (
            onoff(&json!({ "if": [{ "$ref": "staff" }, "on", null] })),
            "gives `on`",
        ),
        (
            onoff(&json!({ "in": ["@shop.example", { "var": "email" }] })),
            "is by `in`",
        ),
        (onoff(&json!({ "$ref": "staff" })), "no list"),
        (
            onoff(&json!({ "fractional": [["on", 1], ["off", 2]] })),
            "1 to 2 is no whole percentage",
        ),
        (
            onoff(&json!({ "fractional": [["on", 0], ["off", 0]] })),
            "no whole percentage",
        ),
        (
            onoff(&json!({ "fractional": [["on", { "var": "share" }], ["off", 2]] })),
            "no variant with a whole weight",
        ),
        (
            onoff(&json!({ "fractional": [["on", 1], ["gone", 99]] })),
            "no variant `gone`",
        ),
        (
            many(json!({ "fractional": [["a", 1], ["b", 1], ["c", 2]] })),
            "over 3 variants",
        ),
        (many(Value::Null), "rolled out (a, b, c)"),
        (
            many(json!({ "fractional": [["b", 50], ["c", 50]] })),
            "neither `b` nor `c` is its `defaultVariant`",
        ),
        (json!({ "state": "ENABLED" }), "it has no `variants`"),
        (json!(true), "it is no object"),
    ] {
        let said = percent(&flag).expect_err("is no share");
        assert!(said.contains(why), "{flag}: {said}");
    }
    // Of many variants the two that a share is over.
    assert_eq!(
        percent(&many(json!({ "fractional": [["a", 80], ["c", 20]] }))),
        Ok(20)
    );
}

#[test]
fn on_for_all_by_default_and_off_as_a_whole_become_shares() {
    let all = json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" });
    let off: Value = serde_json::from_str(&set(&flags(&all), 0)).expect("is JSON");
    let off = &off["flags"]["new"];
    assert_eq!(
        (&off["defaultVariant"], &off["targeting"]),
        (&json!("off"), &json!({ "fractional": [["on", 0], ["off", 100]] }),)
    );
    let mut disabled = onoff(&json!({ "fractional": [["on", 50], ["off", 50]] }));
    disabled["state"] = json!("DISABLED");
    let on: Value = serde_json::from_str(&set(&flags(&disabled), 5)).expect("is JSON");
    assert_eq!(on["flags"]["new"]["state"], "ENABLED");
}

#[test]
fn who_did_not_see_the_flag_as_it_is_changes_nothing() {
    let seen = crate::read(FILE, &at("new"), "flags.json").expect("reads").mark;
    let change =
        |text: &str, percent: u32, seen: &Mark| crate::change(text, &at("new"), "flags.json", percent, seen);
    // Another flag, or a field that says nothing about who has it.
    let beside = FILE
        .replace("\"version\": \"7\"", "\"version\": \"8\"")
        .replace("ada", "bob");
    assert!(
        change(&beside, 20, &seen)
            .expect("still as it was seen")
            .is_some()
    );
    for meddled in [
        FILE.replace("\"de\", \"at\"", "\"de\""),
        FILE.replace("90 ], [\"on\",10]", "80 ], [\"on\",20]"),
    ] {
        let error = change(&meddled, 30, &seen).expect_err("is another flag");
        assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    }
    let error = change("flags:\n  new: {}\n", 30, &seen).expect_err("is YAML");
    assert!(
        error
            .to_string()
            .contains("flags.json does not hold flags as flagd reads them in JSON"),
        "{error}"
    );
    let mut scoped = at("new");
    scoped.scope = Some("production".to_owned());
    let error = crate::read(FILE, &scoped, "flags.json").expect_err("has none");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}
