//! The binary `longshore`: the program with its built-in handlers.

use std::process::ExitCode;

fn main() -> ExitCode {
    daemon::run(Ok)
}
