//! `longshore diagnose FILE|-`: the worker's judgement of a log, without a worker. Reads the log in pieces, so
//! that its size costs time and no memory.

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;

use domain::Error;
use pipelines::diagnose::{Context, RuleSet, diagnose_reader, render};

use crate::cli::Diagnose;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, harmless};

pub fn run(command: &Diagnose, out: Output) -> Outcome {
    let rules = RuleSet::builtin()
        .map_err(|error| Error::internal("the built-in rules cannot be read").because(&error))?;
    let log = open(&command.file)?;
    let diagnosis = diagnose_reader(rules, log, &Context::default())
        .map_err(|error| unreadable(&command.file, &error))?;
    out.answer(&diagnosis, |_| harmless(&render::text(&diagnosis)))?;
    Ok(Exit::Done)
}

fn open(path: &Path) -> Result<Box<dyn Read>, Error> {
    if path == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    File::open(path)
        .map(|file| Box::new(file) as Box<dyn Read>)
        .map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("cannot read the log {}", path.display()))
        .because(error)
        .next("Give the path of a log file, or `-` to read standard input")
}
