//! A workflow into the model.

use std::collections::{BTreeMap, HashMap};

use super::expressions::{self, Said};
use super::script::{self, Told};
use crate::model::{
    Access, Artifacts, Branches, Cache, Environment, Job, Note, Pipeline, Read, Service, Tool, ToolKind,
    Triggers, When,
};
use crate::yaml::{self, Fault, Node, Place};

pub fn read(text: &str) -> Result<Read, Fault> {
    let documents = yaml::parse(text)?;
    let root = documents
        .last()
        .filter(|root| root.get("jobs").is_some_and(Node::is_map));
    let Some(root) = root else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no workflow: it has no map `jobs`",
            "A workflow says `on` and `jobs`",
        ));
    };
    let mut reader = Reader { notes: Vec::new() };
    let pipeline = reader.pipeline(root);
    Ok(Read {
        pipeline,
        notes: reader.notes,
    })
}

struct Reader {
    notes: Vec<Note>,
}

const KNOWN: &[&str] = &[
    "name",
    "needs",
    "if",
    "runs-on",
    "timeout-minutes",
    "continue-on-error",
    "permissions",
    "environment",
    "concurrency",
    "strategy",
    "container",
    "services",
    "env",
    "steps",
    "defaults",
];

impl Reader {
    fn pipeline(&mut self, root: &Node) -> Pipeline {
        let mut pipeline = Pipeline {
            name: root.str("name").unwrap_or_default().to_owned(),
            on: root.get("on").map(|on| self.triggers(on)).unwrap_or_default(),
            cancel_superseded: root
                .get("concurrency")
                .is_some_and(|group| group.get("cancel-in-progress").is_some()),
            ..Pipeline::default()
        };
        let (variables, secrets) = self.env(root.get("env"), None);
        pipeline.variables = variables;
        let permissions = root.get("permissions");
        let jobs = root.get("jobs").map(Node::entries).unwrap_or_default();
        for (key, node) in &jobs {
            let Some(id) = key.as_str() else { continue };
            let mut job = self.job(id, key.at.line, node, root);
            if node.get("permissions").is_none() {
                job.permissions = permissions.map(access).unwrap_or_default();
            }
            for secret in &secrets {
                if !job.secrets.contains(secret) {
                    job.secrets.push(secret.clone());
                }
            }
            pipeline.jobs.push(job);
        }
        stages(&mut pipeline);
        pipeline
    }

    fn note(&mut self, job: &Job, line: usize, what: impl Into<String>, advice: &str) {
        self.notes.push(Note {
            line: Some(line),
            job: Some(job.id.clone()),
            what: what.into(),
            advice: advice.to_owned(),
        });
    }

    fn triggers(&mut self, on: &Node) -> Triggers {
        let mut out = Triggers::default();
        let events: Vec<(&str, Option<&Node>)> = if on.is_map() {
            on.entries()
                .into_iter()
                .filter_map(|(key, value)| Some((key.as_str()?, Some(value))))
                .collect()
        } else {
            on.texts().into_iter().map(|(text, _)| (text, None)).collect()
        };
        for (event, detail) in events {
            let list = |key: &str| -> Option<Vec<String>> {
                Some(
                    detail?
                        .get(key)?
                        .texts()
                        .into_iter()
                        .map(|(text, _)| text.to_owned())
                        .collect(),
                )
            };
            match event {
                "push" => {
                    let branches = list("branches");
                    out.tags =
                        list("tags").is_some() || (branches.is_none() && list("branches-ignore").is_none());
                    out.push = match branches {
                        None if list("tags").is_some() => None,
                        None => Some(Branches::All),
                        Some(names) if names.iter().any(|name| name == "**" || name == "*") => {
                            Some(Branches::All)
                        }
                        Some(names) if names == ["main", "master"] => Some(Branches::Default),
                        Some(names) => Some(Branches::Named(names)),
                    };
                }
                "pull_request" | "pull_request_target" => out.merge_requests = true,
                "workflow_dispatch" => out.manual = true,
                "schedule" => {
                    let crons = detail.map(|detail| {
                        detail
                            .items()
                            .filter_map(|item| item.str("cron"))
                            .collect::<Vec<_>>()
                    });
                    out.schedules = crons.unwrap_or_default().into_iter().map(str::to_owned).collect();
                }
                other => self.notes.push(Note::at(
                    detail.map_or(on.at.line, |detail| detail.at.line),
                    format!("the event `{other}` starts nothing elsewhere"),
                    "Start the pipeline through the new system's API where that event is",
                )),
            }
            for key in ["paths", "paths-ignore", "branches-ignore", "types"] {
                if let Some(node) = detail.and_then(|detail| detail.get(key)) {
                    self.notes.push(Note::at(
                        node.at.line,
                        format!("`{key}` of `{event}` is left out"),
                        "Say it in the conditions of the jobs",
                    ));
                }
            }
        }
        out
    }

    /// Variables, and the secrets that stand among them under their own names or others.
    fn env(&mut self, env: Option<&Node>, job: Option<&Job>) -> (Vec<(String, String)>, Vec<String>) {
        let mut variables = Vec::new();
        let mut secrets = Vec::new();
        for (name, value) in env.map(Node::entries).unwrap_or_default() {
            let (Some(name), Some(text)) = (name.as_str(), value.as_str()) else {
                continue;
            };
            match script::variable(name, text) {
                Told::Nothing => {}
                Told::Plain(text) => variables.push((name.to_owned(), text)),
                Told::Secret(secret) => {
                    if secret != name {
                        variables.push((name.to_owned(), format!("${secret}")));
                    }
                    secrets.push(secret);
                }
                Told::Unknown(expression) => self.notes.push(Note {
                    line: Some(value.at.line),
                    job: job.map(|job| job.id.clone()),
                    what: format!("`{name}` is left out: nothing else has a word for {expression}"),
                    advice: "Set the variable in the new system".to_owned(),
                }),
            }
        }
        (variables, secrets)
    }

    fn job(&mut self, id: &str, line: usize, node: &Node, root: &Node) -> Job {
        let mut job = Job::new(id, "");
        job.line = Some(line);
        let needs = node.get("needs").map(Node::texts).unwrap_or_default();
        job.needs = Some(needs.into_iter().map(|(id, _)| id.to_owned()).collect());
        if let Some(condition) = node.get("if") {
            self.condition(&mut job, condition);
        }
        if let Some(runner) = node.get("runs-on") {
            let labels = runner.get("labels").unwrap_or(runner).texts();
            job.runner = labels
                .into_iter()
                .map(|(label, _)| label.to_owned())
                .filter(|label| !label.starts_with("ubuntu-"))
                .collect();
        }
        job.timeout_minutes = node
            .get("timeout-minutes")
            .and_then(Node::as_number)
            .and_then(|n| u32::try_from(n).ok());
        job.allow_failure = node
            .get("continue-on-error")
            .and_then(Node::as_bool)
            .unwrap_or(false);
        job.permissions = node.get("permissions").map(access).unwrap_or_default();
        job.exclusive = node.get("concurrency").is_some();
        if let Some(environment) = node.get("environment") {
            job.environment = environment
                .as_str()
                .or_else(|| environment.str("name"))
                .map(|name| Environment {
                    name: name.to_owned(),
                    url: environment.str("url").map(str::to_owned),
                });
        }
        if let Some(matrix) = node.get("strategy").and_then(|strategy| strategy.get("matrix")) {
            self.matrix(&mut job, matrix);
        }
        if let Some(container) = node.get("container") {
            let image = container.as_str().or_else(|| container.str("image"));
            job.image = image.map(|image| script::in_shell(image).0);
        }
        for (name, service) in node.get("services").map(Node::entries).unwrap_or_default() {
            let (variables, _) = self.env(service.get("env"), Some(&job));
            job.services.push(Service {
                image: service.str("image").unwrap_or_default().to_owned(),
                alias: name.as_str().unwrap_or_default().to_owned(),
                variables,
            });
        }
        let (variables, secrets) = self.env(node.get("env"), Some(&job));
        job.variables = variables;
        job.secrets = secrets;
        let axes: Vec<String> = job.matrix.iter().map(|(name, _)| name.clone()).collect();
        job.variables
            .retain(|(name, value)| !(axes.contains(name) && *value == format!("${name}")));
        let folder = [node, root]
            .into_iter()
            .find_map(|at| at.get("defaults")?.get("run")?.str("working-directory"));
        for step in node
            .get("steps")
            .map(|steps| steps.items().collect::<Vec<_>>())
            .unwrap_or_default()
        {
            self.step(&mut job, step, folder);
        }
        for (key, value) in node.entries() {
            let key = key.as_str().unwrap_or_default();
            if !KNOWN.contains(&key) {
                let advice = match key {
                    "uses" => "Convert the workflow that it calls, and put its jobs here",
                    "outputs" => "Hand the value on in a file that is an artifact",
                    _ => "See whether the new system has something like it",
                };
                self.note(&job, value.at.line, format!("`{key}` is left out"), advice);
            }
        }
        job
    }

    fn condition(&mut self, job: &mut Job, node: &Node) {
        let text = node.as_str().unwrap_or_default();
        match expressions::parse(text) {
            Some(Said { when, condition }) => {
                job.when = when;
                job.run_if = condition;
            }
            None => {
                job.when = When::Manual;
                self.note(
                    job,
                    node.at.line,
                    format!("its condition `{text}` cannot be carried over: it waits for a person"),
                    "Write the condition by hand",
                );
            }
        }
    }

    fn matrix(&mut self, job: &mut Job, matrix: &Node) {
        for (name, values) in matrix.entries() {
            let name = name.as_str().unwrap_or_default();
            if name == "include" || name == "exclude" || !values.is_list() {
                self.note(
                    job,
                    values.at.line,
                    format!("`{name}` of its matrix is left out"),
                    "Make a job for each case",
                );
                continue;
            }
            let values = values
                .texts()
                .into_iter()
                .map(|(text, _)| text.to_owned())
                .collect();
            job.matrix.push((name.to_owned(), values));
        }
    }

    fn step(&mut self, job: &mut Job, step: &Node, folder: Option<&str>) {
        if let Some(uses) = step.get("uses") {
            return self.uses(job, step, uses);
        }
        let Some(run) = step.get("run") else { return };
        let (mut text, told) = script::in_shell(run.as_str().unwrap_or_default());
        for secret in told.secrets {
            if !job.secrets.contains(&secret) {
                job.secrets.push(secret);
            }
        }
        for unknown in told.unknown {
            self.note(
                job,
                run.at.line,
                format!("its script asks for {unknown}, which is known there alone"),
                "Find it out in the script",
            );
        }
        let (variables, secrets) = self.env(step.get("env"), Some(job));
        job.secrets.extend(secrets);
        for (name, value) in variables {
            if !job.variables.iter().any(|(own, _)| *own == name) {
                job.variables.push((name, value));
            }
        }
        if let Some(folder) = step.str("working-directory").or(folder) {
            text = format!("(cd {folder}\n{}\n)", text.trim_end_matches('\n'));
        }
        let shell = step.str("shell").unwrap_or("bash");
        if !matches!(shell, "bash" | "sh") {
            self.note(
                job,
                run.at.line,
                format!("a step of its is written for {shell}"),
                "Write it for a shell, or start that program in it",
            );
        }
        if let Some(version) = rust_set_up(&text) {
            job.tools.push(Tool {
                kind: ToolKind::Rust,
                version,
            });
            return;
        }
        match step.str("if").map(|text| (text, expressions::parse(text))) {
            None => job.script.push(text),
            Some((
                _,
                Some(Said {
                    when: When::Always,
                    condition: None,
                }),
            )) => job.after.push(text),
            Some((said, _)) => {
                self.note(
                    job,
                    run.at.line,
                    format!("that a step runs only if `{said}` is left out: it runs always"),
                    "Ask for it in the script",
                );
                job.script.push(text);
            }
        }
    }

    fn uses(&mut self, job: &mut Job, step: &Node, uses: &Node) {
        let action = uses.as_str().unwrap_or_default();
        let name = action.split('@').next().unwrap_or_default();
        let with = |key: &str| step.get("with").and_then(|with| with.str(key));
        let lines = |text: &str| -> Vec<String> {
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let mut tool = |kind: ToolKind, key: &str| {
            let version = with(key).unwrap_or_default().trim_end_matches(".x").to_owned();
            job.tools.push(Tool {
                kind,
                version: script::in_shell(&version).0,
            });
        };
        match name {
            "actions/checkout" | "actions/download-artifact" => {}
            "actions/setup-python" => tool(ToolKind::Python, "python-version"),
            "actions/setup-node" => tool(ToolKind::Node, "node-version"),
            "actions/setup-go" => tool(ToolKind::Go, "go-version"),
            "actions/setup-java" => tool(ToolKind::Java, "java-version"),
            "actions/setup-dotnet" => tool(ToolKind::Dotnet, "dotnet-version"),
            "actions/cache" => {
                let key = with("key").unwrap_or_default();
                job.caches.push(Cache {
                    name: key.split("-${{").next().unwrap_or(key).to_owned(),
                    files: script::hashed(key),
                    paths: lines(with("path").unwrap_or_default()),
                });
            }
            "actions/upload-artifact" => {
                let paths = lines(with("path").unwrap_or_default());
                let always = step
                    .str("if")
                    .is_some_and(|text| text.contains("always()") || text.contains("!cancelled()"));
                let is_report = with("name").is_some_and(|name| name.ends_with("-reports"));
                if is_report {
                    let (coverage, junit) = paths.into_iter().partition(|path| path.contains("cov"));
                    let coverage: Vec<String> = coverage;
                    job.reports.junit = junit;
                    job.reports.coverage = coverage.into_iter().next();
                    return;
                }
                let days = with("retention-days").and_then(|days| days.parse().ok());
                match &mut job.artifacts {
                    Some(artifacts) => artifacts.paths.extend(paths),
                    None => job.artifacts = Some(Artifacts { paths, days, always }),
                }
            }
            _ => {
                let what = format!("the action {action} has no counterpart");
                self.note(
                    job,
                    uses.at.line,
                    what,
                    "Write what it does as a command, or leave it out",
                );
            }
        }
    }
}

/// The toolchain that our own step for Rust installs.
fn rust_set_up(text: &str) -> Option<String> {
    let rest = text.strip_prefix("rustup toolchain install ")?;
    let only = text.trim_end().lines().all(|line| line.starts_with("rustup "));
    only.then(|| rest.split_whitespace().next().map(str::to_owned))?
}

fn access(node: &Node) -> BTreeMap<String, Access> {
    let level = |text: &str| match text {
        "write" => Access::Write,
        "read" => Access::Read,
        _ => Access::None,
    };
    match node.as_str() {
        Some("write-all") => BTreeMap::from([
            ("contents".to_owned(), Access::Write),
            ("packages".to_owned(), Access::Write),
        ]),
        Some("read-all") => BTreeMap::from([
            ("contents".to_owned(), Access::Read),
            ("packages".to_owned(), Access::Read),
        ]),
        _ => node
            .entries()
            .into_iter()
            .filter_map(|(what, how)| Some((what.as_str()?.to_owned(), level(how.as_str()?))))
            .collect(),
    }
}

/// Stages out of what waits for what: a job stands one behind the last that it needs.
fn stages(pipeline: &mut Pipeline) {
    let place: HashMap<&str, usize> = (pipeline.jobs.iter().enumerate())
        .map(|(at, job)| (job.id.as_str(), at))
        .collect();
    let mut waiting = vec![0_usize; pipeline.jobs.len()];
    let mut waited_for_by: Vec<Vec<usize>> = vec![Vec::new(); pipeline.jobs.len()];
    for (at, job) in pipeline.jobs.iter().enumerate() {
        for needed in job.needs.iter().flatten().filter_map(|id| place.get(id.as_str())) {
            waiting[at] += 1;
            waited_for_by[*needed].push(at);
        }
    }
    let mut placed = vec![false; pipeline.jobs.len()];
    let mut here: Vec<usize> = (0..placed.len()).filter(|at| waiting[*at] == 0).collect();
    loop {
        if here.is_empty() {
            // Jobs that wait for each other in a circle never start: one stage is as good as another.
            here = (0..placed.len()).filter(|at| !placed[*at]).collect();
        }
        let name = match here.as_slice() {
            [] => return,
            [one] => pipeline.jobs[*one].id.clone(),
            _ => format!("stage_{}", pipeline.stages.len() + 1),
        };
        let mut next = Vec::new();
        for at in here {
            placed[at] = true;
            pipeline.jobs[at].stage.clone_from(&name);
            for later in &waited_for_by[at] {
                waiting[*later] = waiting[*later].saturating_sub(1);
                if waiting[*later] == 0 && !placed[*later] {
                    next.push(*later);
                }
            }
        }
        next.retain(|at| !placed[*at]);
        pipeline.stages.push(name);
        here = next;
    }
}
