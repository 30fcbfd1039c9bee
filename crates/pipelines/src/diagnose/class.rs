//! What a failed log can turn out to be, and what each class means for the next step.

use serde::{Deserialize, Serialize};

/// The class of a diagnosed log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    CompileError,
    TestFailure,
    FlakyTest,
    Timeout,
    Canceled,
    InfraRunner,
    Oom,
    DiskFull,
    Network,
    ServiceUnavailable,
    ImageBuild,
    RateLimit,
    ImagePull,
    Dependency,
    Permission,
    Auth,
    Lint,
    GeneratedFilesStale,
    Crash,
    ConfigError,
    GitError,
    Artifact,
    DeployFailure,
    /// The log ends well, whatever it printed on the way.
    Success,
    /// The cause is not in this log.
    Unknown,
}

impl Class {
    pub const ALL: [Class; 25] = [
        Class::CompileError,
        Class::TestFailure,
        Class::FlakyTest,
        Class::Timeout,
        Class::Canceled,
        Class::InfraRunner,
        Class::Oom,
        Class::DiskFull,
        Class::Network,
        Class::ServiceUnavailable,
        Class::ImageBuild,
        Class::RateLimit,
        Class::ImagePull,
        Class::Dependency,
        Class::Permission,
        Class::Auth,
        Class::Lint,
        Class::GeneratedFilesStale,
        Class::Crash,
        Class::ConfigError,
        Class::GitError,
        Class::Artifact,
        Class::DeployFailure,
        Class::Success,
        Class::Unknown,
    ];

    /// The name used in JSON, in rule files and in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Class::CompileError => "compile_error",
            Class::TestFailure => "test_failure",
            Class::FlakyTest => "flaky_test",
            Class::Timeout => "timeout",
            Class::Canceled => "canceled",
            Class::InfraRunner => "infra_runner",
            Class::Oom => "oom",
            Class::DiskFull => "disk_full",
            Class::Network => "network",
            Class::ServiceUnavailable => "service_unavailable",
            Class::ImageBuild => "image_build",
            Class::RateLimit => "rate_limit",
            Class::ImagePull => "image_pull",
            Class::Dependency => "dependency",
            Class::Permission => "permission",
            Class::Auth => "auth",
            Class::Lint => "lint",
            Class::GeneratedFilesStale => "generated_files_stale",
            Class::Crash => "crash",
            Class::ConfigError => "config_error",
            Class::GitError => "git_error",
            Class::Artifact => "artifact",
            Class::DeployFailure => "deploy_failure",
            Class::Success => "success",
            Class::Unknown => "unknown",
        }
    }

    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Whose problem the class is; a rule may still say otherwise through its [`Retry`].
    pub fn kind(self) -> Kind {
        match self {
            Class::FlakyTest => Kind::Flaky,
            Class::InfraRunner
            | Class::Network
            | Class::ServiceUnavailable
            | Class::RateLimit
            | Class::DiskFull
            | Class::Timeout
            | Class::Canceled => Kind::Infrastructure,
            Class::CompileError
            | Class::TestFailure
            | Class::Dependency
            | Class::Lint
            | Class::GeneratedFilesStale
            | Class::Crash
            | Class::ImageBuild
            | Class::Oom => Kind::Code,
            Class::Permission
            | Class::Auth
            | Class::ConfigError
            | Class::GitError
            | Class::Artifact
            | Class::ImagePull
            | Class::DeployFailure => Kind::Configuration,
            Class::Success => Kind::Passed,
            Class::Unknown => Kind::Unknown,
        }
    }

    /// Whether running the same job again is worth it when the rule does not say.
    pub fn retry(self) -> Retry {
        match self {
            Class::FlakyTest | Class::InfraRunner | Class::Network | Class::ServiceUnavailable => Retry::Now,
            Class::RateLimit => Retry::Later,
            _ => Retry::No,
        }
    }
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The same code passes at another try.
    Flaky,
    /// The machinery around the build.
    Infrastructure,
    /// The change itself.
    Code,
    /// Settings, rights, names.
    Configuration,
    /// Nothing failed.
    Passed,
    Unknown,
}

/// Whether the same job is worth running again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// At once.
    Now,
    /// After a pause: a quota has to refill.
    Later,
    /// The same input gives the same failure.
    No,
}
