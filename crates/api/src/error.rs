//! What callers get when something is wrong: a status, and JSON that names the field and what would be right.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::{Error, ErrorKind};
use serde_json::json;

/// An error on its way out, as `{"error": {"kind", "what", "field"?, "next"?, "causes"?}}`.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    /// The part of the request that is wrong, as a path: `payload.log`.
    pub field: Option<String>,
    pub error: Error,
}

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
        let mut body = json!({ "error": { "kind": error.kind, "what": error.what } });
        let inner = &mut body["error"];
        if let Some(field) = field {
            inner["field"] = field.into();
        }
        if let Some(next) = error.next {
            inner["next"] = next.into();
        }
        // What lies beneath a fault of ours is for our log; what lies beneath a caller's helps the caller.
        if !error.causes.is_empty() && !status.is_server_error() {
            inner["causes"] = error.causes.into();
        }
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
