//! `longshore config check|print|schema`.

use serde_json::json;

use crate::cli::ConfigCommand;
use crate::config::{ConfigError, PLACES, Sources, load, schema};
use crate::exit::{Exit, Outcome};
use crate::output::{Output, harmless};

pub fn run(command: &ConfigCommand, sources: &Sources, out: Output) -> Outcome {
    match command {
        ConfigCommand::Check => check(sources, out),
        ConfigCommand::Print => print(sources, out),
        ConfigCommand::Schema { environments } => {
            // It is JSON for people too; only they like it spread out.
            let schema = if *environments {
                deploy::settings_schema()
            } else {
                schema()
            };
            out.as_it_is().answer(&schema, |_| format!("{schema:#}"))?;
            Ok(Exit::Done)
        }
    }
}

fn check(sources: &Sources, out: Output) -> Outcome {
    match load(sources) {
        Ok(loaded) => {
            let file = loaded.file.as_ref().map(|path| path.display().to_string());
            out.answer(
                &json!({ "ok": true, "file": file, "problems": [] }),
                |_| match &file {
                    Some(file) => format!("{file} is fine, together with the environment and the flags."),
                    None => format!(
                        "No file was found ({}); the defaults, the environment and the flags are fine.",
                        PLACES.join(", ")
                    ),
                },
            )?;
            Ok(Exit::Done)
        }
        Err(error) if out.json => {
            let problems: Vec<_> = error
                .0
                .iter()
                .map(|problem| json!({ "key": problem.key, "from": problem.origin.to_string(), "what": problem.what }))
                .collect();
            out.value(&json!({ "ok": false, "problems": problems }))?;
            Ok(Exit::Usage)
        }
        Err(ConfigError(problems)) => {
            for problem in &problems {
                out.text(&harmless(&format!("{}: {}", problem.origin, problem.what)))?;
            }
            Ok(Exit::Usage)
        }
    }
}

fn print(sources: &Sources, out: Output) -> Outcome {
    let loaded = load(sources)?;
    let file = loaded.file.as_ref().map(|path| path.display().to_string());
    // Its secrets are masked already, so that what is printed reads back.
    out.as_it_is()
        .answer(&json!({ "file": file, "keys": loaded.lines() }), |_| {
            loaded.to_toml()
        })?;
    Ok(Exit::Done)
}
