//! GitLab and GitHub behind the ports for forges, tickets, deployment records and feature flags, and a folder of tickets
//! for those who have neither at hand.
//!
//! [`Forges`] picks the instance by a repository's provider and web address. Nothing is asked of a forge before
//! the first call needs it. No error holds a token.

mod config;
mod failure;
mod flags;
mod forges;
mod github;
mod gitlab;
pub mod gitlab_helper;
mod host;
mod local;
mod refusal;
mod request;

pub use config::{Config, HostConfig, LocalConfig, Provider};
pub use flags::ForgeFlags;
pub use forges::Forges;
pub use gitlab_helper::GitlabHelper;
pub use local::{LocalNote, LocalTicket, LocalTickets};
