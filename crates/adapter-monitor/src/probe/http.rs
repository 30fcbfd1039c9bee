use std::time::Duration;

use domain::{Error, Result};
use http::header::LOCATION;
use ports::Seen;
use reqwest::Response;
use tokio::time::{Instant, timeout};
use url::Url;

use super::{Probes, span, unwell};
use crate::broken;

/// What a check of an address wants.
struct Wanted<'a> {
    status: (u16, u16),
    contains: Option<&'a str>,
}

impl Probes {
    pub(super) async fn http(
        &self,
        url: &str,
        status: (u16, u16),
        contains: Option<&str>,
        limit: Duration,
    ) -> Result<Seen> {
        let url = target(url)?;
        if status.0 > status.1 {
            let what = format!("no status is between {} and {}", status.0, status.1);
            return Err(Error::invalid(what).next("Name the lower status first"));
        }
        let wanted = Wanted { status, contains };
        // What was answered before the time was up.
        let mut said = None;
        Ok(match timeout(limit, self.look(url, &wanted, &mut said)).await {
            Ok(seen) => seen,
            Err(_) => unwell(match said {
                Some(status) => format!(
                    "{status}, and the rest of the answer did not come within {}",
                    span(limit)
                ),
                None => format!("no answer within {}", span(limit)),
            }),
        })
    }

    async fn look(&self, mut url: Url, wanted: &Wanted<'_>, said: &mut Option<u16>) -> Seen {
        let began = Instant::now();
        for _ in 0..=self.max_redirects {
            let response = match self.client.get(url.clone()).send().await {
                Ok(response) => response,
                Err(error) => return unwell(broken::words(&error.without_url())),
            };
            let status = response.status().as_u16();
            *said = Some(status);
            if (wanted.status.0..=wanted.status.1).contains(&status) {
                let took = span(began.elapsed());
                return self.body(response, wanted, status, &took).await;
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return unwell(format!("{status} in {}", span(began.elapsed())));
            }
            let next = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            match next.and_then(|to| url.join(to).ok()).filter(is_web) {
                Some(next) => url = next,
                None => return unwell(format!("{status}, and it names no web address to go on to")),
            }
        }
        unwell(format!("sent on more than {} times", self.max_redirects))
    }

    /// Whether a body holds what it must; what comes after that is not read.
    async fn body(&self, mut response: Response, wanted: &Wanted<'_>, status: u16, took: &str) -> Seen {
        let well = || Seen {
            well: true,
            what: format!("{status} in {took}"),
        };
        let Some(part) = wanted.contains.filter(|part| !part.is_empty()) else {
            return well();
        };
        let (mut body, mut searched) = (Vec::new(), 0);
        loop {
            match response.chunk().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => return unwell(format!("{status}, and the body lacks {part:?}")),
                Err(error) => {
                    let why = broken::words(&error.without_url());
                    return unwell(format!("{status}, and the body broke off: {why}"));
                }
            }
            body.truncate(self.max_body_bytes);
            if holds(&body[searched..], part.as_bytes()) {
                return well();
            }
            if body.len() == self.max_body_bytes {
                let most = self.max_body_bytes;
                return unwell(format!(
                    "{status}, and the first {most} bytes of the body lack {part:?}"
                ));
            }
            // The part may begin in this piece and end in the next.
            searched = body.len().saturating_sub(part.len() - 1);
        }
    }
}

fn target(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).ok().filter(is_web);
    // The address may hold a password and is not repeated.
    parsed.ok_or_else(|| {
        Error::invalid("an HTTP check has no web address")
            .next("Write it like https://app.example.com/healthz")
    })
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.host_str().is_some()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
