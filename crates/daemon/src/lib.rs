//! The program `longshore`: configuration, wiring and subcommands. Nothing else in the house reads files, the
//! environment or the wall clock.
//!
//! A program with handlers of its own is this one with another registry: [`run`] is all of its `main`, and
//! `docs/how-to/write-a-handler.md` walks through one.

mod cli;
mod cmd;
mod config;
mod exit;
mod logging;
mod output;
mod panic;
mod shutdown;
mod wiring;

use std::ffi::OsString;
use std::process::ExitCode;

use domain::Error;
pub use worker::Registry;

/// What the commands that work off tasks serve: made when one of them starts, of the built-in handlers.
pub(crate) type Handlers = Box<dyn FnOnce(Registry) -> Result<Registry, Error>>;

/// Reads the command line, the environment and the configuration, does what they say and answers with the
/// exit code that `docs/cli.md` explains. `handlers` is given the built-in ones and returns those that tasks
/// are run by: more of them, or others. Only `worker` and `dev` ask for it, and what it cannot make is told as
/// any other error.
///
/// ```no_run
/// # struct Restart;
/// # impl durable::Handler for Restart {
/// #     const TASK_TYPES: &'static [&'static str] = &["restart"];
/// #     type Params = serde_json::Value;
/// #     async fn run(&self, _: &durable::TaskCx, _: &serde_json::Value) -> Result<domain::Report, durable::Stop> {
/// #         Ok(domain::Report::new(domain::Verdict::Succeeded, "restarted"))
/// #     }
/// #     async fn unwind(
/// #         &self,
/// #         _: &durable::TaskCx,
/// #         _: &serde_json::Value,
/// #         cause: &durable::Cause,
/// #     ) -> Result<domain::Report, durable::Stop> {
/// #         Ok(cause.report())
/// #     }
/// # }
/// fn main() -> std::process::ExitCode {
///     daemon::run(|built_in| Ok(built_in.register(Restart)))
/// }
/// ```
pub fn run(handlers: impl FnOnce(Registry) -> Result<Registry, Error> + 'static) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let form = cli::Form::of(&args);
    panic::tell(form.json);
    panic::caught(|| start(&args, form, Box::new(handlers))).into()
}

/// On a thread that ends with it: all the commands and their options are megabytes, which a worker would keep for good.
fn beside<T: Send>(read: impl Fn() -> T + Sync) -> T {
    const STACK: usize = 8 * 1024 * 1024;
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, &read).ok().map(|begun| begun.join())
    });
    match done {
        Some(Ok(done)) => done,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        // No thread is to be had: then here.
        None => read(),
    }
}

fn start(args: &[OsString], form: cli::Form, handlers: Handlers) -> exit::Exit {
    let env = config::Environment::of(std::env::vars_os());
    let no_color = env.get("NO_COLOR").is_some();
    let out = output::Output::new(form.json, form.color, no_color);
    let mut cli = match beside(|| cli::read(args, form, out)) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let out = output::Output::new(cli.global.json, cli.global.color, no_color);
    if cli.global.config.is_none() {
        // A path need not be text.
        let named = std::env::var_os(config::FILE_VARIABLE).filter(|path| !path.is_empty());
        cli.global.config = named.map(Into::into);
    }
    let sources = config::Sources {
        file: cli.global.config.clone(),
        env,
        flags: cli.global.flags(),
    };
    cmd::run(cli, &sources, handlers, out)
}
