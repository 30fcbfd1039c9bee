//! `azure-pipelines.yml` into the model.

use super::expressions::parse;
use crate::facts::{self, FACTS};
use crate::model::{
    Artifacts, Branches, Cache, Environment, Job, Note, Pipeline, Read, Tool, ToolKind, Triggers, When,
};
use crate::yaml::{self, Fault, Node, Place};

pub fn read(text: &str) -> Result<Read, Fault> {
    let documents = yaml::parse(text)?;
    let known = |root: &Node| {
        ["stages", "jobs", "steps"]
            .iter()
            .any(|key| root.get(key).is_some_and(Node::is_list))
    };
    let Some(root) = documents.last().filter(|root| known(root)) else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no pipeline: it has no list of `stages`, `jobs` or `steps`",
            "A file that only `extends` a template is converted where the template is written",
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

impl Reader {
    fn pipeline(&mut self, root: &Node) -> Pipeline {
        let name = root
            .str("name")
            .unwrap_or_default()
            .trim_end_matches("-$(Build.BuildId)");
        let mut pipeline = Pipeline {
            name: name.to_owned(),
            on: self.triggers(root),
            variables: self.variables(root.get("variables")),
            cancel_superseded: root
                .get("trigger")
                .is_some_and(|trigger| trigger.get("batch").is_some()),
            ..Pipeline::default()
        };
        let stages = root.get("stages");
        let mut whole: Vec<(&Node, Option<&Node>)> = Vec::new();
        match stages {
            Some(stages) => whole.extend(stages.items().map(|stage| (stage, Some(stage)))),
            None => whole.push((root, None)),
        }
        for (holder, stage) in whole {
            let id = stage.and_then(|stage| stage.str("stage")).unwrap_or("build");
            pipeline.stages.push(id.to_owned());
            if let Some(template) = holder.get("template") {
                self.template(template);
            }
            let condition = stage.and_then(|stage| stage.get("condition"));
            let mut jobs = Vec::new();
            match holder.get("jobs") {
                Some(list) => {
                    for node in list.items() {
                        match node.get("template") {
                            Some(template) => self.template(template),
                            None => jobs.push(self.job(node, id)),
                        }
                    }
                }
                None if holder.get("steps").is_some() => jobs.push(self.job(holder, id)),
                None => {}
            }
            let siblings: Vec<String> = jobs.iter().map(|job: &Job| job.id.clone()).collect();
            let before: Vec<String> = pipeline
                .jobs
                .iter()
                .filter(|job| pipeline.stages.iter().rev().nth(1) == Some(&job.stage))
                .map(|job| job.id.clone())
                .collect();
            for job in &mut jobs {
                if let Some(needs) = &mut job.needs {
                    needs.retain(|id| siblings.contains(id));
                    // Beside what it names it waits for the stage before its own.
                    if !needs.is_empty() {
                        needs.extend(before.iter().cloned());
                    }
                }
                if job.needs.as_ref().is_some_and(Vec::is_empty) {
                    job.needs = None;
                }
                if let (Some(node), None) = (condition, &job.run_if) {
                    self.condition(job, node);
                }
            }
            pipeline.jobs.extend(jobs);
        }
        pipeline
    }

    fn template(&mut self, node: &Node) {
        self.notes.push(Note::at(
            node.at.line,
            format!(
                "the template {} is not followed: it is another file",
                node.as_str().unwrap_or_default()
            ),
            "Convert the expanded pipeline: the editor's menu shows it under Download full YAML",
        ));
    }

    fn triggers(&mut self, root: &Node) -> Triggers {
        let mut on = Triggers::default();
        let names = |node: &Node| -> Vec<String> {
            let branches = node
                .get("branches")
                .and_then(|branches| branches.get("include"))
                .unwrap_or(node);
            branches
                .texts()
                .into_iter()
                .map(|(text, _)| text.to_owned())
                .collect()
        };
        on.push = match root.get("trigger") {
            None => Some(Branches::All),
            Some(node) if node.as_str() == Some("none") => None,
            Some(node) => match names(node) {
                names if names.iter().any(|name| name == "*") => Some(Branches::All),
                names if names == ["main", "master"] => Some(Branches::Default),
                names => Some(Branches::Named(names)),
            },
        };
        on.tags = root
            .get("trigger")
            .is_some_and(|trigger| trigger.get("tags").is_some());
        on.merge_requests = root.get("pr").is_some_and(|pr| pr.as_str() != Some("none"));
        on.manual = true;
        on.schedules = root
            .get("schedules")
            .map(|list| {
                list.items()
                    .filter_map(|item| item.str("cron").map(str::to_owned))
                    .collect()
            })
            .unwrap_or_default();
        on
    }

    fn variables(&mut self, node: Option<&Node>) -> Vec<(String, String)> {
        let Some(node) = node else { return Vec::new() };
        if node.is_map() {
            let pairs = node.entries().into_iter();
            return pairs
                .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), in_shell(value.as_str()?))))
                .collect();
        }
        let mut found = Vec::new();
        for item in node.items() {
            match (item.str("name"), item.str("value")) {
                (Some(name), Some(value)) => found.push((name.to_owned(), in_shell(value))),
                _ => self.notes.push(Note::at(
                    item.at.line,
                    "a group or a template of variables is left out",
                    "Set its variables in the new system",
                )),
            }
        }
        found
    }

    fn job(&mut self, node: &Node, stage: &str) -> Job {
        let id = node
            .str("job")
            .or_else(|| node.str("deployment"))
            .unwrap_or("build");
        let mut job = Job::new(id, stage);
        job.line = Some(node.at.line);
        job.needs = node
            .get("dependsOn")
            .map(|needs| needs.texts().into_iter().map(|(id, _)| id.to_owned()).collect());
        if let Some(condition) = node.get("condition") {
            self.condition(&mut job, condition);
        }
        job.timeout_minutes = node
            .get("timeoutInMinutes")
            .and_then(Node::as_number)
            .and_then(|n| u32::try_from(n).ok());
        job.allow_failure = node.get("continueOnError").and_then(Node::as_str) == Some("true");
        job.image = node
            .get("container")
            .and_then(|image| image.as_str().or_else(|| image.str("image")))
            .map(str::to_owned);
        job.variables = self.variables(node.get("variables"));
        job.environment = node
            .get("environment")
            .and_then(|at| at.as_str().or_else(|| at.str("name")))
            .map(|name| Environment {
                name: name.to_owned(),
                url: None,
            });
        let strategy = node.get("strategy");
        if let Some(matrix) = strategy.and_then(|strategy| strategy.get("matrix")) {
            self.note(
                &job,
                matrix.at.line,
                "its matrix is left out: it names cases, not axes",
                "Write the axes in the new system",
            );
        }
        let steps = node.get("steps").or_else(|| {
            let strategy = strategy?;
            ["runOnce", "rolling", "canary"]
                .iter()
                .find_map(|kind| strategy.get(kind)?.get("deploy")?.get("steps"))
        });
        for step in steps
            .map(|steps| steps.items().collect::<Vec<_>>())
            .unwrap_or_default()
        {
            self.step(&mut job, step);
        }
        job
    }

    fn note(&mut self, job: &Job, line: usize, what: impl Into<String>, advice: &str) {
        self.notes.push(Note {
            line: Some(line),
            ..Note::of(job, what, advice)
        });
    }

    fn condition(&mut self, job: &mut Job, node: &Node) {
        let text = node.as_str().unwrap_or_default();
        match parse(text.trim()) {
            Some((when, own)) => {
                job.when = when;
                job.run_if = own;
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

    fn step(&mut self, job: &mut Job, step: &Node) {
        for key in ["bash", "script"] {
            let Some(script) = step.get(key) else { continue };
            let lines = script
                .as_str()
                .unwrap_or_default()
                .lines()
                .skip_while(|line| line.starts_with("set -e"));
            let mut text = in_shell(&lines.collect::<Vec<_>>().join("\n"));
            for (name, value) in step.get("env").map(Node::entries).unwrap_or_default() {
                let (Some(name), Some(value)) = (name.as_str(), value.as_str()) else {
                    continue;
                };
                let own = in_shell(value);
                if value == format!("$({name})") {
                    if !facts::is_secret(name) {
                        job.secrets.push(name.to_owned());
                    }
                } else if own != format!("${name}") {
                    job.variables.push((name.to_owned(), own));
                }
            }
            if let Some(folder) = step.str("workingDirectory") {
                text = format!("(cd {}\n{text}\n)", in_shell(folder));
            }
            if let Some(retries) = step.get("retryCountOnTaskFailure") {
                self.note(
                    job,
                    retries.at.line,
                    "that a step is tried again after any failure is left out",
                    "Mend what fails now and then; elsewhere jobs are retried after a machine's failure alone",
                );
            }
            if step.str("displayName") == Some("gather artifacts") {
                return;
            }
            if let Some(version) = text
                .strip_prefix("rustup toolchain install ")
                .and_then(|rest| rest.split(' ').next())
            {
                job.tools.push(Tool {
                    kind: ToolKind::Rust,
                    version: version.to_owned(),
                });
                return;
            }
            match step.str("condition") {
                Some("always()") => job.after.push(text),
                Some(said) => {
                    self.note(
                        job,
                        script.at.line,
                        format!("that a step runs only if `{said}` is left out: it runs always"),
                        "Ask for it in the script",
                    );
                    job.script.push(text);
                }
                None => job.script.push(text),
            }
            return;
        }
        if step.get("checkout").is_some() || step.get("download").is_some() {
            return;
        }
        if let Some(template) = step.get("template") {
            return self.template(template);
        }
        if let Some(task) = step.get("task") {
            return self.task(job, step, task);
        }
        if let Some((key, value)) = step.entries().first() {
            let key = key.as_str().unwrap_or_default().to_owned();
            let line = value.at.line;
            self.note(
                job,
                line,
                format!("the step `{key}` is left out"),
                "Write what it does as a command",
            );
        }
    }

    fn task(&mut self, job: &mut Job, step: &Node, task: &Node) {
        let name = task.as_str().unwrap_or_default();
        let input = |key: &str| {
            step.get("inputs")
                .and_then(|inputs| inputs.str(key))
                .unwrap_or_default()
        };
        let mut tool = |kind, version: &str| {
            job.tools.push(Tool {
                kind,
                version: version.trim_end_matches(".x").to_owned(),
            });
        };
        match name.split('@').next().unwrap_or_default() {
            "UsePythonVersion" => tool(ToolKind::Python, input("versionSpec")),
            "UseNode" => tool(ToolKind::Node, input("version")),
            "NodeTool" => tool(ToolKind::Node, input("versionSpec")),
            "GoTool" => tool(ToolKind::Go, input("version")),
            "JavaToolInstaller" => tool(ToolKind::Java, input("versionSpec")),
            "UseDotNet" => tool(ToolKind::Dotnet, input("version")),
            "DownloadPipelineArtifact" => {}
            "PublishTestResults" => {
                job.reports.junit = input("testResultsFiles").lines().map(str::to_owned).collect()
            }
            "PublishCodeCoverageResults" => {
                job.reports.coverage = Some(input("summaryFileLocation").to_owned())
            }
            "PublishPipelineArtifact" | "PublishBuildArtifacts" => {
                let path = in_shell(input("targetPath"));
                let staged =
                    path.contains("ARTIFACTSTAGINGDIRECTORY") || path.contains("ArtifactStagingDirectory");
                if staged {
                    self.note(
                        job,
                        task.at.line,
                        "which files its artifact holds is not known: a step gathers them",
                        "Name their paths",
                    );
                } else {
                    job.artifacts = Some(Artifacts {
                        paths: vec![path],
                        days: None,
                        always: false,
                    });
                }
            }
            "Cache" => {
                let parts: Vec<&str> = input("key").split('|').map(str::trim).collect();
                let quoted = |part: &&str| part.starts_with('"');
                let name = parts
                    .iter()
                    .find(|part| quoted(part) && !part.contains('$'))
                    .map_or("cache", |part| part.trim_matches('"'));
                job.caches.push(Cache {
                    name: name.to_owned(),
                    files: parts
                        .iter()
                        .filter(|part| !quoted(part))
                        .map(|part| (*part).to_owned())
                        .collect(),
                    paths: vec![
                        in_shell(input("path"))
                            .trim_start_matches("$CI_PROJECT_DIR/")
                            .to_owned(),
                    ],
                });
            }
            "Bash" if !input("script").is_empty() => job.script.push(in_shell(input("script"))),
            "CmdLine" if !input("script").is_empty() => job.script.push(in_shell(input("script"))),
            _ => {
                let what = format!("the task {name} has no counterpart");
                self.note(job, task.at.line, what, "Write what it does as a command");
            }
        }
    }
}

/// `$(Build.SourceVersion)` and `$BUILD_SOURCEVERSION` under the model's names; other `$(name)` is a variable.
fn in_shell(text: &str) -> String {
    let mut out = text.to_owned();
    for fact in FACTS.iter().filter(|fact| !fact.azure.is_empty()) {
        out = out.replace(&format!("$({})", fact.azure), &format!("${}", fact.name));
        let variable = fact.azure.replace('.', "_").to_uppercase();
        out = facts::renamed(&out, &variable, fact.name);
    }
    let mut result = String::new();
    let mut rest = out.as_str();
    while let Some(start) = rest.find("$(") {
        let end = rest[start..].find(')').map(|end| start + end);
        let name = end.map(|end| &rest[start + 2..end]).unwrap_or_default();
        // A shell's own `$(command)` looks the same; a variable's name has no blank and nothing of a command.
        let variable = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_uppercase() || c == '_' || c.is_ascii_digit());
        result.push_str(&rest[..start]);
        match end {
            Some(end) if variable => {
                result.push_str(&format!("${{{name}}}"));
                rest = &rest[end + 1..];
            }
            _ => {
                result.push_str("$(");
                rest = &rest[start + 2..];
            }
        }
    }
    result.push_str(rest);
    result
}
