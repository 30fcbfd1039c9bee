//! From what a repository is to a pipeline: build, test, security, package, deploy_dev, deploy_prod.

mod jobs;
mod release;

use serde::Serialize;

use crate::condition::Condition;
use crate::detect::{Found, Unit, detect};
use crate::model::{Branches, Note, Pipeline, Triggers};
use crate::tree::Tree;

/// What a caller may decide; the default is what most want.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Of the pipeline; the repository's name, mostly.
    pub name: String,
    /// Tests below this coverage, in per cent, fail.
    pub min_coverage: Option<u8>,
    pub stages: Vec<CustomStage>,
    /// Whether to write jobs that deploy.
    pub deploys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "ci".to_owned(),
            min_coverage: None,
            stages: Vec::new(),
            deploys: true,
        }
    }
}

/// A stage of the caller's own, with one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomStage {
    pub name: String,
    /// The stage that it comes after; `security` where nothing is said.
    pub after: Option<String>,
    pub script: Vec<String>,
}

/// A pipeline and why it is as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated {
    pub found: Found,
    pub pipeline: Pipeline,
    pub notes: Vec<Note>,
}

pub(crate) const STAGES: [&str; 6] = [
    "build",
    "test",
    "security",
    "package",
    "deploy_dev",
    "deploy_prod",
];

pub fn generate(tree: &dyn Tree, options: &Options) -> Result<Generated, domain::Error> {
    let found = detect(tree);
    if found.units.is_empty() && found.dockerfiles.is_empty() {
        return Err(domain::Error::invalid(
            "nothing was found that a pipeline could build: no manifest of a known language, no Makefile with a target \
             `test`, no Dockerfile",
        )
        .next("Known: Rust, Python, Node, Go, Java, Ruby, PHP, .NET, C/C++ with CMake, Meson or Make"));
    }
    let mut notes = Vec::new();
    let mut pipeline = Pipeline {
        name: options.name.clone(),
        on: Triggers {
            push: Some(Branches::Default),
            merge_requests: true,
            manual: true,
            ..Triggers::default()
        },
        cancel_superseded: true,
        ..Pipeline::default()
    };
    let names = names(&found.units);
    for (unit, name) in found.units.iter().zip(&names) {
        pipeline
            .jobs
            .extend(jobs::of_unit(unit, name.as_deref(), options, &mut notes));
    }
    pipeline.jobs.push(jobs::security());
    release::add(&mut pipeline, &found, options, &mut notes);
    pipeline.stages = STAGES
        .iter()
        .map(|stage| (*stage).to_owned())
        .filter(|stage| pipeline.jobs.iter().any(|job| job.stage == *stage))
        .collect();
    for stage in &options.stages {
        add_stage(&mut pipeline, stage)?;
    }
    Ok(Generated {
        found,
        pipeline,
        notes,
    })
}

/// What tells the jobs of several units apart; a single unit needs nothing.
fn names(units: &[Unit]) -> Vec<Option<String>> {
    if units.len() < 2 {
        return vec![None; units.len()];
    }
    let short = |unit: &Unit| {
        let word = match unit.directory.rsplit('/').next() {
            None | Some("") => unit.language.as_str(),
            Some(folder) => folder,
        };
        identifier(word)
    };
    let mut names: Vec<String> = units.iter().map(short).collect();
    for at in 0..names.len() {
        if names.iter().filter(|name| **name == names[at]).count() > 1 {
            let whole = format!("{}_{}", units[at].directory, units[at].language);
            names[at] = identifier(whole.trim_start_matches('_'));
        }
    }
    names.into_iter().map(Some).collect()
}

/// A word that all five systems take as a job's name.
pub(crate) fn identifier(text: &str) -> String {
    let mut out = String::new();
    for c in text.to_lowercase().replace("c/c++", "c").chars() {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if out.ends_with('_') || out.is_empty() => {}
            _ => out.push('_'),
        }
    }
    let out = out.trim_end_matches('_').to_owned();
    if out.starts_with(|c: char| c.is_ascii_digit()) || out.is_empty() {
        return format!("job_{out}").trim_end_matches('_').to_owned();
    }
    out
}

fn add_stage(pipeline: &mut Pipeline, custom: &CustomStage) -> Result<(), domain::Error> {
    let name = identifier(&custom.name);
    if pipeline.stages.contains(&name) || pipeline.job(&name).is_some() {
        return Err(
            domain::Error::invalid(format!("there is a stage or a job `{name}` already"))
                .next("Give the stage another name"),
        );
    }
    let after = match &custom.after {
        Some(after) => identifier(after),
        None => "security".to_owned(),
    };
    let Some(place) = pipeline.stages.iter().position(|stage| *stage == after) else {
        return Err(domain::Error::invalid(format!(
            "there is no stage `{after}` that `{name}` could come after"
        ))
        .next(format!("The stages are {}", pipeline.stages.join(", "))));
    };
    let later = pipeline.stages.split_off(place + 1);
    let job = jobs::custom(&name, &custom.script, pipeline);
    // Whatever was to come later waits for it too; what only undoes a failure waits for that alone.
    for other in pipeline
        .jobs
        .iter_mut()
        .filter(|other| later.contains(&other.stage))
    {
        if let Some(needs) = &mut other.needs
            && other.when != crate::model::When::Failure
        {
            needs.push(name.clone());
        }
    }
    pipeline.stages.push(name);
    pipeline.stages.extend(later);
    pipeline.jobs.push(job);
    Ok(())
}

/// A push to the branch that is deployed from.
pub(crate) fn on_default_branch() -> Option<Condition> {
    Some(Condition::DefaultBranch)
}
