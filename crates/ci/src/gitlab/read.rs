//! `.gitlab-ci.yml` into the model.

use super::GLOBAL;
use super::rules::parse;
use super::view::{View, resolve};
use super::words::{alias, cache, minutes, pairs, when};
use crate::condition::Condition;
use crate::model::{
    Artifacts, Branches, Environment, Job, Note, Pipeline, Read, Reports, Service, Tool, ToolKind, Triggers,
    When,
};
use crate::yaml::{self, Fault, Node, Place};

pub fn read(text: &str) -> Result<Read, Fault> {
    let documents = yaml::parse(text)?;
    let Some(root) = documents.last().filter(|root| root.is_map()) else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no map of jobs",
            "A pipeline is a map: its keys are jobs and words like `stages`",
        ));
    };
    let mut reader = Reader {
        root,
        notes: Vec::new(),
    };
    let pipeline = reader.pipeline();
    Ok(Read {
        pipeline,
        notes: reader.notes,
    })
}

pub(super) struct Reader<'n> {
    root: &'n Node,
    notes: Vec<Note>,
}

/// What a job may say that the model has, or that means nothing elsewhere.
const KNOWN: &[&str] = &[
    "stage",
    "needs",
    "rules",
    "when",
    "allow_failure",
    "image",
    "services",
    "tags",
    "variables",
    "cache",
    "script",
    "before_script",
    "after_script",
    "coverage",
    "artifacts",
    "timeout",
    "retry",
    "environment",
    "resource_group",
    "interruptible",
    "parallel",
    "extends",
    "only",
    "except",
    "dependencies",
];

impl<'n> Reader<'n> {
    fn pipeline(&mut self) -> Pipeline {
        let root = self.root;
        let mut pipeline = Pipeline {
            stages: ["build", "test", "deploy"].map(str::to_owned).to_vec(),
            ..Pipeline::default()
        };
        if let Some(stages) = root.get("stages") {
            pipeline.stages = stages
                .texts()
                .into_iter()
                .map(|(text, _)| text.to_owned())
                .collect();
        }
        if let Some(variables) = root.get("variables") {
            pipeline.variables = pairs(variables);
        }
        if let Some(include) = root.get("include") {
            for item in include.one_or_more() {
                let what = item
                    .as_str()
                    .map(str::to_owned)
                    .or_else(|| {
                        item.entries().first().map(|(key, value)| {
                            format!(
                                "{}: {}",
                                key.as_str().unwrap_or_default(),
                                value.as_str().unwrap_or("…")
                            )
                        })
                    })
                    .unwrap_or_default();
                self.notes.push(Note::at(
                    item.at.line,
                    format!("`include` of {what} is not followed: it is another file"),
                    "Convert the merged file: CI/CD > Editor > Full configuration shows it",
                ));
            }
        }
        let workflow = root.get("workflow");
        if let Some(name) = workflow.and_then(|workflow| workflow.str("name")) {
            pipeline.name = name.to_owned();
        }
        pipeline.on = match workflow.and_then(|workflow| workflow.get("rules")) {
            Some(rules) => self.triggers(rules),
            None => Triggers {
                push: Some(Branches::All),
                tags: true,
                manual: true,
                ..Triggers::default()
            },
        };
        let default = root.get("default");
        pipeline.cancel_superseded = default
            .and_then(|default| default.get("interruptible"))
            .and_then(Node::as_bool)
            .unwrap_or(false);
        for (key, node) in root.entries() {
            let Some(id) = key.as_str() else { continue };
            if GLOBAL.contains(&id) || id.starts_with('.') {
                continue;
            }
            if node.is_map() {
                let view = View::of(node, root, default);
                let job = self.job(id, key.at.line, &view);
                pipeline.jobs.push(job);
            }
        }
        // `.pre` and `.post` are there without being named.
        for (stage, first) in [(".pre", true), (".post", false)] {
            if pipeline.jobs.iter().any(|job| job.stage == stage)
                && !pipeline.stages.iter().any(|own| own == stage)
            {
                let at = if first { 0 } else { pipeline.stages.len() };
                pipeline.stages.insert(at, stage.to_owned());
            }
        }
        pipeline
    }

    fn triggers(&mut self, rules: &Node) -> Triggers {
        let mut on = Triggers::default();
        let mut named = Vec::new();
        for rule in rules.items() {
            let text = rule.str("if").unwrap_or_default();
            if rule.str("when") == Some("never") {
                if text != "$CI_COMMIT_BRANCH && $CI_OPEN_MERGE_REQUESTS" {
                    self.notes.push(Note::at(
                        rule.at.line,
                        format!("that no pipeline runs if `{text}` is left out"),
                        "Say it in the conditions of the jobs, or in the system's triggers",
                    ));
                }
                continue;
            }
            match parse(text) {
                Some(Condition::MergeRequest) => on.merge_requests = true,
                Some(Condition::Branch) => on.push = Some(Branches::All),
                Some(Condition::DefaultBranch) => on.push = Some(Branches::Default),
                Some(Condition::BranchNamed(name)) => named.push(name),
                Some(Condition::Tag) => on.tags = true,
                Some(Condition::Manual) => on.manual = true,
                Some(Condition::Schedule) => self.notes.push(Note::at(
                    rule.at.line,
                    "when it runs by schedule stands in no file",
                    "Give the new pipeline the cron of Build > Pipeline schedules",
                )),
                _ if text.is_empty() => {
                    on.push = Some(Branches::All);
                    on.tags = true;
                    on.manual = true;
                }
                _ => self.notes.push(Note::at(
                    rule.at.line,
                    format!("the trigger `{text}` is left out"),
                    "Add it to the triggers by hand",
                )),
            }
        }
        if !named.is_empty() && on.push.is_none() {
            on.push = Some(Branches::Named(named));
        }
        on
    }

    fn job(&mut self, id: &str, line: usize, view: &View<'n>) -> Job {
        let mut job = Job::new(id, view.str("stage").unwrap_or("test"));
        job.line = Some(line);
        for missing in &view.missing {
            self.note(
                &job,
                view.line(),
                format!("it extends {missing}, which is not in the file"),
                "Convert the merged file",
            );
        }
        self.script(&mut job, view);
        self.starts(&mut job, view);
        self.surroundings(&mut job, view);
        self.results(&mut job, view);
        for (key, node) in view.keys() {
            if KNOWN.contains(&key) {
                continue;
            }
            let advice = match key {
                "trigger" => "A pipeline that starts another one is written by hand in the other system",
                "secrets" | "id_tokens" => "Give the job its secrets in the new system",
                _ => "See whether the new system has something like it",
            };
            self.note(&job, node.at.line, format!("`{key}` is left out"), advice);
        }
        job
    }

    pub(super) fn note(&mut self, job: &Job, line: usize, what: impl Into<String>, advice: &str) {
        self.notes.push(Note {
            line: Some(line),
            job: Some(job.id.clone()),
            what: what.into(),
            advice: advice.to_owned(),
        });
    }

    fn lines(&mut self, job: &Job, node: Option<&'n Node>) -> Vec<String> {
        let Some(node) = node else { return Vec::new() };
        let mut missing = Vec::new();
        let lines = resolve(node, self.root, &mut missing);
        for (line, what) in missing {
            self.note(
                job,
                line,
                format!("`!reference {what}` leads nowhere in this file"),
                "Write out what it stands for",
            );
        }
        lines
    }

    fn script(&mut self, job: &mut Job, view: &View<'n>) {
        let before = self.lines(job, view.get("before_script"));
        let script = self.lines(job, view.get("script"));
        job.script = before.into_iter().chain(script).collect();
        job.after = self.lines(job, view.get("after_script"));
    }

    fn starts(&mut self, job: &mut Job, view: &View<'n>) {
        if let Some(needs) = view.get("needs") {
            let mut ids = Vec::new();
            for need in needs.one_or_more() {
                let other = need.get("pipeline").is_some() || need.get("project").is_some();
                match need.as_str().or_else(|| need.str("job")) {
                    Some(id) if !other => ids.push(id.to_owned()),
                    _ => self.note(
                        job,
                        need.at.line,
                        "what it needs of another pipeline is left out",
                        "Fetch it by the other system's means",
                    ),
                }
            }
            job.needs = Some(ids);
        }
        job.when = view.str("when").map_or(When::Success, when);
        let allowed = view.get("allow_failure");
        job.allow_failure = allowed.and_then(Node::as_bool).unwrap_or(false);
        if let Some(codes) = allowed.filter(|node| node.is_map()) {
            self.note(
                job,
                codes.at.line,
                "that single exit codes may fail is left out",
                "Handle them in the script",
            );
        }
        if let Some(rules) = view.get("rules") {
            self.rules(job, rules);
        } else if view.get("only").is_some() || view.get("except").is_some() {
            self.only(job, view);
        }
    }

    fn surroundings(&mut self, job: &mut Job, view: &View<'n>) {
        if let Some(image) = view.get("image") {
            job.image = image.as_str().or_else(|| image.str("name")).map(str::to_owned);
            if image.get("entrypoint").is_some() {
                job.tools = vec![Tool {
                    kind: ToolKind::Image,
                    version: String::new(),
                }];
            }
        }
        if let Some(services) = view.get("services") {
            job.services = services
                .one_or_more()
                .into_iter()
                .filter_map(|service| {
                    let image = service.as_str().or_else(|| service.str("name"))?;
                    Some(Service {
                        image: image.to_owned(),
                        alias: service.str("alias").map_or_else(|| alias(image), str::to_owned),
                        variables: service.get("variables").map(pairs).unwrap_or_default(),
                    })
                })
                .collect();
        }
        job.variables = view.variables();
        let docker = job.services.iter().any(|service| service.image.contains("dind"));
        if docker && job.image.as_ref().is_some_and(|image| image.contains("docker")) {
            job.tools = vec![Tool {
                kind: ToolKind::Docker,
                version: String::new(),
            }];
            job.variables.retain(|(name, _)| name != "DOCKER_TLS_CERTDIR");
        }
        if let Some(tags) = view.get("tags") {
            job.runner = tags.texts().into_iter().map(|(tag, _)| tag.to_owned()).collect();
        }
        if let Some(caches) = view.get("cache") {
            job.caches = caches.one_or_more().into_iter().map(cache).collect();
        }
        if let Some(parallel) = view.get("parallel") {
            match parallel
                .get("matrix")
                .map(|rows| rows.items().collect::<Vec<_>>())
            {
                Some(rows) if rows.len() == 1 => {
                    job.matrix = rows[0]
                        .entries()
                        .into_iter()
                        .filter_map(|(name, values)| {
                            let values = values
                                .texts()
                                .into_iter()
                                .map(|(text, _)| text.to_owned())
                                .collect();
                            Some((name.as_str()?.to_owned(), values))
                        })
                        .collect();
                }
                Some(_) => self.note(
                    job,
                    parallel.at.line,
                    "a matrix of several rows is left out",
                    "Make a job for each row",
                ),
                None => self.note(
                    job,
                    parallel.at.line,
                    "`parallel` copies are left out",
                    "Split the work by a matrix",
                ),
            }
        }
    }

    fn results(&mut self, job: &mut Job, view: &View<'n>) {
        job.reports = Reports {
            coverage_regex: view.str("coverage").map(str::to_owned),
            ..Reports::default()
        };
        if let Some(artifacts) = view.get("artifacts") {
            self.artifacts(job, artifacts);
        }
        if let Some(node) = view.get("timeout") {
            match node.as_str().and_then(minutes) {
                Some(minutes) => job.timeout_minutes = Some(minutes),
                None => self.note(
                    job,
                    node.at.line,
                    "its timeout is no time",
                    "Write it like `30 minutes`",
                ),
            }
        }
        if let Some(retry) = view.get("retry") {
            let count = retry.as_number().or_else(|| retry.get("max")?.as_number());
            job.retries = count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        }
        if let Some(environment) = view.get("environment") {
            let name = environment.as_str().or_else(|| environment.str("name"));
            job.environment = name.map(|name| Environment {
                name: name.to_owned(),
                url: environment.str("url").map(str::to_owned),
            });
            for key in ["on_stop", "auto_stop_in", "action", "kubernetes"] {
                if let Some(node) = environment.get(key) {
                    self.note(
                        job,
                        node.at.line,
                        format!("`{key}` of its environment is left out"),
                        "Stop the environment by a job of its own",
                    );
                }
            }
        }
        job.exclusive = view.get("resource_group").is_some();
    }

    fn artifacts(&mut self, job: &mut Job, artifacts: &Node) {
        let always = matches!(artifacts.str("when"), Some("always"));
        if let Some(paths) = artifacts.get("paths") {
            let days = artifacts
                .str("expire_in")
                .and_then(minutes)
                .map(|minutes| (minutes / 1440).max(1));
            job.artifacts = Some(Artifacts {
                paths: paths
                    .texts()
                    .into_iter()
                    .map(|(path, _)| path.to_owned())
                    .collect(),
                days,
                always: always && artifacts.get("reports").is_none(),
            });
        }
        let Some(reports) = artifacts.get("reports") else {
            return;
        };
        for (key, node) in reports.entries() {
            match key.as_str().unwrap_or_default() {
                "junit" => {
                    job.reports.junit = node
                        .texts()
                        .into_iter()
                        .map(|(path, _)| path.to_owned())
                        .collect()
                }
                "coverage_report" => job.reports.coverage = node.str("path").map(str::to_owned),
                other => {
                    let what = format!("the report `{other}` is left out");
                    self.note(job, node.at.line, what, "Keep its file as an artifact");
                }
            }
        }
    }
}
