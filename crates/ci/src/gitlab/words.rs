//! Single values of GitLab: lengths of time, variables, caches.

use crate::model::{Cache, When};
use crate::yaml::Node;

pub(super) fn when(word: &str) -> When {
    match word {
        "manual" => When::Manual,
        "on_failure" => When::Failure,
        "always" => When::Always,
        _ => When::Success,
    }
}

pub(super) fn pairs(node: &Node) -> Vec<(String, String)> {
    node.entries()
        .into_iter()
        .filter_map(|(name, value)| {
            let text = value.as_str().or_else(|| value.str("value"))?;
            Some((name.as_str()?.to_owned(), text.to_owned()))
        })
        .collect()
}

/// The name that GitLab gives a service: its image's, without registry and tag.
pub(super) fn alias(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = name
        .rsplit_once(':')
        .map_or(name, |(name, tag)| if tag.contains('/') { image } else { name });
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

pub(super) fn cache(node: &Node) -> Cache {
    let texts = |node: Option<&Node>| -> Vec<String> {
        node.map(|node| {
            node.texts()
                .into_iter()
                .map(|(text, _)| text.to_owned())
                .collect()
        })
        .unwrap_or_default()
    };
    let key = node.get("key");
    let name = key
        .and_then(|key| key.as_str().or_else(|| key.str("prefix")))
        .unwrap_or("default");
    Cache {
        name: name.to_owned(),
        files: texts(key.and_then(|key| key.get("files"))),
        paths: texts(node.get("paths")),
    }
}

/// `1h 30m`, `90 minutes`, `2 days`: GitLab's words for lengths of time, in minutes.
pub(super) fn minutes(text: &str) -> Option<u32> {
    let spaced = text.chars().map(|c| {
        if c.is_ascii_digit() || c.is_alphabetic() {
            c
        } else {
            ' '
        }
    });
    let mut total: f64 = 0.0;
    let mut number = String::new();
    let mut unit = String::new();
    let mut any = false;
    for c in spaced.chain([' ', '0']) {
        if c.is_ascii_digit() {
            if !unit.is_empty() {
                let amount: f64 = number.parse().ok()?;
                let each = match unit.as_str() {
                    "s" | "sec" | "secs" | "second" | "seconds" => 1.0 / 60.0,
                    "m" | "min" | "mins" | "minute" | "minutes" => 1.0,
                    "h" | "hr" | "hrs" | "hour" | "hours" => 60.0,
                    "d" | "day" | "days" => 1440.0,
                    "w" | "week" | "weeks" => 10080.0,
                    "mo" | "mos" | "month" | "months" => 43200.0,
                    "y" | "yr" | "yrs" | "year" | "years" => 525_600.0,
                    _ => return None,
                };
                total += amount * each;
                any = true;
                number.clear();
                unit.clear();
            }
            number.push(c);
        } else if c.is_alphabetic() {
            if number.is_empty() {
                return None;
            }
            unit.push(c);
        }
    }
    any.then(|| total.ceil().clamp(1.0, 1e8) as u32)
}
