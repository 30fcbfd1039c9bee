use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use domain::Role;

use crate::config::Span;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and show it, this once
    ///
    /// Only its hash is kept. Roles: `read` looks at tasks; `enqueue` also makes, cancels and retries them; `approve` also
    /// decides what a task asks a person; `admin` may do everything.
    Create(NewToken),
    /// List the tokens: their roles, when they were last used, and which are of no use any more
    List,
    /// End a token, at once and for good
    Revoke {
        /// Its name or its id
        #[arg(value_name = "TOKEN")]
        named: String,
    },
}

/// Roles by name, so that completions offer them.
fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|word| word.parse::<Role>())
}

#[derive(Debug, Args)]
pub struct NewToken {
    /// Whose it is: what is done with it is told in this name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What its holder may do; each includes those before it
    #[arg(long, value_name = "ROLE", value_parser = role())]
    pub role: Role,
    /// How long it is of use, such as 90d or 12h [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub expires_in: Option<Span>,
}
