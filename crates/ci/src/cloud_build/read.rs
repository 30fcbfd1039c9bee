//! `cloudbuild.yaml` into the model: each step is a job, as steps run side by side and wait for each other.

use crate::facts::{self, FACTS};
use crate::model::{Branches, Job, Note, Pipeline, Read, Tool, ToolKind, Triggers};
use crate::yaml::{self, Fault, Node, Place};

const KNOWN: &[&str] = &[
    "id",
    "name",
    "entrypoint",
    "args",
    "script",
    "env",
    "secretEnv",
    "waitFor",
    "timeout",
    "allowFailure",
    "dir",
    "automapSubstitutions",
];

pub fn read(text: &str) -> Result<Read, Fault> {
    let documents = yaml::parse(text)?;
    let steps = documents
        .last()
        .and_then(|root| root.get("steps"))
        .filter(|steps| steps.is_list());
    let (Some(root), Some(steps)) = (documents.last(), steps) else {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "no list of `steps`",
            "A build is a list of steps",
        ));
    };
    let mut notes = vec![Note::general(
        "what starts a build stands in its trigger, not in the file",
        "It runs for merge requests and pushes to the default branch until you say otherwise",
    )];
    let mut pipeline = Pipeline {
        stages: vec!["build".to_owned()],
        on: Triggers {
            push: Some(Branches::Default),
            merge_requests: true,
            ..Triggers::default()
        },
        ..Pipeline::default()
    };
    for (name, value) in root.get("substitutions").map(Node::entries).unwrap_or_default() {
        if let (Some(name), Some(value)) = (name.as_str(), value.as_str()) {
            pipeline.variables.push((name.to_owned(), value.to_owned()));
        }
    }
    let mut before: Vec<String> = Vec::new();
    for (at, step) in steps.items().enumerate() {
        let id = step
            .str("id")
            .map_or_else(|| format!("step_{}", at + 1), crate::generate::identifier);
        let mut job = Job::new(&id, "build");
        job.line = Some(step.at.line);
        job.needs = Some(match step.get("waitFor") {
            None => before.clone(),
            Some(waits) => {
                let waits = waits
                    .texts()
                    .into_iter()
                    .map(|(text, _)| text)
                    .filter(|text| *text != "-");
                waits.map(crate::generate::identifier).collect()
            }
        });
        job.image = step.str("name").map(variables_of_shell);
        if step
            .str("name")
            .is_some_and(|name| name.starts_with("gcr.io/cloud-builders/docker"))
        {
            job.tools = vec![Tool {
                kind: ToolKind::Docker,
                version: String::new(),
            }];
        }
        read_script(step, &mut job, &mut notes);
        for (text, _) in step.get("env").map(Node::texts).unwrap_or_default() {
            let Some((name, value)) = text.split_once('=') else {
                continue;
            };
            let own = variables_of_shell(value);
            let told = own == format!("${name}") || own == format!("${{_{name}}}");
            if !told && name != "CI_PROJECT_DIR" {
                job.variables.push((name.to_owned(), own));
            }
        }
        job.secrets = step
            .get("secretEnv")
            .map(Node::texts)
            .unwrap_or_default()
            .into_iter()
            .map(|(text, _)| text.to_owned())
            .filter(|name| !facts::is_secret(name))
            .collect();
        job.timeout_minutes = step.str("timeout").and_then(minutes);
        job.allow_failure = step.get("allowFailure").and_then(Node::as_bool).unwrap_or(false);
        for (key, value) in step.entries() {
            let key = key.as_str().unwrap_or_default();
            if !KNOWN.contains(&key) {
                notes.push(left_out(&job, value, key));
            }
        }
        before.push(id);
        pipeline.jobs.push(job);
    }
    for key in ["artifacts", "images", "serviceAccount", "options"] {
        if let Some(node) = root.get(key) {
            notes.push(Note::at(
                node.at.line,
                format!("`{key}` is left out"),
                "Say it in the new system where it matters",
            ));
        }
    }
    Ok(Read { pipeline, notes })
}

fn left_out(job: &Job, node: &Node, key: &str) -> Note {
    Note {
        line: Some(node.at.line),
        ..Note::of(
            job,
            format!("`{key}` is left out"),
            "See whether the new system has something like it",
        )
    }
}

fn read_script(step: &Node, job: &mut Job, notes: &mut Vec<Note>) {
    if let Some(folder) = step.str("dir") {
        job.script.push(format!("cd {folder}"));
    }
    if let Some(script) = step.str("script") {
        let lines = script
            .lines()
            .skip_while(|line| line.starts_with("#!") || line.starts_with("set -"));
        job.script
            .push(variables_of_shell(&lines.collect::<Vec<_>>().join("\n")));
        return;
    }
    let args: Vec<&str> = step
        .get("args")
        .map(Node::texts)
        .unwrap_or_default()
        .into_iter()
        .map(|(text, _)| text)
        .collect();
    let entry = step.str("entrypoint");
    let shell = matches!(entry, Some("bash" | "sh" | "/bin/bash" | "/bin/sh"));
    match (shell, args.as_slice()) {
        (true, [flags, script]) if flags.starts_with('-') && flags.contains('c') => {
            // `$$` is a dollar that is not replaced.
            job.script.push(variables_of_shell(script).replace("$$", "$"));
        }
        _ => {
            let program = entry.map(str::to_owned).or_else(|| {
                let builder = step.str("name")?.strip_prefix("gcr.io/cloud-builders/")?;
                Some(builder.split([':', '@']).next()?.to_owned())
            });
            if program.is_none() {
                notes.push(Note::of(
                    job,
                    "its image's own program runs: which one is not in the file",
                    "Put the program before its arguments",
                ));
            }
            let words = program
                .into_iter()
                .chain(args.iter().map(|word| word_of_shell(&variables_of_shell(word))));
            job.script.push(words.collect::<Vec<_>>().join(" "));
        }
    }
}

fn word_of_shell(word: &str) -> String {
    let harmless = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_./:=@,+$".contains(c));
    if harmless {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('"', "\\\""))
    }
}

/// `$COMMIT_SHA` and its like under the model's names.
fn variables_of_shell(text: &str) -> String {
    let words = FACTS.iter().filter(|fact| !fact.cloud_build.is_empty());
    words.fold(text.to_owned(), |text, fact| {
        facts::renamed(&text, fact.cloud_build, fact.name)
    })
}

fn minutes(text: &str) -> Option<u32> {
    let seconds: u32 = text.strip_suffix('s')?.parse().ok()?;
    Some(seconds.div_ceil(60))
}
