//! What each command does.

mod batches;
mod bulk;
mod config;
mod create_task;
mod create_tasks;
mod dead;
mod decide;
mod demo;
mod demo_shop;
mod dev;
mod diagnose;
mod doctor;
mod dora;
mod gitlab;
mod go_on;
mod keep_host;
mod migrate;
mod pipeline;
mod pipeline_files;
mod queue;
mod remote;
mod repos;
mod schedules;
mod serve;
mod tasks;
mod token;
mod watch;
mod worker;

use clap::CommandFactory;
use domain::Error;

use crate::cli::{Cli, Color, Command};
use crate::config::{Environment, Loaded, Settings, Sources, load};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::{Handlers, logging, wiring};

/// Runs one command to its end.
pub fn run(cli: Cli, sources: &Sources, handlers: Handlers, out: Output) -> Exit {
    match dispatch(cli, sources, handlers, out) {
        Ok(exit) => exit,
        Err(Failure(error)) => {
            out.error(&error);
            Exit::of(&error)
        }
    }
}

/// Who is at the command line, for records.
fn who(env: &Environment) -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| env.get(name));
    format!("{} at the command line", user.unwrap_or("somebody"))
}

fn dispatch(cli: Cli, sources: &Sources, handlers: Handlers, out: Output) -> Outcome {
    // What needs no configuration works with a broken one too.
    match &cli.command {
        Command::Config(command) => return config::run(command, sources, out),
        Command::Diagnose(command) => return diagnose::run(command, out),
        Command::Pipeline(command) => return pipeline::run(command, out),
        Command::KeepHost { begun_by, folder } => return keep_host::run(folder, begun_by.clone()),
        Command::DemoShop { port } => return demo_shop::run(*port),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "longshore", &mut script);
            out.as_it_is().text(&String::from_utf8_lossy(&script))?;
            return Ok(Exit::Done);
        }
        _ => {}
    }
    let Loaded { mut settings, .. } = load(&with_flags_of(&cli.command, sources))?;
    let service = matches!(
        &cli.command,
        Command::Worker(_) | Command::Serve(_) | Command::Dev(_)
    );
    if !service && cli.global.log_level.is_none() {
        // A command's answer is what it prints; its log is for when something is wrong.
        quieten(&mut settings);
    }
    wiring::install_redaction(&settings);
    let no_color = cli.global.color == Color::Never || sources.env.get("NO_COLOR").is_some();
    logging::install(&settings, no_color);
    // Two providers are linked in by our dependencies; naming one here keeps TLS from panicking. A second
    // call is refused, and changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("could not start the runtime").because(&error))?;
    // Boxed: the largest of them would take its room on this thread's stack for good, whichever it is.
    runtime.block_on(async {
        match cli.command {
            Command::Dev(_) if cli.global.database_url.is_some() => Err(Failure(
                Error::invalid("`dev` brings a database of its own; --database-url cannot stand beside it")
                    .next("Leave it out; `longshore worker --with-api` works on the database that it names"),
            )),
            Command::Dev(command) => Box::pin(dev::run(command, settings, handlers, out)).await,
            Command::Worker(command) => Box::pin(worker::run(command, &settings, handlers)).await,
            Command::Serve(_) => Box::pin(serve::run(&settings)).await,
            Command::Migrate => Box::pin(migrate::run(&settings, out)).await,
            Command::CreateTask(mut command) => {
                command.dashboard_url = dashboard(command.dashboard_url, &sources.env)?;
                Box::pin(create_task::run(command, &cli.global, &settings, out)).await
            }
            Command::Tasks(command) => {
                Box::pin(tasks::run(command, &settings, &who(&sources.env), out)).await
            }
            Command::Schedules(command) => {
                Box::pin(schedules::run(command, &settings, &who(&sources.env), out)).await
            }
            Command::Queue(command) => {
                Box::pin(queue::run(command, &settings, &who(&sources.env), out)).await
            }
            Command::Gitlab(command) => Box::pin(gitlab::run(command, &settings, out)).await,
            Command::Dora(command) => Box::pin(dora::run(&command, &settings, out)).await,
            Command::Doctor => Box::pin(doctor::run(&settings, out)).await,
            Command::Token(command) => Box::pin(token::run(command, &settings, out)).await,
            Command::Repos(command) => Box::pin(repos::run(command, &settings, out)).await,
            Command::Config(_)
            | Command::Diagnose(_)
            | Command::Pipeline(_)
            | Command::KeepHost { .. }
            | Command::DemoShop { .. }
            | Command::Completions { .. } => Ok(Exit::Done),
        }
    })
}

/// The API that tasks are sent to, if one is named.
fn dashboard(flag: Option<String>, env: &Environment) -> Result<Option<String>, Error> {
    const NAME: &str = "DASHBOARD_URL";
    if flag.is_none() && env.unreadable.contains(NAME) {
        return Err(Error::invalid(format!("{NAME} is not text in UTF-8"))
            .next("It takes an address like http://127.0.0.1:8844; unset it to work on the database"));
    }
    Ok(flag.or_else(|| env.get(NAME).map(str::to_owned)))
}

/// The flags of single commands that stand over configuration keys.
fn with_flags_of(command: &Command, sources: &Sources) -> Sources {
    use crate::config::Flag;
    let mut sources = sources.clone();
    let flag = |name, key, value: Option<String>| value.map(|value| Flag { name, key, value });
    let own = match command {
        Command::Worker(worker) => flag(
            "--slots",
            "worker.slots",
            worker.slots.map(|slots| slots.to_string()),
        ),
        Command::Serve(serve) => flag("--bind", "api.bind", serve.bind.clone()),
        _ => None,
    };
    sources.flags.extend(own);
    sources
}

fn quieten(settings: &mut Settings) {
    if settings.log.level == Settings::default().log.level {
        settings.log.level = "error".to_owned();
    }
}
