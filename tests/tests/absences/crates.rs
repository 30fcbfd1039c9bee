//! Which crate may use which: ARCHITECTURE.md's table, row by row.

use std::collections::BTreeMap;

use crate::workspace::{members, metadata};

/// Every member and the members that it may use in what is shipped.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("durable", &["domain"]),
    ("ports", &["domain"]),
    ("store", &["domain", "durable", "ports"]),
    ("worker", &["domain", "durable", "store"]),
    ("pipelines", &["domain", "durable", "ports"]),
    ("deploy", &["domain", "durable", "ports"]),
    ("ci", &["domain"]),
    ("tickets", &["domain", "ports", "store"]),
    ("adapter-forge", &["domain", "ports"]),
    ("adapter-host", &["domain", "flagd", "ports"]),
    ("adapter-kube", &["domain", "flagd", "ports"]),
    ("adapter-monitor", &["domain", "ports"]),
    ("flagd", &["domain", "ports"]),
    ("api", &["domain", "ports", "store"]),
    ("daemon", ANY),
    ("testkit", ANY),
    ("tests", ANY),
];

const ANY: &[&str] = &["*"];

#[test]
fn each_crate_uses_only_the_crates_it_may() {
    let may_use: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    for member in members(&metadata()) {
        let Some(allowed) = may_use.get(member.name.as_str()) else {
            wrong.push(format!(
                "{} is new: say here and in ARCHITECTURE.md what it may use",
                member.name
            ));
            continue;
        };
        for used in member
            .uses
            .iter()
            .filter(|u| *allowed != ANY && !allowed.contains(&u.as_str()))
        {
            wrong.push(format!("{} must not know {used}", member.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_shipped_does_not_carry_the_testkit() {
    for member in members(&metadata()) {
        let is_test_crate = matches!(member.name.as_str(), "testkit" | "tests");
        assert!(
            is_test_crate || !member.uses.iter().any(|u| u == "testkit"),
            "{} uses testkit outside of its tests",
            member.name
        );
    }
}
