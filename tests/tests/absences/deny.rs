//! deny.toml's bans, licences and sources, held against the resolved graph.

use toml::Table;

use crate::workspace::{list, metadata, packages, root, text, users};

fn rules() -> Table {
    std::fs::read_to_string(root().join("deny.toml"))
        .unwrap()
        .parse()
        .expect("deny.toml is TOML")
}

#[test]
fn banned_crates_stay_behind_their_wrappers() {
    let rules = rules();
    let users = users(&metadata());
    let bans = rules["bans"]["deny"].as_array().expect("bans.deny is a list");
    assert!(bans.len() > 5);
    let mut wrong = Vec::new();
    for ban in bans {
        let (name, reason) = (
            ban["crate"].as_str().unwrap(),
            ban["reason"].as_str().expect("a ban has a reason"),
        );
        let wrappers: Vec<_> = ban
            .get("wrappers")
            .and_then(|w| w.as_array())
            .into_iter()
            .flatten()
            .filter_map(|w| w.as_str())
            .collect();
        for user in users
            .get(name)
            .into_iter()
            .flatten()
            .filter(|u| !wrappers.contains(&u.as_str()))
        {
            wrong.push(format!("{user} uses {name}: {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_licence_is_one_we_accept() {
    let rules = rules();
    let allowed: Vec<_> = rules["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|l| l.as_str())
        .collect();
    let metadata = metadata();
    let wrong: Vec<_> = packages(&metadata)
        .filter(|package| !accepts(&allowed, text(&package["license"])))
        .map(|package| format!("{}: `{}`", text(&package["name"]), text(&package["license"])))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_comes_from_the_registry_or_from_here() {
    let metadata = metadata();
    let wrong: Vec<_> = packages(&metadata)
        .filter(|p| {
            let source = text(&p["source"]);
            !(source.is_empty() || source == "registry+https://github.com/rust-lang/crates.io-index")
        })
        .map(|p| format!("{} comes from {}", text(&p["name"]), text(&p["source"])))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let ours = packages(&metadata).filter(|p| p["source"].is_null());
    let wildcards: Vec<_> = ours
        .flat_map(|p| list(&p["dependencies"]).filter(|d| d["req"] == "*" && d["path"].is_null()))
        .map(|d| format!("{} is asked for in any version", text(&d["name"])))
        .collect();
    assert!(wildcards.is_empty(), "{}", wildcards.join("\n"));
}

/// Whether an SPDX expression can be met by the allowed licences alone; `/` is an old way of writing OR.
fn accepts(allowed: &[&str], expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<_> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(allowed, &words, &mut at);
    met && at == words.len()
}

fn either(allowed: &[&str], words: &[&str], at: &mut usize) -> bool {
    let mut met = both(allowed, words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(allowed, words, at);
    }
    met
}

fn both(allowed: &[&str], words: &[&str], at: &mut usize) -> bool {
    let mut met = one(allowed, words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(allowed, words, at);
    }
    met
}

fn one(allowed: &[&str], words: &[&str], at: &mut usize) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let met = either(allowed, words, at);
        *at += 1;
        return met;
    }
    if words.get(*at) != Some(&"WITH") {
        return allowed.contains(&word);
    }
    // An exception is accepted by name, together with its licence.
    let exception = words.get(*at + 1).copied().unwrap_or_default();
    *at += 2;
    allowed.contains(&format!("{word} WITH {exception}").as_str())
}

#[test]
fn licence_expressions_are_read_as_spdx_means_them() {
    let accepts = |expression| accepts(&["MIT", "ISC", "B WITH f"], expression);
    for good in [
        "MIT",
        "MIT OR GPL-3.0",
        "GPL-3.0/MIT",
        "(GPL-3.0 OR ISC) AND MIT",
        "X WITH e OR X OR MIT",
        "B WITH f AND ISC",
    ] {
        assert!(accepts(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-3.0",
        "(MIT OR ISC) AND GPL-3.0",
        "MIT WITH e",
        "B",
        "B WITH e",
        "MIT )",
    ] {
        assert!(!accepts(bad), "{bad}");
    }
}
