//! What a repository is made of, and why we think so: languages, package managers, how it is built, tested and
//! checked, from its own files.

mod c;
mod deploy;
mod dotnet;
mod go;
mod java;
mod node;
mod php;
mod python;
mod ruby;
mod rust;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::{Artifacts, Cache, Reports, Tool};
use crate::tree::{Tree, is_foreign};

pub use deploy::Deploying;

/// One part of a repository that is built and tested by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Unit {
    /// From the root; empty is the root itself.
    pub directory: String,
    pub language: String,
    /// Package manager or build system.
    pub manager: String,
    pub why: Vec<Why>,
    pub image: String,
    pub tools: Vec<Tool>,
    pub variables: Vec<(String, String)>,
    pub cache: Option<Cache>,
    pub setup: Vec<String>,
    pub build: Vec<String>,
    pub test: Vec<String>,
    /// Linters and type checkers that the project itself has set up.
    pub checks: Vec<Check>,
    pub artifacts: Option<Artifacts>,
    pub reports: Reports,
    /// A command that fails below a coverage of `{}` per cent, after the tests.
    pub coverage_gate: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub name: String,
    pub script: Vec<String>,
}

/// A file and what it told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    pub path: String,
    pub what: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Found {
    pub units: Vec<Unit>,
    /// Dockerfiles.
    pub dockerfiles: Vec<String>,
    pub deploying: Option<Deploying>,
    pub existing: Vec<String>,
    /// What was seen and is in no pipeline, with the reason.
    pub left_out: Vec<Why>,
}

type Detector = fn(&Part<'_>) -> Option<Unit>;

const DETECTORS: &[Detector] = &[
    rust::detect,
    python::detect,
    node::detect,
    go::detect,
    java::detect,
    ruby::detect,
    php::detect,
    dotnet::detect,
    c::detect,
];

pub fn detect(tree: &dyn Tree) -> Found {
    let mut found = Found {
        deploying: deploy::detect(tree),
        ..Found::default()
    };
    let mut directories = BTreeSet::from([String::new()]);
    for path in tree.paths().iter().filter(|path| !is_foreign(path)) {
        if let Some((directory, _)) = path.rsplit_once('/') {
            directories.insert(directory.to_owned());
        }
        if is_ci_file(path) {
            found.existing.push(path.clone());
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        if name == "Dockerfile" || name == "Containerfile" {
            found.dockerfiles.push(path.clone());
        }
    }
    for directory in &directories {
        let part = Part { tree, directory };
        for detector in DETECTORS {
            let Some(unit) = detector(&part) else { continue };
            let above = found
                .units
                .iter()
                .find(|other| other.language == unit.language && holds(tree, other, &unit));
            match above {
                Some(above) => found.left_out.push(Why {
                    path: unit.why.first().map(|why| why.path.clone()).unwrap_or_default(),
                    what: format!(
                        "built with the {} project in {}",
                        above.language,
                        shown(&above.directory)
                    ),
                }),
                None => found.units.push(unit),
            }
        }
    }
    found
}

fn shown(directory: &str) -> &str {
    if directory.is_empty() {
        "the root"
    } else {
        directory
    }
}

/// Whether one project's build builds another one below it too.
fn holds(tree: &dyn Tree, above: &Unit, below: &Unit) -> bool {
    let under = above.directory.is_empty() || below.directory.starts_with(&format!("{}/", above.directory));
    if !under || above.directory == below.directory {
        return false;
    }
    let part = Part {
        tree,
        directory: &above.directory,
    };
    let says = |file: &str, word: &str| part.read(file).is_some_and(|text| text.contains(word));
    match above.language.as_str() {
        "Rust" => says("Cargo.toml", "[workspace"),
        "Node" => says("package.json", "\"workspaces\"") || part.has("pnpm-workspace.yaml"),
        "Python" => says("pyproject.toml", "[tool.uv.workspace]"),
        "Go" => part.has("go.work"),
        "Java" => {
            says("pom.xml", "<modules>") || part.has("settings.gradle") || part.has("settings.gradle.kts")
        }
        ".NET" | "C/C++" => true,
        _ => false,
    }
}

fn is_ci_file(path: &str) -> bool {
    let ends = path.ends_with(".yml") || path.ends_with(".yaml");
    matches!(
        path,
        ".gitlab-ci.yml"
            | "Jenkinsfile"
            | "cloudbuild.yaml"
            | "cloudbuild.yml"
            | "azure-pipelines.yml"
            | ".travis.yml"
            | ".circleci/config.yml"
            | "bitbucket-pipelines.yml"
    ) || (path.starts_with(".github/workflows/") && ends)
}

/// One directory of the tree.
struct Part<'t> {
    tree: &'t dyn Tree,
    directory: &'t str,
}

impl Part<'_> {
    fn path(&self, file: &str) -> String {
        if self.directory.is_empty() {
            file.to_owned()
        } else {
            format!("{}/{file}", self.directory)
        }
    }

    fn has(&self, file: &str) -> bool {
        self.tree.has(&self.path(file))
    }

    fn read(&self, file: &str) -> Option<&str> {
        self.tree.read(&self.path(file))
    }

    /// The first of these that is there.
    fn first<'f>(&self, files: &[&'f str]) -> Option<&'f str> {
        files.iter().find(|file| self.has(file)).copied()
    }

    /// All files in it and below, from it.
    fn files(&self) -> impl Iterator<Item = &str> {
        let prefix = if self.directory.is_empty() {
            String::new()
        } else {
            format!("{}/", self.directory)
        };
        self.tree
            .paths()
            .iter()
            .filter(|path| !is_foreign(path))
            .filter_map(move |path| path.strip_prefix(prefix.as_str()))
    }

    fn why(&self, file: &str, what: impl Into<String>) -> Why {
        Why {
            path: self.path(file),
            what: what.into(),
        }
    }

    fn unit(&self, language: &str, manager: &str) -> Unit {
        Unit {
            directory: self.directory.to_owned(),
            language: language.to_owned(),
            manager: manager.to_owned(),
            ..Unit::default()
        }
    }

    /// A folder of caches of its own in the workspace: some systems keep nothing outside of it.
    fn cache(&self, name: &str, files: &[&str], paths: &[&str]) -> Option<Cache> {
        let files: Vec<_> = files
            .iter()
            .filter(|file| self.has(file))
            .map(|file| self.path(file))
            .collect();
        (!files.is_empty()).then(|| Cache {
            name: name.to_owned(),
            files,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        })
    }

    /// The targets of its Makefile.
    fn make_targets(&self) -> Vec<String> {
        let Some(text) = self
            .first(&["GNUmakefile", "makefile", "Makefile"])
            .and_then(|file| self.read(file))
        else {
            return Vec::new();
        };
        text.lines()
            .filter(|line| !line.starts_with(['\t', ' ', '#', '.']))
            .filter_map(|line| line.split_once(':'))
            .filter(|(_, rest)| !rest.starts_with('='))
            .flat_map(|(names, _)| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .filter(|name| {
                name.chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
            })
            .collect()
    }
}

fn script(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// `3.12` of `>=3.12,<4`: the first version that a text names, to so many parts.
fn version(text: &str, parts: usize) -> Option<String> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let number: String = text[start..]
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let kept: Vec<_> = number
        .split('.')
        .filter(|part| !part.is_empty())
        .take(parts)
        .collect();
    Some(kept.join("."))
}
