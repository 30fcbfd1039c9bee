//! The sentences that a task may be given in: `deploy v1.4.2 to staging with canary`, `rollback staging to v1.4.1`.

use std::sync::LazyLock;

use regex::Regex;

pub(crate) const DEPLOY_FORMS: &str = "`deploy VERSION to ENV` or `deploy VERSION to ENV with STRATEGY`";
pub(crate) const ROLLBACK_FORMS: &str = "`rollback ENV` or `rollback ENV to VERSION`";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deploy {
    pub(crate) version: String,
    pub(crate) environment: String,
    pub(crate) strategy: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rollback {
    pub(crate) environment: String,
    pub(crate) version: Option<String>,
}

/// The whole instruction must fit: a guess could bring the wrong version to the wrong place.
pub(crate) fn deploy(instruction: &str) -> Option<Deploy> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        form(concat!(
            r"deploy\s+(?:version\s+)?(\S+)\s+to\s+(?:the\s+)?(\S+?)",
            r"(?:\s+with\s+(?:a\s+)?([\w-]+(?:\s+flag|\s+green)?)(?:\s+strategy)?)?"
        ))
    });
    let found = FORM.as_ref()?.captures(instruction.trim())?;
    let part = |at: usize| found.get(at).map(|part| part.as_str().to_owned());
    Some(Deploy {
        version: part(1)?,
        environment: part(2)?,
        strategy: part(3),
    })
}

pub(crate) fn rollback(instruction: &str) -> Option<Rollback> {
    static FORM: LazyLock<Option<Regex>> = LazyLock::new(|| {
        form(r"(?:rollback|roll\s+back|roll-back)\s+(?:the\s+)?(\S+?)(?:\s+to\s+(?:version\s+)?(\S+?))?")
    });
    let found = FORM.as_ref()?.captures(instruction.trim())?;
    let part = |at: usize| found.get(at).map(|part| part.as_str().to_owned());
    Some(Rollback {
        environment: part(1)?,
        version: part(2),
    })
}

fn form(pattern: &str) -> Option<Regex> {
    Regex::new(&format!(r"(?i)^{pattern}\s*[.!]?$")).ok()
}

/// As much of an instruction as an error shows.
pub(crate) fn shown(instruction: &str) -> String {
    let mut shown: String = instruction.chars().take(200).collect();
    if shown.len() < instruction.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_understood_in_the_documented_forms_alone() {
        let understood = |text: &str| deploy(text).map(|d| (d.version, d.environment, d.strategy));
        let of = |version: &str, environment: &str, strategy: Option<&str>| {
            Some((
                version.to_owned(),
                environment.to_owned(),
                strategy.map(str::to_owned),
            ))
        };
        assert_eq!(
            understood("deploy v1.4.2 to staging"),
            of("v1.4.2", "staging", None)
        );
        assert_eq!(
            understood("Deploy v1.4.2 to staging."),
            of("v1.4.2", "staging", None)
        );
        assert_eq!(
            understood("deploy v1.4.2 to staging with canary"),
            of("v1.4.2", "staging", Some("canary"))
        );
        assert_eq!(
            understood("deploy shop@sha256:ab12 to the production with feature flag"),
            of("shop@sha256:ab12", "production", Some("feature flag"))
        );
        assert_eq!(
            understood("deploy registry.example:5000/shop:v1 to eu-1 with a blue-green strategy!"),
            of("registry.example:5000/shop:v1", "eu-1", Some("blue-green"))
        );
        for wrong in [
            "deploy v1",
            "deploy to staging",
            "deploy v1 and v2 to staging",
            "deploy v1 to staging and production",
            "please deploy v1 to staging",
            "deploy v1 to staging with",
            "rollback staging",
            "",
        ] {
            assert_eq!(understood(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rollbacks_are_understood_in_the_documented_forms_alone() {
        let understood = |text: &str| rollback(text).map(|r| (r.environment, r.version));
        let of = |environment: &str, version: Option<&str>| {
            Some((environment.to_owned(), version.map(str::to_owned)))
        };
        assert_eq!(understood("rollback staging"), of("staging", None));
        assert_eq!(understood("Roll back production."), of("production", None));
        assert_eq!(
            understood("rollback staging to v1.4.1"),
            of("staging", Some("v1.4.1"))
        );
        for wrong in [
            "rollback",
            "rollback staging v1",
            "roll staging",
            "deploy v1 to staging",
        ] {
            assert_eq!(understood(wrong), None, "{wrong}");
        }
    }
}
