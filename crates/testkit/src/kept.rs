use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Ends the keeper of a workload on this host and all that it keeps, at once. `folder` is the workload's own.
pub fn end_kept(folder: &Path) {
    if let Ok(text) = fs::read_to_string(folder.join("keeper.lock"))
        && let Some(pid) = text.parse().ok().and_then(Pid::from_raw)
    {
        _ = kill_process(pid, Signal::KILL);
    }
    for pid in kept_processes(folder) {
        if let Some(pid) = Pid::from_raw(pid) {
            _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Of all processes that were ever kept, also of those that are gone.
pub fn kept_processes(folder: &Path) -> Vec<i32> {
    let entries = fs::read_dir(folder.join("runs")).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path().join("pid")).ok());
    texts
        .filter_map(|text| text.lines().next()?.parse().ok())
        .collect()
}
