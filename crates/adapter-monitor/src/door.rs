use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{Error, Result};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::ClientBuilder;
use secrecy::{ExposeSecret, SecretString};

/// A client that sends nothing anywhere by itself: no redirects, no proxies from the environment.
pub(crate) fn client(whose: &str, ca_file: Option<&Path>) -> Result<ClientBuilder> {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(file) = ca_file {
        let refused = |why: &dyn std::error::Error| {
            Error::invalid(format!(
                "the certificates for {whose} in {} cannot be used",
                file.display()
            ))
            .because(why)
            .next("Give a file that we may read, with certificates in PEM form")
        };
        let pem = std::fs::read(file).map_err(|error| refused(&error))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| refused(&error))?;
        if certificates.is_empty() {
            return Err(refused(&std::io::Error::other("it holds none")));
        }
        client = client.tls_certs_merge(certificates);
    }
    Ok(client)
}

pub(crate) fn built(whose: &str, client: ClientBuilder) -> Result<reqwest::Client> {
    client.build().map_err(|error| {
        Error::invalid(format!("no HTTP client could be made for {whose}")).because(&error.without_url())
    })
}

/// What goes with each request and must not be seen.
#[derive(Default)]
pub(crate) struct Credentials {
    pub headers: HeaderMap,
    /// Every form in which a far side might repeat them.
    secrets: Vec<String>,
}

impl Credentials {
    pub fn bearer(&mut self, whose: &str, token: &SecretString) -> Result<()> {
        let token = token.expose_secret().trim();
        self.keep(token);
        self.put(whose, header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    pub fn basic(&mut self, whose: &str, username: &str, password: &SecretString) -> Result<()> {
        let password = password.expose_secret();
        let both = STANDARD.encode(format!("{username}:{password}"));
        self.keep(password);
        self.keep(&both);
        self.put(whose, header::AUTHORIZATION, &format!("Basic {both}"))
    }

    pub fn others(&mut self, whose: &str, others: &BTreeMap<String, SecretString>) -> Result<()> {
        for (name, value) in others {
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| Error::invalid(format!("`{name}` of {whose} is no name of a header")))?;
            self.keep(value.expose_secret());
            self.put(whose, header, value.expose_secret())?;
        }
        Ok(())
    }

    /// Takes the secrets out of a text that came from outside.
    pub fn mask(&self, text: &str) -> String {
        let masked = |text: String, secret: &String| text.replace(secret, "[secret]");
        self.secrets.iter().fold(text.to_owned(), masked)
    }

    fn keep(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
            // A secret that holds another one goes first, so that no half of it stays.
            self.secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    fn put(&mut self, whose: &str, name: HeaderName, value: &str) -> Result<()> {
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Error::invalid(format!(
                "the `{name}` for {whose} holds characters that no header may have"
            ))
        })?;
        value.set_sensitive(true);
        self.headers.insert(name, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_form_it_was_sent_in() {
        let mut credentials = Credentials::default();
        credentials
            .basic("x", "ada", &"lovelace".into())
            .expect("fits a header");
        let both = STANDARD.encode("ada:lovelace");
        let said = credentials.mask(&format!("refused Basic {both} (ada, lovelace)"));
        assert_eq!(said, "refused Basic [secret] (ada, [secret])");
    }

    #[test]
    fn what_no_header_may_hold_is_refused_without_repeating_it() {
        let error = Credentials::default().bearer("the store `a`", &"gehe\nim".into());
        let error = error.expect_err("is refused");
        assert!(!error.to_string().contains("gehe"), "{error}");
    }
}
