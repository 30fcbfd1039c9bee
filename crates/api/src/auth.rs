//! Who may call. Tokens are compared in constant time; where none are configured, a web page that a person
//! happens to have open must still not be able to call a loopback API in their name.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use subtle::{Choice, ConstantTimeEq};
use url::Url;

use crate::Config;
use crate::error::{ApiError, ApiResult};

/// Lets a request through that carries a token, or needs none.
pub async fn require(State(config): State<Arc<Config>>, request: Request, next: Next) -> Response {
    match allowed(&config, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn allowed(config: &Config, headers: &HeaderMap) -> ApiResult<()> {
    if config.tokens.is_empty() {
        return from_here(config, headers);
    }
    let Some((sent, by_itself)) = token(headers) else {
        return Err(
            ApiError::unauthorised("this API asks for a token and none was sent")
                .next("Send `Authorization: Bearer TOKEN`; a browser may send the token as the password"),
        );
    };
    if matches_any(&sent, &config.tokens) {
        // A browser sends a password that it knows along with whatever any page makes it send.
        if by_itself {
            no_foreign_page(headers)
        } else {
            Ok(())
        }
    } else {
        Err(
            ApiError::unauthorised("the token that was sent is not one of this API's")
                .next("Ask the operator for one of `api.tokens`"),
        )
    }
}

/// A bearer token, or the password of HTTP basic, which is all that a browser can send by itself: `true` then.
fn token(headers: &HeaderMap) -> Option<(String, bool)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((rest.trim().to_owned(), false));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        return pair
            .split_once(':')
            .map(|(_, password)| (password.to_owned(), true));
    }
    None
}

/// Every secret is looked at, whichever matches, so that the time taken tells nothing.
pub fn matches_any(sent: &str, secrets: &[SecretString]) -> bool {
    let found = secrets
        .iter()
        .fold(Choice::from(0), |found, secret| found | same(sent, secret));
    found.into()
}

/// Compared as digests, whose length does not tell the secret's.
fn same(sent: &str, secret: &SecretString) -> Choice {
    use sha2::{Digest, Sha256};
    let sent = Sha256::digest(sent.as_bytes());
    let secret = Sha256::digest(secret.expose_secret().as_bytes());
    sent.as_slice().ct_eq(secret.as_slice())
}

/// Without tokens: no calls from another site's page, nor through a name that was made to point at us.
fn from_here(config: &Config, headers: &HeaderMap) -> ApiResult<()> {
    let host = text(headers, "host").unwrap_or("");
    if let Some(hosts) = &config.hosts {
        let name = name_of(host);
        if !is_loopback(name) && !hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(refused(format!(
                "this API was called as {host:?}, which is none of its names"
            ))
            .next(
                "Call it as http://127.0.0.1:PORT on its own machine, or set `api.tokens` or `api.hosts`",
            ));
        }
    }
    no_foreign_page(headers)
}

/// Not from a page of another site. A browser names the page in `Origin` with all that changes something, and says
/// in `Sec-Fetch-Site` how near it is; a link from elsewhere that is merely opened (`navigate`, no `Origin`) shows
/// its reader what they may see anyway.
fn no_foreign_page(headers: &HeaderMap) -> ApiResult<()> {
    let host = text(headers, "host").unwrap_or("");
    if let Some(origin) = text(headers, "origin") {
        let named = Url::parse(origin).ok().map(|url| authority(&url));
        if named != Some(host.to_lowercase()) {
            return Err(refused(format!("a page of {origin:?} may not call this API")));
        }
    }
    let near = text(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    if near
        || text(headers, "sec-fetch-mode") == Some("navigate") && !headers.contains_key(header::CONTENT_TYPE)
    {
        Ok(())
    } else {
        Err(refused("a page of another site may not call this API".to_owned()))
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn refused(what: String) -> ApiError {
    domain::Error::denied(what).into()
}

fn authority(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or("").to_owned(),
    }
}

/// The name or address of `NAME:PORT`.
fn name_of(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(tokens: &[&str]) -> Config {
        Config {
            tokens: tokens.iter().map(|token| (*token).into()).collect(),
            gitlab_webhook_secret: None,
            hosts: Some(Vec::new()),
            request_timeout: Duration::from_secs(1),
            agent: "devops".to_owned(),
            version: "0",
        }
    }

    fn status(config: &Config, headers: &[(&str, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<header::HeaderName>().unwrap(),
                    value.parse().unwrap(),
                )
            })
            .collect();
        allowed(config, &headers).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn any_configured_token_opens_and_no_other() {
        let config = config(&["first-token-00000", "second-token-0000"]);
        assert_eq!(
            status(&config, &[("authorization", "Bearer second-token-0000")]),
            200
        );
        assert_eq!(
            status(&config, &[("authorization", "bearer first-token-00000")]),
            200
        );
        // base64 of "me:first-token-00000"
        assert_eq!(
            status(
                &config,
                &[("authorization", "Basic bWU6Zmlyc3QtdG9rZW4tMDAwMDA=")]
            ),
            200
        );
        for wrong in [
            "Bearer ",
            "Bearer first-token-0000",
            "Bearer first-token-000000",
            "Token x",
            "Basic !!",
            "",
        ] {
            assert_eq!(status(&config, &[("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(status(&config, &[("host", "localhost")]), 401);
    }

    #[test]
    fn without_tokens_only_this_machine_and_no_foreign_page() {
        let config = config(&[]);
        for host in ["localhost:8844", "127.0.0.1:8844", "[::1]:8844", "LOCALHOST"] {
            assert_eq!(status(&config, &[("host", host)]), 200, "{host}");
        }
        assert_eq!(status(&config, &[("host", "rebound.example.com:8844")]), 403);
        let named = Config {
            hosts: Some(vec!["ops.example.com".to_owned()]),
            ..config.clone()
        };
        assert_eq!(status(&named, &[("host", "OPS.example.com:8844")]), 200);
        assert_eq!(status(&named, &[("host", "localhost:8844")]), 200);
        assert_eq!(status(&named, &[("host", "rebound.example.com:8844")]), 403);
        let page = |origin| status(&config, &[("host", "localhost:8844"), ("origin", origin)]);
        assert_eq!(page("http://localhost:8844"), 200);
        assert_eq!(page("http://localhost:9000"), 403);
        assert_eq!(page("https://evil.example"), 403);
        assert_eq!(page("null"), 403);
    }

    #[test]
    fn a_browser_that_knows_the_password_sends_it_for_no_foreign_page() {
        let config = config(&["first-token-00000"]);
        let host = ("host", "ops.example.com");
        let basic = ("authorization", "Basic bWU6Zmlyc3QtdG9rZW4tMDAwMDA=");
        assert_eq!(
            status(&config, &[host, basic, ("origin", "https://ops.example.com")]),
            200
        );
        for origin in ["https://evil.example", "null"] {
            assert_eq!(
                status(&config, &[host, basic, ("origin", origin)]),
                403,
                "{origin}"
            );
        }
        // Nobody's browser adds a bearer token: whoever sends one means it, through a proxy that renames us as well.
        let bearer = ("authorization", "Bearer first-token-00000");
        assert_eq!(
            status(&config, &[host, bearer, ("origin", "https://ops.proxy.example")]),
            200
        );
    }

    #[test]
    fn a_page_that_hides_its_name_is_known_by_how_far_away_it_is() {
        let config = config(&[]);
        let host = ("host", "localhost:8844");
        let fetch = |site, more: &[(&str, &str)]| {
            status(&config, &[&[host, ("sec-fetch-site", site)], more].concat())
        };
        assert_eq!(fetch("same-origin", &[]), 200);
        assert_eq!(fetch("none", &[("sec-fetch-mode", "navigate")]), 200);
        assert_eq!(
            fetch("cross-site", &[("sec-fetch-mode", "navigate")]),
            200,
            "a link"
        );
        for site in ["cross-site", "same-site"] {
            assert_eq!(fetch(site, &[("sec-fetch-mode", "no-cors")]), 403, "{site}");
            let form = [("sec-fetch-mode", "navigate"), ("content-type", "text/plain")];
            assert_eq!(fetch(site, &form), 403, "a form of {site}");
        }
    }
}
