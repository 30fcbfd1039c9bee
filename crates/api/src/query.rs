//! What stands behind the `?` of an address. What a route does not know is refused, as it would be a wish that nobody reads:
//! `hour=1` must not mean the 24 hours that are taken where nothing is said.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};

use crate::error::{ApiError, ApiResult};

/// Lets a request through whose parameters are all known, said once, and text.
pub async fn check(State(known): State<Arc<[String]>>, request: Request, next: Next) -> Response {
    match judge(request.uri().query().unwrap_or(""), &known) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn judge(query: &str, known: &[String]) -> ApiResult<()> {
    let mut seen: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let unreadable = |part: &str| {
            ApiError::unreadable(format!(
                "{part:?} in the query is no text: after each % stand two hexadecimal digits, and together they are UTF-8"
            ))
            .next("Write a percent sign itself as %25")
        };
        let name = decoded(name).ok_or_else(|| unreadable(name))?;
        let value = decoded(value).ok_or_else(|| unreadable(value))?;
        if !known.contains(&name) {
            let error = ApiError::field(&name, format!("there is no parameter `{name}` here"));
            return Err(error.next(match known {
                [] => "Take it out: none is known".to_owned(),
                known => format!("Known are {}", known.join(", ")),
            }));
        }
        if seen.contains(&name) {
            return Err(ApiError::field(&name, format!("`{name}` is said twice")).next("Say it once"));
        }
        if value.contains('\0') {
            return Err(ApiError::field(&name, format!("`{name}` holds a NUL character")));
        }
        seen.push(name);
    }
    Ok(())
}

/// As in a form: `+` is a space. None where that is not text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A parameter without a value is as good as none: `GET /api/tasks?type=&to=` is asked by whoever fills in a form.
pub fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_doubled_or_no_text_is_refused_with_its_name() {
        let known = ["hours", "to"].map(str::to_owned);
        for fine in ["", "&", "hours=1", "hours=1&to=", "to=a%2Fb+c", "t%6F=%C3%A9"] {
            assert!(judge(fine, &known).is_ok(), "{fine}");
        }
        for (query, status, field, says) in [
            ("hour=1", 422, "hour", "Known are hours, to"),
            ("hours=1&hours=1", 422, "hours", "twice"),
            ("to=%00", 422, "to", "NUL"),
            ("to=%zz", 400, "", "no text"),
            ("to=%4", 400, "", "no text"),
            ("to=%ff", 400, "", "no text"),
        ] {
            let error = judge(query, &known).expect_err(query);
            assert_eq!(error.status.as_u16(), status, "{query}");
            assert_eq!(error.field.unwrap_or_default(), field, "{query}");
            let text = format!("{} {}", error.error.what, error.error.next.unwrap_or_default());
            assert!(text.contains(says), "{query}: {text}");
        }
        let none = judge("x=1", &[]).expect_err("nothing is known");
        assert_eq!(none.error.next.as_deref(), Some("Take it out: none is known"));
    }
}
