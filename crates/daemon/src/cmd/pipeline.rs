//! `longshore pipeline generate|lint|convert`: from files alone, without a database, a forge or a configuration.

use std::path::{Path, PathBuf};

use ci::detect::Found;
use ci::lint::{Finding, Severity};
use ci::model::{File, Note};
use ci::tree::Tree;
use ci::{CustomStage, Dialect, Options};
use domain::Error;
use serde_json::json;

use super::pipeline_files::{bytes, listing, pipelines, unreadable, write};
use crate::cli::{Convert, Generate, Lint, PipelineCommand};
use crate::exit::{Exit, Outcome};
use crate::output::{Output, Paint, harmless, say};

pub fn run(command: &PipelineCommand, out: Output) -> Outcome {
    match command {
        PipelineCommand::Generate(command) => generate(command, out),
        PipelineCommand::Lint(command) => lint(command, out),
        PipelineCommand::Convert(command) => convert(command, out),
    }
}

fn generate(command: &Generate, out: Output) -> Outcome {
    let tree = listing(&command.path)?;
    let there = Dialect::ALL.into_iter().find(|dialect| has(&tree, *dialect));
    let dialect = command
        .system
        .map(Dialect::from)
        .or(there)
        .unwrap_or(Dialect::Gitlab);
    let stages: Result<Vec<_>, Error> = command.stages.iter().map(|said| stage(said)).collect();
    let options = Options {
        name: command.name.clone(),
        min_coverage: command.min_coverage,
        stages: stages?,
        deploys: !command.no_deploy,
    };
    let generated = ci::generate(&tree, &options)?;
    let written = dialect.write(&generated.pipeline);
    let notes: Vec<Note> = generated.notes.iter().chain(&written.notes).cloned().collect();
    let paths = match command.write {
        true => write(&command.path, &written.files, command.force)?,
        false => Vec::new(),
    };
    if out.json {
        let answer = json!({
            "system": dialect.name(), "found": generated.found, "files": written.files, "notes": notes, "written": paths,
        });
        out.as_it_is().value(&answer)?;
        return Ok(Exit::Done);
    }
    tell_found(&generated.found);
    tell(&notes);
    show(&written.files, &paths, out)?;
    Ok(Exit::Done)
}

/// What the repository is made of, and the files that say so.
fn tell_found(found: &Found) {
    for unit in &found.units {
        let place = if unit.directory.is_empty() {
            "."
        } else {
            &unit.directory
        };
        say(&harmless(&format!(
            "{place}: {} with {}",
            unit.language, unit.manager
        )));
        for why in &unit.why {
            say(&harmless(&format!("  {}: {}", why.path, why.what)));
        }
    }
    let deploying = found.deploying.iter().flat_map(|deploying| &deploying.why);
    for why in deploying {
        say(&harmless(&format!("{}: {}", why.path, why.what)));
    }
    for why in &found.left_out {
        say(&harmless(&format!("left out: {}: {}", why.path, why.what)));
    }
}

fn has(tree: &dyn Tree, dialect: Dialect) -> bool {
    tree.paths()
        .iter()
        .any(|path| Dialect::of_path(path) == Some(dialect))
}

/// `NAME[:AFTER]=COMMAND`.
fn stage(said: &str) -> Result<CustomStage, Error> {
    let wrong = || {
        Error::invalid(format!("--stage {said} is no stage"))
            .next("Write NAME=COMMAND, or NAME:AFTER=COMMAND to say which stage it comes after")
    };
    let (name, script) = said.split_once('=').ok_or_else(wrong)?;
    let (name, after) = match name.split_once(':') {
        Some((name, after)) => (name, Some(after.trim().to_owned())),
        None => (name, None),
    };
    if name.trim().is_empty() || script.trim().is_empty() {
        return Err(wrong());
    }
    Ok(CustomStage {
        name: name.trim().to_owned(),
        after,
        script: vec![script.trim().to_owned()],
    })
}

/// The files go to standard output, whole: what they name as secrets are names, and hiding a part would break them.
fn show(files: &[File], written: &[PathBuf], out: Output) -> Result<(), Error> {
    if !written.is_empty() {
        let lines: Vec<_> = written
            .iter()
            .map(|path| format!("Wrote {}.", path.display()))
            .collect();
        return out.text(&harmless(&lines.join("\n")));
    }
    let several = files.len() > 1;
    for file in files {
        let title = if several {
            format!("# {}\n", file.path)
        } else {
            String::new()
        };
        out.as_it_is().text(&format!("{title}{}", harmless(&file.text)))?;
    }
    Ok(())
}

fn tell(notes: &[Note]) {
    for note in notes {
        let line = note.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        let job = note
            .job
            .as_deref()
            .map(|job| format!("{job}: "))
            .unwrap_or_default();
        say(&harmless(&domain::redact(&format!(
            "note: {line}{job}{}\n  {}",
            note.what, note.advice
        ))));
    }
}

fn dialect_of(path: &Path, said: Option<crate::cli::System>) -> Result<Dialect, Error> {
    let known = said.map(Dialect::from).or_else(|| {
        let whole = std::path::absolute(path).ok()?;
        Dialect::of_path(whole.to_str()?)
    });
    known.ok_or_else(|| {
        Error::invalid(format!(
            "the name of {} does not tell which system's pipeline it is",
            path.display()
        ))
        .next("Say it: --system (with convert: --from) gitlab, github, jenkins, cloud-build or azure")
    })
}

fn lint(command: &Lint, out: Output) -> Outcome {
    let is_folder = std::fs::metadata(&command.path)
        .map_err(|error| unreadable(&command.path, &error))?
        .is_dir();
    let files = match is_folder {
        true => pipelines(&command.path)?,
        false => vec![(command.path.clone(), dialect_of(&command.path, command.system)?)],
    };
    if files.is_empty() {
        return Err(Error::invalid(format!(
            "{} has no pipeline of a known system",
            command.path.display()
        ))
        .next("Name a pipeline's file, with --system where its name does not tell")
        .into());
    }
    let mut all: Vec<(PathBuf, Finding)> = Vec::new();
    for (path, dialect) in &files {
        let findings = ci::lint::lint(*dialect, &bytes(path)?);
        all.extend(findings.into_iter().map(|finding| (path.clone(), finding)));
    }
    let count = |severity| {
        all.iter()
            .filter(|(_, finding)| finding.severity == severity)
            .count()
    };
    let (errors, warnings, hints) = (
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Hint),
    );
    let bad = errors > 0 || command.strict && warnings > 0;
    let listed: Vec<_> = all
        .iter()
        .map(|(path, finding)| {
            let mut value = serde_json::to_value(finding).unwrap_or_default();
            value["path"] = json!(path);
            value
        })
        .collect();
    let answer = json!({
        "ok": !bad, "errors": errors, "warnings": warnings, "hints": hints, "files": files.len(), "findings": listed,
    });
    out.answer(&answer, |out| {
        let mut lines = Vec::new();
        for (
            path,
            Finding {
                rule,
                severity,
                at,
                what,
                fix,
                ..
            },
        ) in &all
        {
            let word = match severity {
                Severity::Error => out.paint(Paint::Bad, "error"),
                Severity::Warning => out.paint(Paint::Attention, "warning"),
                Severity::Hint => out.paint(Paint::Dim, "hint"),
            };
            let place = format!("{}:{}:{}", path.display(), at.line, at.column);
            lines.push(format!("{}: {word} {rule}: {}", harmless(&place), harmless(what)));
            lines.push(format!("  → {}", harmless(fix)));
        }
        let counted =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        lines.push(format!(
            "{} in {}: {}, {}, {}.",
            if all.is_empty() { "Nothing found" } else { "Found" },
            counted(files.len(), "file"),
            counted(errors, "error"),
            counted(warnings, "warning"),
            counted(hints, "hint"),
        ));
        lines.join("\n")
    })?;
    Ok(if bad { Exit::No } else { Exit::Done })
}

fn convert(command: &Convert, out: Output) -> Outcome {
    let from = dialect_of(&command.path, command.from)?;
    let fault = |fault: ci::yaml::Fault| {
        Error::invalid(format!(
            "{}:{}:{}: {}",
            command.path.display(),
            fault.at.line,
            fault.at.column,
            fault.what
        ))
        .next(fault.next)
    };
    let bytes = bytes(&command.path)?;
    let text = ci::yaml::text(&bytes).map_err(fault)?;
    let converted = ci::convert(text, from, command.to.into()).map_err(fault)?;
    let written = match &command.write {
        Some(folder) => write(folder, &converted.files, false)?,
        None => Vec::new(),
    };
    if out.json {
        let mut answer = serde_json::to_value(&converted)
            .map_err(|error| Error::internal("could not write the answer as JSON").because(&error))?;
        answer["written"] = json!(written);
        out.as_it_is().value(&answer)?;
        return Ok(Exit::Done);
    }
    tell(&converted.notes);
    show(&converted.files, &written, out)?;
    Ok(Exit::Done)
}
