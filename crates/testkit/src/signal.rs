use rustix::process::{Pid, Signal, kill_process};

/// Sends a process `KILL`, `STOP`, `CONT`, `TERM` or `INT`.
pub fn signal(pid: u32, name: &str) {
    let signal = match name {
        "KILL" => Signal::KILL,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        other => panic!("no test sends {other}"),
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let sent = kill_process(process.unwrap_or_else(|| panic!("{pid} is no process")), signal);
    sent.unwrap_or_else(|error| panic!("{name} to {pid}: {error}"));
}
