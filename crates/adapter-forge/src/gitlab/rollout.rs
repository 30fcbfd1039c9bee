//! For how many users a GitLab feature flag is on in one environment scope, as its rules say.

use std::collections::BTreeMap;

use ports::Mark;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
pub(super) struct RawFlag {
    pub active: bool,
    #[serde(default)]
    pub strategies: Vec<RawStrategy>,
}

/// A rule. A user for whom any rule of an environment is on has the flag on.
#[derive(Debug, Deserialize)]
pub(super) struct RawStrategy {
    pub id: u64,
    name: String,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    #[serde(default)]
    scopes: Vec<RawScope>,
}

#[derive(Debug, Deserialize)]
struct RawScope {
    environment_scope: String,
}

/// How a flag stands in one scope.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub percent: u32,
    pub mark: Mark,
    /// The one rule for this scope alone.
    rule: Option<&'a RawStrategy>,
}

/// In the scope, or why it is no share of users there.
pub(super) fn standing<'a>(flag: &'a RawFlag, scope: &str) -> Result<Standing<'a>, String> {
    let applying = flag.strategies.iter().filter(|rule| rule.applies(scope));
    let (own, shared): (Vec<_>, Vec<_>) = applying.partition(|rule| rule.is_only(scope));
    for rule in shared {
        if rule.share() != Ok(0) {
            return Err(format!(
                "its rule {} is for {} as well",
                rule.id,
                rule.others(scope)
            ));
        }
    }
    let rule = match own.as_slice() {
        [] => None,
        [rule] => Some(*rule),
        more => return Err(format!("it has {} rules for {scope}", more.len())),
    };
    let share = rule.map_or(Ok(0), RawStrategy::share)?;
    Ok(Standing {
        percent: if flag.active { share } else { 0 },
        mark: Mark(match rule {
            Some(rule) => json!([flag.active, rule.id, rule.name, rule.parameters]).to_string(),
            None => json!([flag.active]).to_string(),
        }),
        rule,
    })
}

impl Standing<'_> {
    pub fn is_rule(&self, other: &RawStrategy) -> bool {
        self.rule.is_some_and(|rule| rule.id == other.id)
    }

    /// The rule as it shall be; whoever had the flag on at a smaller share keeps it, as the group stays the same.
    pub fn at(&self, percent: u32, key: &str, scope: &str) -> Value {
        let percent = percent.to_string();
        match self.rule {
            Some(rule) if rule.share_name().is_some() => {
                let mut parameters = rule.parameters.clone();
                let share = rule.share_name().unwrap_or_default();
                parameters.insert(share.to_owned(), Value::String(percent));
                json!({ "id": rule.id, "name": rule.name, "parameters": parameters })
            }
            all_or_none => {
                let parameters = json!({ "rollout": percent, "stickiness": "default", "groupId": key });
                match all_or_none {
                    Some(all) => json!({ "id": all.id, "name": "flexibleRollout", "parameters": parameters }),
                    None => json!({
                        "name": "flexibleRollout",
                        "parameters": parameters,
                        "scopes": [{ "environment_scope": scope }],
                    }),
                }
            }
        }
    }
}

impl RawStrategy {
    fn applies(&self, scope: &str) -> bool {
        self.scopes.iter().any(|of| fits(&of.environment_scope, scope))
    }

    fn is_only(&self, scope: &str) -> bool {
        matches!(self.scopes.as_slice(), [only] if only.environment_scope == scope)
    }

    fn others(&self, scope: &str) -> String {
        let others = self.scopes.iter().map(|of| of.environment_scope.as_str());
        others
            .filter(|other| *other != scope)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The parameter that holds the percentage.
    fn share_name(&self) -> Option<&'static str> {
        match self.name.as_str() {
            "gradualRolloutUserId" => Some("percentage"),
            "flexibleRollout" => Some("rollout"),
            _ => None,
        }
    }

    fn share(&self) -> Result<u32, String> {
        let Some(name) = self.share_name() else {
            return match self.name.as_str() {
                "default" => Ok(100),
                other => Err(format!("its rule {} is `{other}`", self.id)),
            };
        };
        if self.parameter("stickiness").eq_ignore_ascii_case("random") {
            return Err(format!("its rule {} draws the users anew each time", self.id));
        }
        let share = self
            .parameter(name)
            .parse::<u32>()
            .ok()
            .filter(|share| *share <= 100);
        share.ok_or_else(|| format!("its rule {} has no `{name}` from 0 to 100", self.id))
    }

    fn parameter(&self, name: &str) -> String {
        match self.parameters.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }
}

/// GitLab's environment scopes: `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(active: bool, strategies: Value) -> RawFlag {
        serde_json::from_value(json!({ "active": active, "strategies": strategies })).expect("a flag")
    }

    fn flexible(id: u64, rollout: &str, scopes: &[&str]) -> Value {
        let scopes: Vec<Value> = scopes
            .iter()
            .map(|of| json!({ "environment_scope": of }))
            .collect();
        let parameters = json!({ "rollout": rollout, "stickiness": "userId", "groupId": "g" });
        json!({ "id": id, "name": "flexibleRollout", "parameters": parameters, "scopes": scopes })
    }

    #[test]
    fn environment_scopes_fit_as_gitlab_has_them() {
        for (pattern, name, expected) in [
            ("production", "production", true),
            ("production", "production-2", false),
            ("*", "production", true),
            ("review/*", "review/app", true),
            ("review/*", "production", false),
            ("*-eu", "production-eu", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("*", "*", true),
            ("production", "*", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn each_kind_of_rule_is_read_as_the_share_that_it_is() {
        let of = |name: &str, parameters: Value| {
            let scopes = json!([{ "environment_scope": "production" }]);
            let rule = json!({ "id": 1, "name": name, "parameters": parameters, "scopes": scopes });
            standing(&flag(true, json!([rule])), "production").map(|now| now.percent)
        };
        assert_eq!(of("default", json!({})), Ok(100));
        assert_eq!(of("gradualRolloutUserId", json!({ "percentage": "25" })), Ok(25));
        assert_eq!(
            of(
                "flexibleRollout",
                json!({ "rollout": "7", "stickiness": "default" })
            ),
            Ok(7)
        );
        for (name, parameters) in [
            (
                "flexibleRollout",
                json!({ "rollout": "7", "stickiness": "random" }),
            ),
            ("flexibleRollout", json!({ "rollout": "101" })),
            ("gradualRolloutUserId", json!({})),
            ("userWithId", json!({ "userIds": "ada" })),
            ("gitlabUserList", json!({})),
        ] {
            assert!(of(name, parameters).is_err(), "{name}");
        }
    }

    #[test]
    fn only_the_rules_that_apply_to_the_scope_count() {
        let rules = json!([
            flexible(1, "30", &["production"]),
            flexible(2, "80", &["staging"])
        ]);
        let both = flag(true, rules.clone());
        assert_eq!(standing(&both, "production").map(|now| now.percent), Ok(30));
        assert_eq!(standing(&both, "elsewhere").map(|now| now.percent), Ok(0));
        assert_eq!(
            standing(&flag(false, rules), "production").map(|now| now.percent),
            Ok(0)
        );
        // What is on everywhere is on in production as well, whatever production's own rule says.
        let shared = flag(
            true,
            json!([flexible(1, "30", &["production"]), flexible(2, "50", &["*"])]),
        );
        assert_eq!(
            standing(&shared, "production").expect_err("is shared"),
            "its rule 2 is for * as well"
        );
        assert_eq!(standing(&shared, "*").map(|now| now.percent), Ok(50));
        let off = flag(
            true,
            json!([flexible(1, "30", &["production"]), flexible(2, "0", &["*"])]),
        );
        assert_eq!(standing(&off, "production").map(|now| now.percent), Ok(30));
        let two = flag(true, json!([flexible(1, "30", &["production", "staging"])]));
        assert!(standing(&two, "production").is_err());
    }

    #[test]
    fn a_change_keeps_the_group_and_touches_its_own_rule_alone() {
        let both = flag(
            true,
            json!([
                flexible(1, "30", &["production"]),
                flexible(2, "80", &["staging"])
            ]),
        );
        let now = standing(&both, "production").expect("a share");
        let parameters = json!({ "rollout": "40", "stickiness": "userId", "groupId": "g" });
        assert_eq!(
            now.at(40, "key", "production"),
            json!({ "id": 1, "name": "flexibleRollout", "parameters": parameters })
        );
        let now = standing(&both, "elsewhere").expect("a share");
        assert_eq!(
            now.at(5, "key", "elsewhere")["scopes"],
            json!([{ "environment_scope": "elsewhere" }])
        );
    }
}
