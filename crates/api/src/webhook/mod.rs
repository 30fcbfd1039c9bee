//! What other systems tell us: stored before it is answered, and turned into tasks.

pub mod alertmanager;
pub mod github;
pub mod gitlab;
mod passed;
mod signature;
