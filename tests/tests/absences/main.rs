//! What must be absent, and stays so: the rules of ARCHITECTURE.md and deny.toml, proven over the dependency
//! graph and the source.

mod bans;
mod crates;
mod deny;
mod migrations;
mod text;
mod tokens;
mod workspace;
