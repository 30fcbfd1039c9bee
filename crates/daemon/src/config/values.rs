//! The kinds of value that a config file holds besides plain text and numbers.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret, SecretString};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

pub use domain::Span;

/// What stands in the place of a secret wherever a person may look.
pub const MASK: &str = "********";

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "Text that is never shown", "type": "string" })
    }
}

impl JsonSchema for DatabaseUrl {
    fn schema_name() -> Cow<'static, str> {
        "DatabaseUrl".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "postgres://USER:PASSWORD@HOST:PORT/DATABASE", "type": "string" })
    }
}

/// Text that is never shown: not in logs, not by `config print`.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// For the one place that sends or compares it.
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }
    pub fn is_blank(&self) -> bool {
        self.0.expose_secret().trim().is_empty()
    }
    /// In bytes.
    pub fn size(&self) -> usize {
        self.0.expose_secret().len()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(from)?.into()))
    }
}

/// `postgres://user:password@host:port/name`; everything but the password may be shown.
#[derive(Clone, Debug)]
pub struct DatabaseUrl(SecretString);

impl DatabaseUrl {
    pub fn secret(&self) -> SecretString {
        self.0.clone()
    }

    /// With the password (also one given as a query parameter) masked.
    pub fn masked(&self) -> String {
        let Some(mut url) = without_password(&self.0) else {
            return MASK.to_owned();
        };
        if url.query().is_some() {
            let pairs: Vec<(String, String)> = url
                .query_pairs()
                .map(|(key, value)| match key.as_ref() {
                    "password" | "sslpassword" | "passfile" => (key.into_owned(), MASK.to_owned()),
                    _ => (key.into_owned(), value.into_owned()),
                })
                .collect();
            url.query_pairs_mut().clear().extend_pairs(pairs);
        }
        url.into()
    }
}

fn without_password(url: &SecretString) -> Option<Url> {
    let mut url = Url::parse(url.expose_secret()).ok()?;
    if url.password().is_some() {
        url.set_password(Some(MASK)).ok()?;
    }
    Some(url)
}

/// An address on the web; everything but its password may be shown.
#[derive(Clone, Debug)]
pub struct WebUrl(SecretString);

impl WebUrl {
    pub fn url(&self) -> Option<Url> {
        Url::parse(self.0.expose_secret()).ok()
    }

    pub fn password(&self) -> Option<SecretString> {
        Some(self.url()?.password()?.into())
    }
}

impl JsonSchema for WebUrl {
    fn schema_name() -> Cow<'static, str> {
        "WebUrl".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "http://HOST:PORT/PATH", "type": "string" })
    }
}

impl Serialize for WebUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let shown = without_password(&self.0).map_or_else(|| MASK.to_owned(), String::from);
        to.serialize_str(&shown)
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    // The text itself stays out of the error: it may hold a password.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let is_web = Url::parse(&text).is_ok_and(|url| url.host_str().is_some() && !url.scheme().is_empty());
        match is_web {
            true => Ok(Self(text.into())),
            false => Err(D::Error::custom(
                "not a web address; write it like \"http://prometheus:9090\"",
            )),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error("not a database address; write it like \"postgres://user:<password>@host:5432/name\"")]
    Unreadable,
    #[error("{0:?} databases are not served, only Postgres: \"postgres://user:<password>@host:5432/name\"")]
    OtherDatabase(String),
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;
    // The text itself stays out of the errors: it may hold a password.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| DatabaseUrlError::Unreadable)?;
        match url.scheme() {
            "postgres" | "postgresql" => Ok(Self(text.into())),
            other => Err(DatabaseUrlError::OtherDatabase(other.to_owned())),
        }
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_shows_all_but_its_password() {
        let url: DatabaseUrl = "postgres://pm:hunter2@db:5432/ops?sslmode=require&password=hunter3"
            .parse()
            .unwrap();
        let shown = serde_json::to_string(&url).unwrap() + &format!("{url:?}");
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(
            url.masked().contains("pm:********@db:5432/ops?sslmode=require"),
            "{}",
            url.masked()
        );
        let error = "mysql://root:hunter2@db/x"
            .parse::<DatabaseUrl>()
            .unwrap_err()
            .to_string();
        assert!(error.contains("mysql") && !error.contains("hunter"), "{error}");
    }
}
