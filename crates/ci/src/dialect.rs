//! The five systems by name, and the files that they read.

use serde::Serialize;

use crate::model::{Pipeline, Read, Written};
use crate::yaml::Fault;
use crate::{azure, cloud_build, github, gitlab, jenkins};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    Gitlab,
    Github,
    Jenkins,
    CloudBuild,
    Azure,
}

impl Dialect {
    pub const ALL: [Self; 5] = [
        Self::Gitlab,
        Self::Github,
        Self::Jenkins,
        Self::CloudBuild,
        Self::Azure,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
            Self::Jenkins => "jenkins",
            Self::CloudBuild => "cloud_build",
            Self::Azure => "azure",
        }
    }

    /// As people write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Gitlab => "GitLab CI",
            Self::Github => "GitHub Actions",
            Self::Jenkins => "Jenkins",
            Self::CloudBuild => "Google Cloud Build",
            Self::Azure => "Azure Pipelines",
        }
    }

    /// Which system reads a file of this path, from the repository's root.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.replace('\\', "/");
        let name = path.rsplit('/').next().unwrap_or_default();
        let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        if yaml && path.contains(".github/workflows/") {
            return Some(Self::Github);
        }
        if yaml && name.contains("gitlab-ci") {
            return Some(Self::Gitlab);
        }
        if name == "Jenkinsfile" || name.starts_with("Jenkinsfile.") || name.ends_with(".jenkinsfile") {
            return Some(Self::Jenkins);
        }
        if yaml && name.starts_with("cloudbuild") {
            return Some(Self::CloudBuild);
        }
        (yaml && name.contains("azure-pipelines")).then_some(Self::Azure)
    }

    pub fn write(self, pipeline: &Pipeline) -> Written {
        match self {
            Self::Gitlab => gitlab::write(pipeline),
            Self::Github => github::write(pipeline),
            Self::Jenkins => jenkins::write(pipeline),
            Self::CloudBuild => cloud_build::write(pipeline),
            Self::Azure => azure::write(pipeline),
        }
    }

    pub fn read(self, text: &str) -> Result<Read, Fault> {
        match self {
            Self::Gitlab => gitlab::read(text),
            Self::Github => github::read(text),
            Self::Jenkins => jenkins::read(text),
            Self::CloudBuild => cloud_build::read(text),
            Self::Azure => azure::read(text),
        }
    }
}
