//! A web page that a person happens to have open must not be able to call this API in their name.

use axum::http::{HeaderMap, header};
use url::Url;

use crate::Config;
use crate::error::{ApiError, ApiResult};

/// Without tokens: no calls from another site's page, nor through a name that was made to point at us.
pub fn from_here(config: &Config, headers: &HeaderMap) -> ApiResult<()> {
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
pub fn no_foreign_page(headers: &HeaderMap) -> ApiResult<()> {
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

    fn config() -> Config {
        Config {
            tokens: Vec::new(),
            open: true,
            gitlab_webhook_secret: None,
            github_webhook_secret: None,
            hosts: Some(Vec::new()),
            request_timeout: Duration::from_secs(1),
            live_check: Duration::from_millis(200),
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
        from_here(config, &headers).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn without_tokens_only_this_machine_and_no_foreign_page() {
        let config = config();
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
    fn a_page_that_hides_its_name_is_known_by_how_far_away_it_is() {
        let config = config();
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
