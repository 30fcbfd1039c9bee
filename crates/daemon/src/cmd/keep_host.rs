use std::path::Path;

use domain::Error;

use crate::config::Settings;
use crate::exit::{Exit, Outcome};
use crate::logging;

/// Keeps the processes of the workload whose folder this is. It is told all that it needs there, and no configuration:
/// the one that the worker had when it started us may have been changed since.
pub fn run(folder: &Path, begun_by: Option<String>) -> Outcome {
    logging::install(&Settings::default(), true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("could not start the runtime").because(&error))?;
    runtime.block_on(adapter_host::keep(folder, begun_by))?;
    Ok(Exit::Done)
}
