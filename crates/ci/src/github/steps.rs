//! A job's steps: what actions bring, then the script as one step.

use crate::model::{Artifacts, Job, Pipeline, Tool, ToolKind};
use crate::pins::{self, Action};
use crate::shell;
use crate::yaml::{Yaml, map};

pub(super) fn of(job: &Job, pipeline: &Pipeline, needs: &[&str]) -> Vec<Yaml> {
    let mut steps = Vec::new();
    // The token that fetched the code is of no use to a script.
    steps.push(uses(pins::CHECKOUT).with("with", map().with("persist-credentials", false)));
    steps.extend(job.tools.iter().filter_map(set_up));
    for cache in &job.caches {
        let files: Vec<_> = cache.files.iter().map(|file| format!("'{file}'")).collect();
        let prefix = format!("{}-${{{{ runner.os }}}}-", cache.name);
        let key = if files.is_empty() {
            cache.name.clone()
        } else {
            format!("{prefix}${{{{ hashFiles({}) }}}}", files.join(", "))
        };
        let mut with = map().with("path", lines(&cache.paths)).with("key", key);
        if !files.is_empty() {
            with.put("restore-keys", prefix);
        }
        steps.push(uses(pins::CACHE).with("with", with));
    }
    for needed in needs.iter().filter_map(|id| pipeline.job(id)) {
        if let Some(artifacts) = &needed.artifacts {
            let with = map()
                .with("name", needed.id.as_str())
                .with("path", common_folder(&artifacts.paths));
            steps.push(uses(pins::DOWNLOAD).with("with", with));
        }
    }
    steps.push(map().with("name", job.id.as_str()).with(
        "run",
        shell::on_bare_machine(job, &pipeline.variables, "GITHUB_WORKSPACE"),
    ));
    if !job.after.is_empty() {
        let after: Vec<_> = job
            .after
            .iter()
            .map(|line| shell::in_workspace(line, "GITHUB_WORKSPACE"))
            .collect();
        steps.push(
            map()
                .with("name", "after")
                .with("if", "always()")
                .with("run", after.join("\n")),
        );
    }
    if let Some(artifacts) = &job.artifacts {
        steps.push(upload(&job.id, artifacts));
    }
    let reports: Vec<String> = job
        .reports
        .junit
        .iter()
        .chain(&job.reports.coverage)
        .cloned()
        .collect();
    if !reports.is_empty() {
        let reports = Artifacts {
            paths: reports,
            days: Some(7),
            always: true,
        };
        steps.push(upload(&format!("{}-reports", job.id), &reports));
    }
    steps
}

fn uses(action: Action) -> Yaml {
    map().with("uses", Yaml::from(action.pinned()).noted(action.release))
}

fn upload(name: &str, artifacts: &Artifacts) -> Yaml {
    let mut step = uses(pins::UPLOAD);
    if artifacts.always {
        step.put("if", "${{ !cancelled() }}");
    }
    let mut with = map().with("name", name).with("path", lines(&artifacts.paths));
    // Which of several folders a build makes is its own business.
    with.put("if-no-files-found", "ignore");
    if let Some(days) = artifacts.days {
        with.put("retention-days", days);
    }
    step.with("with", with)
}

fn set_up(tool: &Tool) -> Option<Yaml> {
    let version = tool.version.as_str();
    let with = match tool.kind {
        ToolKind::Python => (pins::SETUP_PYTHON, map().with("python-version", version)),
        ToolKind::Node => (pins::SETUP_NODE, map().with("node-version", version)),
        ToolKind::Go => (
            pins::SETUP_GO,
            map().with("go-version", version).with("cache", false),
        ),
        ToolKind::Java => (
            pins::SETUP_JAVA,
            map()
                .with("distribution", "temurin")
                .with("java-version", version),
        ),
        ToolKind::Dotnet => (
            pins::SETUP_DOTNET,
            map().with("dotnet-version", pins::dotnet(version)),
        ),
        ToolKind::Rust => {
            let set_up = format!(
                "rustup toolchain install {version} --profile minimal --component clippy,rustfmt --no-self-update\n\
                 rustup default {version}"
            );
            return Some(map().with("name", format!("Rust {version}")).with("run", set_up));
        }
        ToolKind::Native | ToolKind::Docker | ToolKind::Image => return None,
    };
    Some(uses(with.0).with("with", with.1))
}

/// One path on a line, several in a block.
fn lines(paths: &[String]) -> Yaml {
    match paths {
        [one] => one.as_str().into(),
        several => {
            let mut text = several.join("\n");
            text.push('\n');
            text.into()
        }
    }
}

/// Where an uploaded artifact begins: the folder that all its paths share (upload-artifact keeps what is below it).
fn common_folder(paths: &[String]) -> String {
    let fixed = |path: &String| -> Vec<String> {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let globs = parts.iter().position(|part| part.contains(['*', '?', '[']));
        let end = match globs {
            Some(glob) => glob,
            None if path.ends_with('/') || paths.len() == 1 && !path.contains('.') => parts.len(),
            None => parts.len() - 1,
        };
        parts[..end].iter().map(|part| (*part).to_owned()).collect()
    };
    let mut all = paths.iter().map(fixed);
    let first = all.next().unwrap_or_default();
    let shared = all.fold(first, |shared, other| {
        shared
            .into_iter()
            .zip(other)
            .take_while(|(one, two)| one == two)
            .map(|(one, _)| one)
            .collect()
    });
    if shared.is_empty() {
        ".".to_owned()
    } else {
        shared.join("/")
    }
}

/// `$NAME` of the matrix, where expressions stand and no shell reads.
pub(super) fn with_matrix(text: &str, job: &Job) -> String {
    let mut out = text.to_owned();
    for (name, _) in &job.matrix {
        let expression = format!("${{{{ matrix.{name} }}}}");
        out = out
            .replace(&format!("${{{name}}}"), &expression)
            .replace(&format!("${name}"), &expression);
    }
    out
}
