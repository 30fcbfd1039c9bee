//! What callers get when something is wrong: a status, and JSON that names the field and what would be right.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Error, ErrorKind};
use serde::Serialize;
use utoipa::ToSchema;

/// What every error looks like in JSON.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    error: ErrorText,
}

#[derive(Debug, Serialize, ToSchema)]
struct ErrorText {
    /// `invalid`, `not_found`, `denied`, `conflict`, `rejected`, `unavailable`, `rate_limited`, `timeout` or `internal`.
    #[schema(value_type = String)]
    kind: ErrorKind,
    /// What happened, to what.
    what: String,
    /// The part of the request that is wrong, as a path: `payload.log`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// What lies beneath, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
}

/// An error on its way out, as [`ErrorBody`].
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    /// The part of the request that is wrong, as a path: `payload.log`.
    pub field: Option<String>,
    pub error: Error,
}

/// What to do where nothing is known but that it may pass, as of a connection to the database that was cut. Whether the cut
/// came before the commit nobody can tell.
const CALL_AGAIN: &str = "Call again in a moment; what was to be made or changed may be so already, so look first, or send a \
     `dedupe_key`. If it stays so, the server's log says why";

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    /// A field of the request that cannot be accepted: 422.
    pub fn field(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            field: Some(field.into()),
            error: Error::invalid(what),
        }
    }

    /// A request that cannot even be read: 400.
    pub fn unreadable(what: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            field: None,
            error: Error::invalid(what),
        }
    }

    pub fn too_large(field: Option<&str>, what: impl Into<String>) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            field: field.map(str::to_owned),
            error: Error::invalid(what),
        }
    }

    pub fn unauthorised(what: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            field: None,
            error: Error::denied(what),
        }
    }

    pub fn not_found(what: impl Into<String>) -> Self {
        Error::not_found(what).into()
    }

    /// An error of the store's, which begins with the field that it is about where that is one of these.
    pub fn about(error: Error, fields: &[&str]) -> Self {
        let field = fields
            .iter()
            .find(|field| error.what.starts_with(&format!("`{field}`")));
        Self {
            field: field.map(|field| (*field).to_owned()),
            ..error.into()
        }
    }

    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.error = self.error.next(next);
        self
    }
}

impl From<store::PayloadFault> for ApiError {
    fn from(fault: store::PayloadFault) -> Self {
        Self {
            status: match fault.too_large {
                true => StatusCode::PAYLOAD_TOO_LARGE,
                false => StatusCode::UNPROCESSABLE_ENTITY,
            },
            field: Some(fault.field),
            error: fault.error,
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Denied => StatusCode::FORBIDDEN,
            ErrorKind::Conflict | ErrorKind::Rejected => StatusCode::CONFLICT,
            ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let error = match (error.kind, &error.next) {
            (ErrorKind::Unavailable | ErrorKind::Timeout, None) => error.next(CALL_AGAIN),
            _ => error,
        };
        Self {
            status,
            field: None,
            error,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, field, error } = self;
        if status.is_server_error() {
            tracing::error!(http.status = status.as_u16(), %error, "a request could not be answered");
        }
        let body = ErrorBody {
            error: ErrorText {
                kind: error.kind,
                what: error.what,
                field,
                next: error.next,
                // What lies beneath a fault of ours is for our log; what lies beneath a caller's helps the caller.
                causes: if status.is_server_error() {
                    Vec::new()
                } else {
                    error.causes
                },
            },
        };
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge =
                axum::http::HeaderValue::from_static("Basic realm=\"longshore\", Bearer realm=\"longshore\"");
            response
                .headers_mut()
                .insert(axum::http::header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_says_what_to_do_unless_that_is_known_better() {
        let next = |error: Error| ApiError::from(error).error.next;
        for error in [Error::unavailable("cut"), Error::timeout("late")] {
            assert_eq!(next(error.clone()).as_deref(), Some(CALL_AGAIN));
            assert_eq!(
                next(error.next("Run the migration")).as_deref(),
                Some("Run the migration")
            );
        }
        assert_eq!(next(Error::invalid("wrong")), None);
    }
}
