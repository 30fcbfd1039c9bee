//! Which pipelines bring a version to an environment by themselves: `settings.environments.NAME.from`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A pipeline of a branch or tag that is named here deploys its commit once it has passed, each commit once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeployFrom {
    /// Names of branches; `*` stands for any text: `["main", "feature/*"]`.
    pub branches: Vec<String>,
    /// Names of tags, likewise: `["v*"]`.
    pub tags: Vec<String>,
    /// Whose success counts, where a commit has several workflows: its name. Any of them when absent.
    pub workflow: Option<String>,
    /// What is deployed: text in which `${sha}`, `${short_sha}`, `${ref}`, `${tag}` and `${pipeline}` stand for the
    /// pipeline's own. The tag where there is one, else the commit, when absent.
    pub version: Option<String>,
}

/// A pipeline that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built<'a> {
    pub git_ref: &'a str,
    /// Whether that is a tag; none where the forge does not say.
    pub is_tag: Option<bool>,
    pub sha: &'a str,
    pub pipeline: u64,
    pub workflow: Option<&'a str>,
}

/// What a pipeline brings to an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToDeploy {
    pub environment: String,
    pub version: String,
    /// It goes there because it was taken for a tag: whoever deploys makes sure that it is one.
    pub by_tag: bool,
}

const PARTS: [&str; 5] = ["sha", "short_sha", "ref", "tag", "pipeline"];
/// As long as the forges' own short names of commits are at most.
const SHORT: usize = 8;

impl DeployFrom {
    /// What is wrong with it, for the one who wrote it.
    pub fn problem(&self) -> Option<String> {
        if self.branches.is_empty() && self.tags.is_empty() {
            return Some(
                "`from` names neither `branches` nor `tags`, so nothing is deployed by it".to_owned(),
            );
        }
        let Some(version) = &self.version else {
            return None;
        };
        if version.trim().is_empty() {
            return Some("`from.version` is empty".to_owned());
        }
        for part in version.split("${").skip(1) {
            let Some((name, _)) = part.split_once('}') else {
                return Some(format!("`from.version` {version:?} has a `${{` without its `}}`"));
            };
            if !PARTS.contains(&name) {
                return Some(format!(
                    "`from.version` has no `${{{name}}}`; it has {}",
                    PARTS.map(|part| format!("`${{{part}}}`")).join(", ")
                ));
            }
            if name == "tag" && !self.branches.is_empty() {
                return Some(
                    "`from.version` has `${tag}`, and a branch has none: use `${ref}` or `${sha}`".to_owned(),
                );
            }
        }
        None
    }

    fn found(&self, environment: &str, built: &Built) -> Option<ToDeploy> {
        if self.workflow.is_some() && self.workflow.as_deref() != built.workflow {
            return None;
        }
        let any = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, built.git_ref));
        let by_branch = built.is_tag != Some(true) && any(&self.branches);
        let by_tag = !by_branch && built.is_tag != Some(false) && any(&self.tags);
        if !by_branch && !by_tag {
            return None;
        }
        let usual = if by_tag { "${tag}" } else { "${sha}" };
        let short: String = built.sha.chars().take(SHORT).collect();
        let pipeline = built.pipeline.to_string();
        let own = |name: &str| match name {
            "sha" => built.sha,
            "short_sha" => short.as_str(),
            "pipeline" => pipeline.as_str(),
            _ => built.git_ref,
        };
        Some(ToDeploy {
            environment: environment.to_owned(),
            version: filled(self.version.as_deref().unwrap_or(usual), own),
            by_tag,
        })
    }
}

/// What a pipeline that passed is to be deployed to, by the settings of its repository, and what of these cannot be read.
pub fn to_deploy(settings: &Value, built: &Built) -> (Vec<ToDeploy>, Vec<String>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    let environments = settings.get("environments").and_then(Value::as_object);
    for (name, environment) in environments.into_iter().flatten() {
        let from = match environment.get("from") {
            None | Some(Value::Null) => continue,
            Some(from) => DeployFrom::deserialize(from),
        };
        let problem = match &from {
            Ok(from) => from.problem(),
            Err(error) => Some(format!("`from` does not fit: {error}")),
        };
        match (from, problem) {
            (Ok(from), None) => found.extend(from.found(name, built)),
            (_, problem) => {
                wrong.extend(problem.map(|problem| format!("settings.environments.{name}: {problem}")))
            }
        }
    }
    (found, wrong)
}

/// One pass, so that nothing that was filled in is filled in again.
fn filled<'a>(template: &str, own: impl Fn(&str) -> &'a str) -> String {
    let mut parts = template.split("${");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('}') {
            Some((name, rest)) => text.extend([own(name), rest]),
            None => text.extend(["${", part]),
        }
    }
    text
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(mut part) = parts.next() else {
        return rest.is_empty();
    };
    for next in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        part = next;
    }
    rest.ends_with(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn built(git_ref: &str, is_tag: Option<bool>) -> Built<'_> {
        Built {
            git_ref,
            is_tag,
            sha: "0123456789abcdef0123456789abcdef01234567",
            pipeline: 31,
            workflow: Some("CI"),
        }
    }

    fn settings() -> Value {
        json!({"environments": {
            "development": {"from": {"branches": ["feature/*"], "version": "registry.example/shop:${short_sha}"}},
            "staging": {"from": {"branches": ["main"]}},
            "production": {"from": {"tags": ["v*"], "version": "shop:${tag}-${pipeline}"}},
            "by_hand": {"target": "cluster"},
        }})
    }

    fn goes(settings: &Value, built: &Built) -> Vec<(String, String)> {
        let (found, wrong) = to_deploy(settings, built);
        assert_eq!(wrong, [""; 0]);
        found.into_iter().map(|to| (to.environment, to.version)).collect()
    }

    #[test]
    fn each_branch_and_tag_goes_where_the_map_sends_it() {
        let goes = |git_ref, is_tag| goes(&settings(), &built(git_ref, is_tag));
        let one = |environment: &str, version: &str| vec![(environment.to_owned(), version.to_owned())];
        assert_eq!(
            goes("feature/a/b", Some(false)),
            one("development", "registry.example/shop:01234567")
        );
        assert_eq!(
            goes("main", Some(false)),
            one("staging", "0123456789abcdef0123456789abcdef01234567")
        );
        assert_eq!(goes("v1.4.2", Some(true)), one("production", "shop:v1.4.2-31"));
        assert_eq!(goes("v1.4.2", Some(false)), [], "a branch is no tag");
        assert_eq!(goes("main", Some(true)), [], "and a tag no branch");
        assert_eq!(goes("mainline", Some(false)), []);
        assert_eq!(
            goes("v1.4.2", None),
            one("production", "shop:v1.4.2-31"),
            "to be made sure of"
        );
    }

    #[test]
    fn where_the_forge_does_not_say_a_tag_is_marked_as_one() {
        let (found, _) = to_deploy(&settings(), &built("v1", None));
        assert!(found[0].by_tag);
        let (found, _) = to_deploy(&settings(), &built("main", None));
        assert!(!found[0].by_tag);
    }

    #[test]
    fn a_workflow_that_is_named_alone_counts() {
        let from = |workflow: &str| json!({"environments": {"staging": {"from": {"branches": ["main"], "workflow": workflow}}}});
        assert_eq!(goes(&from("CI"), &built("main", None)).len(), 1);
        assert_eq!(goes(&from("Lint"), &built("main", None)), []);
    }

    #[test]
    fn stars_stand_for_any_text_and_nothing_else_does() {
        for (pattern, name, is) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("*", "anything/at/all", true),
            ("v*", "v1", true),
            ("v*.0", "v1.0", true),
            ("v*.0", "v.0", true),
            ("v*.0", "v1.0.1", false),
            ("*-rc*", "v1-rc2", true),
            ("a*a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("v?", "v1", false),
            ("", "main", false),
        ] {
            assert_eq!(fits(pattern, name), is, "{pattern} {name}");
        }
    }

    #[test]
    fn what_a_branch_is_called_is_filled_in_once() {
        let settings = json!({"environments": {"dev": {"from": {"branches": ["*"], "version": "x:${ref}"}}}});
        assert_eq!(goes(&settings, &built("${sha}", Some(false)))[0].1, "x:${sha}");
    }

    #[test]
    fn settings_that_make_no_sense_are_told_and_stop_no_other_environment() {
        for (from, words) in [
            (json!({}), "names neither `branches` nor `tags`"),
            (json!({"branch": ["main"]}), "unknown field `branch`"),
            (
                json!({"branches": ["main"], "version": "${sah}"}),
                "has no `${sah}`; it has `${sha}`",
            ),
            (
                json!({"branches": ["main"], "version": "${sha"}),
                "without its `}`",
            ),
            (
                json!({"branches": ["main"], "version": "${tag}"}),
                "a branch has none",
            ),
            (json!({"branches": ["main"], "version": " "}), "is empty"),
        ] {
            let settings = json!({"environments": {
                "dev": {"from": from}, "staging": {"from": {"branches": ["main"]}}}});
            let (found, wrong) = to_deploy(&settings, &built("main", Some(false)));
            assert_eq!(found.len(), 1);
            assert!(
                wrong[0].contains(words) && wrong[0].contains("environments.dev"),
                "{wrong:?}"
            );
        }
    }
}
