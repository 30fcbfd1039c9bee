//! What a system tells its jobs. In the model a script reads it under GitLab's name; each dialect sets that name from
//! its own word, in the job's environment and never by pasting.
//!
//! Sources: GitLab "Predefined CI/CD variables", GitHub "Contexts", Azure Pipelines "Predefined variables", Jenkins
//! "Using environment variables", Cloud Build "Substituting variable values".

/// One thing that every system knows.
pub struct Fact {
    /// GitLab's variable, and the model's word.
    pub name: &'static str,
    pub github: &'static str,
    /// The environment variable that GitHub's jobs have for it.
    pub github_variable: &'static str,
    pub azure: &'static str,
    pub jenkins: &'static str,
    pub cloud_build: &'static str,
}

pub const FACTS: &[Fact] = &[
    Fact {
        name: "CI_COMMIT_SHA",
        github: "github.sha",
        github_variable: "GITHUB_SHA",
        azure: "Build.SourceVersion",
        jenkins: "GIT_COMMIT",
        cloud_build: "COMMIT_SHA",
    },
    Fact {
        name: "CI_COMMIT_REF_NAME",
        github: "github.ref_name",
        github_variable: "GITHUB_REF_NAME",
        azure: "Build.SourceBranchName",
        jenkins: "BRANCH_NAME",
        cloud_build: "REF_NAME",
    },
    Fact {
        name: "CI_COMMIT_BRANCH",
        github: "github.ref_name",
        github_variable: "",
        azure: "Build.SourceBranchName",
        jenkins: "BRANCH_NAME",
        cloud_build: "BRANCH_NAME",
    },
    Fact {
        name: "CI_COMMIT_TAG",
        github: "github.ref_type == 'tag' && github.ref_name || ''",
        github_variable: "",
        azure: "",
        jenkins: "TAG_NAME",
        cloud_build: "TAG_NAME",
    },
    Fact {
        name: "CI_DEFAULT_BRANCH",
        github: "github.event.repository.default_branch",
        github_variable: "",
        azure: "",
        jenkins: "",
        cloud_build: "",
    },
    Fact {
        name: "CI_PIPELINE_ID",
        github: "github.run_id",
        github_variable: "GITHUB_RUN_ID",
        azure: "Build.BuildId",
        jenkins: "BUILD_NUMBER",
        cloud_build: "BUILD_ID",
    },
    Fact {
        name: "CI_PROJECT_PATH",
        github: "github.repository",
        github_variable: "GITHUB_REPOSITORY",
        azure: "Build.Repository.Name",
        jenkins: "",
        cloud_build: "REPO_FULL_NAME",
    },
    Fact {
        name: "CI_PROJECT_DIR",
        github: "github.workspace",
        github_variable: "GITHUB_WORKSPACE",
        azure: "Build.SourcesDirectory",
        jenkins: "WORKSPACE",
        cloud_build: "",
    },
    Fact {
        name: "CI_REGISTRY",
        github: "'ghcr.io'",
        github_variable: "",
        azure: "",
        jenkins: "",
        cloud_build: "",
    },
    Fact {
        name: "CI_REGISTRY_IMAGE",
        github: "format('ghcr.io/{0}', github.repository)",
        github_variable: "",
        azure: "",
        jenkins: "",
        cloud_build: "",
    },
    Fact {
        name: "CI_REGISTRY_USER",
        github: "github.actor",
        github_variable: "GITHUB_ACTOR",
        azure: "",
        jenkins: "",
        cloud_build: "",
    },
    Fact {
        name: "CI_REGISTRY_PASSWORD",
        github: "github.token",
        github_variable: "",
        azure: "",
        jenkins: "",
        cloud_build: "",
    },
];

/// Whether nobody may see its value.
pub fn is_secret(name: &str) -> bool {
    name == "CI_REGISTRY_PASSWORD"
}

/// The facts that these texts name as variables of a shell.
pub fn used<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> Vec<&'static Fact> {
    FACTS
        .iter()
        .filter(|fact| texts.clone().any(|text| names(text, fact.name)))
        .collect()
}

/// Whether a shell's text reads the variable: `$NAME`, `${NAME}`, `${NAME:-x}`.
pub fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].ends_with('$') || text[..at].ends_with("${");
        let after = text[at + name.len()..].chars().next();
        before && !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// A shell's text with every reading of one variable turned into another's.
pub fn renamed(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let before = &rest[..at];
        let after = &rest[at + from.len()..];
        let whole = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        let read = before.ends_with('$') || before.ends_with("${");
        out.push_str(before);
        out.push_str(if whole && read { to } else { from });
        rest = after;
    }
    out.push_str(rest);
    out
}
