use std::sync::LazyLock;

use domain::Error;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The payload of a `fix_build` task. One of `log`, `job`, `pipeline` or `instruction` says what to look at;
/// the first of them that is there is taken.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct Params {
    /// A log given inline.
    pub log: Option<String>,
    /// A failed job; with `log`, what it is called.
    pub job: Option<JobParam>,
    /// A failed pipeline.
    pub pipeline: Option<PipelineParam>,
    /// `fix pipeline 4711`, `fix job 17`, `retry job 17`, `fix the build on main`.
    pub instruction: Option<String>,
    /// Whether a flaky job may be run again; allowed when absent.
    pub retry: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct JobParam {
    #[serde(default, deserialize_with = "number")]
    pub id: Option<u64>,
    pub name: Option<String>,
    pub stage: Option<String>,
    pub exit_code: Option<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
pub struct PipelineParam {
    #[serde(default, deserialize_with = "number")]
    pub id: Option<u64>,
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Log,
    Job { id: u64, only_retry: bool },
    Pipeline(u64),
    Branch(String),
}

pub(crate) const FORMS: &str =
    "`fix pipeline 4711`, `fix job 17`, `retry job 17` or `fix the build on BRANCH`";

impl Params {
    pub(crate) fn subject(&self) -> Result<Subject, Error> {
        if self.log.is_some() {
            return Ok(Subject::Log);
        }
        if let Some(id) = self.job.as_ref().and_then(|job| job.id) {
            return Ok(Subject::Job {
                id,
                only_retry: false,
            });
        }
        if let Some(pipeline) = &self.pipeline {
            if let Some(id) = pipeline.id {
                return Ok(Subject::Pipeline(id));
            }
            if let Some(git_ref) = &pipeline.git_ref {
                return Ok(Subject::Branch(git_ref.clone()));
            }
        }
        let Some(instruction) = &self.instruction else {
            return Err(Error::invalid("the payload does not say which build to look at: none of payload.log, payload.job.id, payload.pipeline.id and payload.instruction is there")
                .next(format!("Send {{\"pipeline\": {{\"id\": 4711}}}}, a log as {{\"log\": \"…\"}}, or an instruction: {FORMS}")));
        };
        understand(instruction).ok_or_else(|| {
            let mut shown: String = instruction.chars().take(200).collect();
            if shown.len() < instruction.len() {
                shown.push('…');
            }
            Error::invalid(format!("payload.instruction {shown:?} is not understood"))
                .next(format!("Which build is meant? Write it as {FORMS}"))
        })
    }
}

/// The whole instruction must fit a form: a guess could run the wrong job again.
fn understand(instruction: &str) -> Option<Subject> {
    static PIPELINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        form(
            r"(?:fix|diagnose|repair|mend|look at)\s+(?:the\s+)?(?:failed\s+|failing\s+|broken\s+)?(?:pipeline|build|run)\s+#?(\d+)",
        )
    });
    static JOB: LazyLock<Option<Regex>> = LazyLock::new(|| {
        form(
            r"(?:fix|diagnose|repair|mend|look at)\s+(?:the\s+)?(?:failed\s+|failing\s+|broken\s+)?job\s+#?(\d+)",
        )
    });
    static RETRY: LazyLock<Option<Regex>> =
        LazyLock::new(|| form(r"(?:retry|rerun|re-run)\s+(?:the\s+)?(?:failed\s+|failing\s+)?job\s+#?(\d+)"));
    static BRANCH: LazyLock<Option<Regex>> = LazyLock::new(|| {
        form(
            r"(?:fix|diagnose|repair|mend|look at)\s+(?:the\s+)?(?:(?:latest|last)\s+)?(?:failed\s+|failing\s+|broken\s+)?(?:pipeline|build)\s+(?:on|of|for)\s+(?:branch\s+|tag\s+)?([^\s]+?)",
        )
    });
    let take = |regex: &LazyLock<Option<Regex>>| {
        regex
            .as_ref()?
            .captures(instruction.trim())
            .and_then(|found| found.get(1))
            .map(|found| found.as_str().to_owned())
    };
    if let Some(id) = take(&PIPELINE).and_then(|id| id.parse().ok()) {
        return Some(Subject::Pipeline(id));
    }
    if let Some(id) = take(&JOB).and_then(|id| id.parse().ok()) {
        return Some(Subject::Job {
            id,
            only_retry: false,
        });
    }
    if let Some(id) = take(&RETRY).and_then(|id| id.parse().ok()) {
        return Some(Subject::Job { id, only_retry: true });
    }
    take(&BRANCH).map(Subject::Branch)
}

fn form(pattern: &str) -> Option<Regex> {
    Regex::new(&format!(r"(?i)^{pattern}\s*[.!]?$")).ok()
}

/// Numbers come as numbers or as their digits.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::Number(number) if number.is_u64() => Ok(number.as_u64()),
        Value::String(digits) => match digits.trim().trim_start_matches('#').parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(D::Error::custom(format!("{digits:?} is not a number"))),
        },
        other => Err(D::Error::custom(format!("{other} is not a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subject(payload: Value) -> Result<Subject, String> {
        let params: Params = durable::from_payload(&payload).map_err(|error| error.to_string())?;
        params.subject().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_structured_wins_over_the_instruction() {
        let payload = json!({"pipeline": {"id": "4711", "ref": "main"}, "instruction": "fix pipeline 1"});
        assert_eq!(subject(payload), Ok(Subject::Pipeline(4711)));
        assert_eq!(
            subject(json!({"log": "boom", "pipeline": {"id": 4}})),
            Ok(Subject::Log)
        );
        assert_eq!(
            subject(json!({"pipeline": {"ref": "main"}})),
            Ok(Subject::Branch("main".to_owned()))
        );
    }

    #[test]
    fn instructions_are_understood_in_the_documented_forms_alone() {
        let understood = |text: &str| subject(json!({ "instruction": text }));
        assert_eq!(understood("fix pipeline 4711"), Ok(Subject::Pipeline(4711)));
        assert_eq!(
            understood("Fix the failed pipeline #4711."),
            Ok(Subject::Pipeline(4711))
        );
        assert_eq!(
            understood("fix job 17"),
            Ok(Subject::Job {
                id: 17,
                only_retry: false
            })
        );
        assert_eq!(
            understood("retry job 17"),
            Ok(Subject::Job {
                id: 17,
                only_retry: true
            })
        );
        assert_eq!(
            understood("fix the build on feature/login"),
            Ok(Subject::Branch("feature/login".to_owned()))
        );
        for wrong in [
            "fix it",
            "fix pipeline",
            "fix pipeline 4 and 5",
            "retry pipeline x",
            "deploy v1 to staging",
            "",
        ] {
            let error = understood(wrong).unwrap_err();
            assert!(
                error.contains("payload.instruction") && error.contains("`fix pipeline 4711`"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_wrong_field_and_an_empty_payload_say_what_would_be_right() {
        let error = subject(json!({"pipeline": {"id": "latest"}})).unwrap_err();
        assert!(
            error.starts_with("payload.pipeline.id does not fit: \"latest\" is not a number"),
            "{error}"
        );
        let error = subject(json!({})).unwrap_err();
        assert!(
            error.contains("payload.pipeline.id") && error.contains("{\"pipeline\": {\"id\": 4711}}"),
            "{error}"
        );
    }
}
