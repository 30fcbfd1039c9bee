//! Who calls, and what they may do. Whoever sends a token is who the token says; where none is demanded, a call without
//! one must come from this machine and not from a page of another site.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::{Error, NewTask, Role};
use store::TokenRow;

use crate::error::{ApiError, ApiResult};
use crate::origin::{from_here, no_foreign_page};
use crate::server::Api;
use crate::{Config, token};

/// Who called, for handlers (`Extension<Caller>`) and for the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, or what stands for one where there is none.
    pub name: Arc<str>,
    pub role: Role,
    /// The id of the token in the database that was sent, where it is one.
    token: Option<Arc<str>>,
}

impl Caller {
    /// Signs a task that names no maker, where the caller has a name.
    pub fn makes(&self, task: &mut NewTask) {
        if task.created_by.is_none() && self.token.is_some() {
            task.created_by = Some(self.name.to_string());
        }
    }
}

/// What a call without a token is called in records.
const NOBODY: &str = "somebody without a token";
/// What the tokens of the configuration are called in records.
const CONFIGURED: &str = "api.tokens";

/// Lets a request through whose caller has the role.
pub async fn require(State((api, needed)): State<(Api, Role)>, mut request: Request, next: Next) -> Response {
    match caller(&api, request.headers())
        .await
        .and_then(|caller| may(caller, needed))
    {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn may(caller: Caller, needed: Role) -> ApiResult<Caller> {
    if caller.role.includes(needed) {
        return Ok(caller);
    }
    Err(ApiError::from(Error::denied(format!(
        "this needs the role {needed}, and the token {} has {}",
        caller.name, caller.role
    )))
    .next(format!(
        "Ask the operator for one that may: `longshore token create NAME --role {needed}`"
    )))
}

async fn caller(api: &Api, headers: &HeaderMap) -> ApiResult<Caller> {
    let open = api.config.open;
    match sent(headers) {
        Some((sent, by_itself)) if !open || token::is_ours(&sent) => {
            let caller = known(api, &sent).await?;
            // A browser sends a password that it knows along with whatever any page makes it send.
            if by_itself {
                no_foreign_page(headers)?;
            }
            Ok(caller)
        }
        // Whatever else is sent to an open API is for a proxy in front of it.
        _ if open => nobody(&api.config, headers),
        _ => Err(ApiError::unauthorised("this API asks for a token and none was sent").next(
            "Send `Authorization: Bearer TOKEN`; a browser may send the token as the password. `longshore token create` makes one",
        )),
    }
}

fn nobody(config: &Config, headers: &HeaderMap) -> ApiResult<Caller> {
    from_here(config, headers)?;
    Ok(Caller {
        name: NOBODY.into(),
        role: Role::Admin,
        token: None,
    })
}

async fn known(api: &Api, sent: &str) -> ApiResult<Caller> {
    // First what needs no database, so that /metrics can tell of its absence.
    if token::matches_any(sent, &api.config.tokens) {
        return Ok(Caller {
            name: CONFIGURED.into(),
            role: Role::Admin,
            token: None,
        });
    }
    let stranger = || {
        ApiError::unauthorised("the token that was sent is not known here")
            .next("Is it whole? It reads lsh_… and was shown once; `longshore token create` makes another")
    };
    let id = token::id(sent).ok_or_else(stranger)?;
    let stored = api.store.token(id).await?.ok_or_else(stranger)?;
    if !token::is(sent, &stored.digest) {
        return Err(stranger());
    }
    usable(&stored.token)?;
    // That a use could not be written must not keep anybody out.
    if let Err(error) = api.store.token_was_used(&stored).await {
        tracing::warn!(%error, token.name = %stored.token.name, "the use of a token could not be written");
    }
    Ok(Caller {
        name: stored.token.name.as_str().into(),
        role: stored.token.role,
        token: Some(id.into()),
    })
}

/// Whether a caller who was let in may stay: his token may have been revoked since, or come to its end.
pub async fn still(api: &Api, caller: &Caller) -> ApiResult<()> {
    let Some(id) = &caller.token else { return Ok(()) };
    match api.store.token(id).await {
        Ok(Some(stored)) => usable(&stored.token),
        Ok(None) => Err(ApiError::unauthorised(format!(
            "the token {} is not known here any more",
            caller.name
        ))),
        Err(error) => {
            // No reason to send anybody away: without a database there is no news either.
            tracing::warn!(%error, token.name = %caller.name, "a follower's token could not be looked up");
            Ok(())
        }
    }
}

fn usable(token: &TokenRow) -> ApiResult<()> {
    let over = match (token.revoked_at, token.expires_at) {
        (Some(at), _) => format!("was revoked on {}", at.format("%Y-%m-%d at %H:%M UTC")),
        (None, Some(at)) if token.expired => format!("expired on {}", at.format("%Y-%m-%d at %H:%M UTC")),
        _ => return Ok(()),
    };
    Err(ApiError::unauthorised(format!("the token {} {over}", token.name))
        .next("Ask the operator for a new one: `longshore token create`"))
}

/// A bearer token, or the password of HTTP basic, which is all that a browser can send by itself: `true` then.
fn sent(headers: &HeaderMap) -> Option<(String, bool)> {
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
