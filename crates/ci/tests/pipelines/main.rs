//! Reading, converting and linting pipelines, and changing them to the byte.

mod convert;
mod edit;
mod hostile;
mod lint;
mod never_more;
mod round;
