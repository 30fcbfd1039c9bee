//! A declarative `Jenkinsfile` into the model.

use super::groovy::{Statement, named, parse, texts};
use crate::condition::{Condition, Is};
use crate::facts::{self, FACTS};
use crate::model::{Artifacts, Branches, Job, Note, Pipeline, Read, Tool, ToolKind, Triggers, When};
use crate::yaml::{self, Fault, Place};

pub fn read(text: &str) -> Result<Read, Fault> {
    yaml::text(text.as_bytes())?;
    let statements = parse(text)?;
    let Some(root) = statements
        .iter()
        .find(|statement| statement.name == "pipeline" && statement.body.is_some())
    else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no declarative pipeline",
            "A scripted pipeline is a program: it is carried over by hand",
        ));
    };
    let mut reader = Reader { notes: Vec::new() };
    for other in statements.iter().filter(|statement| statement.name != "pipeline") {
        let name = if other.name.is_empty() {
            &other.arguments
        } else {
            &other.name
        };
        let what = format!("`{name}` outside of the pipeline is left out");
        reader.notes.push(Note::at(
            other.line,
            what,
            "It is a program of its own: write it in a script",
        ));
    }
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
    fn pipeline(&mut self, root: &Statement) -> Pipeline {
        let mut pipeline = Pipeline {
            on: Triggers {
                push: Some(Branches::All),
                merge_requests: true,
                manual: true,
                ..Triggers::default()
            },
            ..Pipeline::default()
        };
        for part in root.children() {
            match part.name.as_str() {
                "agent" | "stages" => {}
                "environment" => {
                    let (variables, secrets) = environment(part);
                    pipeline.variables = variables;
                    if !secrets.is_empty() {
                        self.notes.push(Note::at(
                            part.line,
                            format!("the secrets {} are given to no job", secrets.join(", ")),
                            "Give them to the jobs that read them",
                        ));
                    }
                }
                "options" => {
                    let aborts = |option: &Statement| {
                        option.name == "disableConcurrentBuilds"
                            && named(&option.arguments, "abortPrevious").is_some_and(|said| said != "false")
                    };
                    pipeline.cancel_superseded = part.children().iter().any(aborts);
                }
                "triggers" => {
                    let crons = part.children().iter().filter(|trigger| trigger.name == "cron");
                    pipeline.on.schedules = crons.flat_map(|trigger| texts(&trigger.arguments)).collect();
                }
                other => self.left_out(part, other),
            }
        }
        let mut usual = Job::default();
        if let Some(given) = root.get("options") {
            options(given, &mut usual);
        }
        let agent = root.get("agent");
        for stage in root.get("stages").map(Statement::children).unwrap_or_default() {
            let name = texts(&stage.arguments)
                .into_iter()
                .next()
                .unwrap_or_else(|| "build".to_owned());
            let before = pipeline.jobs.len();
            self.stage(stage, &name, agent, &mut pipeline, &[]);
            if pipeline.jobs.len() > before {
                pipeline.stages.push(name);
            }
        }
        for job in &mut pipeline.jobs {
            job.timeout_minutes = job.timeout_minutes.or(usual.timeout_minutes);
        }
        pipeline
    }

    fn left_out(&mut self, statement: &Statement, name: &str) {
        let what = format!("`{name}` is left out");
        self.notes.push(Note::at(
            statement.line,
            what,
            "See whether the new system has something like it",
        ));
    }

    /// The ids of the jobs that a stage became.
    fn stage(
        &mut self,
        stage: &Statement,
        name: &str,
        agent: Option<&Statement>,
        pipeline: &mut Pipeline,
        after: &[String],
    ) -> Vec<String> {
        let agent = stage.get("agent").or(agent);
        if let Some(group) = stage.get("parallel") {
            let mut ids = Vec::new();
            for inner in group.children() {
                ids.extend(self.stage(inner, name, agent, pipeline, after));
            }
            return ids;
        }
        if let Some(group) = stage.get("stages") {
            let mut before: Vec<String> = after.to_vec();
            for inner in group.children() {
                before = self.stage(inner, name, agent, pipeline, &before);
            }
            return before;
        }
        let mut job = self.job(stage, name, agent);
        if !after.is_empty() {
            job.needs = Some(after.to_vec());
        }
        let ids = vec![job.id.clone()];
        pipeline.jobs.push(job);
        ids
    }

    fn job(&mut self, stage: &Statement, name: &str, agent: Option<&Statement>) -> Job {
        let title = texts(&stage.arguments).into_iter().next().unwrap_or_default();
        let mut job = Job::new(crate::generate::identifier(&title), name);
        job.line = Some(stage.line);
        let mut holder = stage;
        if let Some(matrix) = stage.get("matrix") {
            for axis in matrix.get("axes").map(Statement::children).unwrap_or_default() {
                let of = |key: &str| {
                    axis.get(key)
                        .map(|part| texts(&part.arguments))
                        .unwrap_or_default()
                };
                if let Some(name) = of("name").into_iter().next() {
                    job.matrix.push((name, of("values")));
                }
            }
            let inner = matrix.get("stages").map(Statement::children).unwrap_or_default();
            if let Some(first) = inner.first() {
                holder = first;
            }
        }
        if let Some(agent) = holder.get("agent").or(agent) {
            set_agent(agent, &mut job);
        }
        for part in holder.children() {
            match part.name.as_str() {
                "agent" | "matrix" => {}
                "steps" => self.steps(part, &mut job),
                "environment" => (job.variables, job.secrets) = environment(part),
                "input" => job.when = When::Manual,
                "options" => options(part, &mut job),
                "when" => self.when(part, &mut job),
                "post" => self.post(part, &mut job),
                other => self.left_out(part, other),
            }
        }
        job
    }

    fn steps(&mut self, block: &Statement, job: &mut Job) {
        for step in block.children() {
            match step.name.as_str() {
                "sh" => job.script.extend(shell(step)),
                "unstash" | "checkout" | "echo" => {}
                "stash" => {
                    let paths = named(&step.arguments, "includes").unwrap_or_default();
                    job.artifacts = Some(artifacts(&paths, false));
                }
                "archiveArtifacts" => {
                    let paths = named(&step.arguments, "artifacts")
                        .or_else(|| texts(&step.arguments).into_iter().next());
                    job.artifacts = Some(artifacts(&paths.unwrap_or_default(), false));
                }
                "timeout" => {
                    job.timeout_minutes = minutes(&step.arguments);
                    self.steps(step, job);
                }
                "retry" => {
                    job.retries = attempts(&step.arguments);
                    self.steps(step, job);
                }
                "catchError" => {
                    job.allow_failure = true;
                    self.steps(step, job);
                }
                "dir" => {
                    let mut inner = Job::default();
                    self.steps(step, &mut inner);
                    let folder = texts(&step.arguments).into_iter().next().unwrap_or_default();
                    job.script
                        .push(format!("(cd {folder}\n{}\n)", inner.script.join("\n")));
                }
                "withEnv" | "withCredentials" => {
                    for pair in texts(&step.arguments) {
                        if let Some((name, value)) = pair.split_once('=').filter(|_| step.name == "withEnv") {
                            job.variables.push((name.to_owned(), in_shell(value)));
                        }
                    }
                    if step.name == "withCredentials" {
                        let names = step
                            .arguments
                            .match_indices("ariable:")
                            .filter_map(|(at, _)| texts(&step.arguments[at..]).into_iter().next());
                        job.secrets.extend(names);
                    }
                    self.steps(step, job);
                }
                "junit" => job.reports.junit = reports(step),
                other => {
                    let what = format!("the step `{other}` is left out");
                    self.notes.push(Note {
                        line: Some(step.line),
                        ..Note::of(job, what, "Write what it does as a command of a shell")
                    });
                }
            }
        }
    }

    fn when(&mut self, block: &Statement, job: &mut Job) {
        let mut parts = Vec::new();
        for part in block.children() {
            if matches!(
                part.name.as_str(),
                "beforeAgent" | "beforeInput" | "beforeOptions"
            ) {
                continue;
            }
            if part.name == "changeset" {
                job.changes.extend(texts(&part.arguments));
                continue;
            }
            match condition(part) {
                Some(condition) => parts.push(condition),
                None => {
                    job.when = When::Manual;
                    let what = format!(
                        "its condition `{} {}` cannot be carried over: it waits for a person",
                        part.name, part.arguments
                    );
                    self.notes.push(Note {
                        line: Some(part.line),
                        ..Note::of(job, what, "Write the condition by hand")
                    });
                }
            }
        }
        job.run_if = if parts.len() > 1 {
            Some(Condition::All(parts))
        } else {
            parts.pop()
        };
    }

    fn post(&mut self, block: &Statement, job: &mut Job) {
        for case in block.children() {
            let mut inner = Job::default();
            self.steps(case, &mut inner);
            match case.name.as_str() {
                "always" | "cleanup" => {
                    job.after.extend(inner.script);
                    if !inner.reports.junit.is_empty() {
                        job.reports.junit = inner.reports.junit;
                    }
                    if let Some(mut artifacts) = inner.artifacts {
                        artifacts.always = true;
                        job.artifacts = Some(artifacts);
                    }
                }
                "success" if inner.script.is_empty() => {
                    job.artifacts = inner.artifacts.or(job.artifacts.take())
                }
                other => {
                    let what = format!("what comes after in the case `{other}` is left out");
                    self.notes.push(Note {
                        line: Some(case.line),
                        ..Note::of(job, what, "Make a job of it that runs in that case")
                    });
                }
            }
        }
    }
}

fn set_agent(agent: &Statement, job: &mut Job) {
    let Some(docker) = agent.get("docker") else {
        let labels = agent
            .get("label")
            .map(|label| texts(&label.arguments))
            .unwrap_or_default();
        let labels: Vec<String> = labels
            .iter()
            .flat_map(|label| label.split("&&"))
            .map(|label| label.trim().to_owned())
            .collect();
        if labels == ["docker"] {
            job.tools = vec![Tool {
                kind: ToolKind::Docker,
                version: String::new(),
            }];
        } else {
            job.runner = labels;
        }
        return;
    };
    let image = docker
        .get("image")
        .map_or(&docker.arguments, |image| &image.arguments);
    job.image = texts(image).into_iter().next();
    if let Some(label) = docker.get("label") {
        job.runner = texts(&label.arguments);
    }
}

fn environment(block: &Statement) -> (Vec<(String, String)>, Vec<String>) {
    let mut variables = Vec::new();
    let mut secrets = Vec::new();
    for one in block.children() {
        let value = one.arguments.trim_start_matches('=').trim();
        let text = texts(value)
            .into_iter()
            .next()
            .unwrap_or_else(|| value.to_owned());
        if value.starts_with("credentials(") {
            if !facts::is_secret(&one.name) {
                secrets.push(one.name.clone());
            }
            continue;
        }
        if one.name == super::HOME.0 && text.contains(super::HOME.1) {
            continue;
        }
        let own = in_shell(&text);
        if own != format!("${}", one.name) && own != format!("${{{}}}", one.name) {
            variables.push((one.name.clone(), own));
        }
    }
    (variables, secrets)
}

fn options(block: &Statement, job: &mut Job) {
    for option in block.children() {
        match option.name.as_str() {
            "timeout" => job.timeout_minutes = minutes(&option.arguments),
            "retry" => job.retries = attempts(&option.arguments),
            "lock" => job.exclusive = true,
            _ => {}
        }
    }
}

fn minutes(arguments: &str) -> Option<u32> {
    let number: u32 = named(arguments, "time")?.parse().ok()?;
    Some(match named(arguments, "unit").as_deref() {
        Some("HOURS") => number.saturating_mul(60),
        Some("SECONDS") => number.div_ceil(60),
        Some("DAYS") => number.saturating_mul(1440),
        _ => number,
    })
}

/// Jenkins counts the first try too.
fn attempts(arguments: &str) -> u32 {
    let count = named(arguments, "count").unwrap_or_else(|| arguments.to_owned());
    count
        .trim()
        .parse::<u32>()
        .map_or(0, |count| count.saturating_sub(1))
}

fn shell(step: &Statement) -> Option<String> {
    let text = named(&step.arguments, "script").or_else(|| texts(&step.arguments).into_iter().next())?;
    let lines = text
        .lines()
        .skip_while(|line| line.starts_with("#!") || line.starts_with("set -") || line.trim().is_empty());
    Some(in_shell(lines.collect::<Vec<_>>().join("\n").trim_end()))
}

fn in_shell(text: &str) -> String {
    let text = text.replace("${env.", "${").replace("${params.", "${");
    let words = FACTS.iter().filter(|fact| !fact.jenkins.is_empty());
    words.fold(text, |text, fact| facts::renamed(&text, fact.jenkins, fact.name))
}

fn artifacts(patterns: &str, always: bool) -> Artifacts {
    let paths = patterns
        .split(',')
        .map(|path| path.trim().trim_end_matches("**").to_owned());
    Artifacts {
        paths: paths.filter(|path| !path.is_empty()).collect(),
        days: None,
        always,
    }
}

fn reports(step: &Statement) -> Vec<String> {
    let text = named(&step.arguments, "testResults").or_else(|| texts(&step.arguments).into_iter().next());
    text.unwrap_or_default()
        .split(',')
        .map(|path| path.trim().to_owned())
        .filter(|path| !path.is_empty())
        .collect()
}

fn condition(part: &Statement) -> Option<Condition> {
    let first = || texts(&part.arguments).into_iter().next();
    let all = || part.children().iter().map(condition).collect::<Option<Vec<_>>>();
    Some(match part.name.as_str() {
        "branch" => {
            let name = first()?;
            if name.contains(['*', '?']) {
                return None;
            }
            Condition::BranchNamed(name)
        }
        "changeRequest" => Condition::MergeRequest,
        "buildingTag" | "tag" => Condition::Tag,
        "triggeredBy" => match first()?.as_str() {
            "TimerTrigger" => Condition::Schedule,
            "UserIdCause" => Condition::Manual,
            _ => return None,
        },
        "environment" => {
            let (name, value) = (named(&part.arguments, "name")?, named(&part.arguments, "value")?);
            if name == "BRANCH_IS_PRIMARY" {
                return Some(if value == "true" {
                    Condition::DefaultBranch
                } else {
                    Condition::DefaultBranch.negated()
                });
            }
            Condition::Variable {
                name,
                is: Is::Equal(value),
            }
        }
        "expression" => {
            let name = part
                .inner
                .trim()
                .trim_start_matches("return ")
                .strip_prefix("env.")?;
            let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !word {
                return None;
            }
            Condition::Variable {
                name: name.to_owned(),
                is: Is::Set,
            }
        }
        "not" => {
            let inner = condition(part.children().first()?)?;
            match inner {
                Condition::Any(parts) if parts == [Condition::MergeRequest, Condition::Tag] => {
                    Condition::Branch
                }
                other => other.negated(),
            }
        }
        "allOf" => Condition::All(all()?),
        "anyOf" => Condition::Any(all()?),
        _ => return None,
    })
}
