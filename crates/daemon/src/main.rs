//! The binary `longshore`: the program with its built-in handlers.

use std::process::ExitCode;

/// A worker of many short tasks, or an API that was sent large bodies, spends less time on memory, and gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    daemon::run(Ok)
}
