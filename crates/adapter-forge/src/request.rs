use std::fmt::Display;

use domain::{Error, Result};

/// A typed endpoint that was put together; failing to is a mistake of ours.
pub(crate) fn built<T, E: Display>(endpoint: Result<T, E>) -> Result<T> {
    endpoint.map_err(|error| Error::internal(format!("a request could not be put together: {error}")))
}
