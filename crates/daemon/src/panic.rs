//! A panic is a bug of ours, and is told as one: in a line, with the exit code that `docs/cli.md` promises.

use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use domain::Error;
use serde_json::json;

use crate::exit::Exit;
use crate::output::{harmless, say};

/// From now on a panic of any thread is a line on standard error; where it came from is added when RUST_BACKTRACE asks.
pub fn tell(json: bool) {
    std::panic::set_hook(Box::new(move |info| {
        say(&line(info, json));
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|asked| !asked.is_empty() && asked != "0") {
            say(&Backtrace::force_capture().to_string());
        }
    }));
}

/// The answer of `run`; where it panics, that of a bug.
pub fn caught(run: impl FnOnce() -> Exit) -> Exit {
    // What it had in hand is dropped, and nobody looks at it again.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Exit::Bug)
}

const NEXT: &str = "Please report it; with RUST_BACKTRACE=1 it also says where it came from";

fn line(info: &PanicHookInfo<'_>, json: bool) -> String {
    let said = info.payload_as_str().unwrap_or("it does not say why");
    let said = domain::redact(said).replace(['\n', '\r'], " ");
    let place = info
        .location()
        .map_or_else(String::new, |at| format!(" ({}:{})", at.file(), at.line()));
    let what = format!("a bug in longshore: {said}{place}");
    match json {
        true => json!({ "error": Error::internal(what).next(NEXT) }).to_string(),
        false => harmless(&format!("error: {what}. {NEXT}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_bug_and_what_ends_well_is_none() {
        assert_eq!(caught(|| panic!("a test's own")), Exit::Bug);
        assert_eq!(caught(|| Exit::No), Exit::No);
    }
}
