//! Every route, with the role that it demands. The OpenAPI document is made from this list, so a route cannot be missing
//! from it: to add one, write a handler with `#[utoipa::path]`, whose answers are `ToSchema`, and name it here.

use std::sync::{Arc, OnceLock};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use domain::Role;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, RefOr};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::document::{answer, complete, may_be_wrong, may_fail, may_fail_as_page, or_a_list};
use crate::error::ErrorBody;
use crate::server::Api;
use crate::{
    PAYLOAD_BYTES, approve, auth, detail, health, live, many, page, pause, query, queue, rules, schedules,
    tasks, webhook,
};

/// Room around a payload for the other fields and for JSON written less tightly than Postgres writes it.
pub const BODY_BYTES: usize = 2 * PAYLOAD_BYTES;
/// GitLab's and GitHub's own limit on a webhook's body is 25 MB.
pub const WEBHOOK_BYTES: usize = 25 * 1000 * 1000;

type Route = UtoipaMethodRouter<Api>;

/// What demands a token of a role, where tokens are demanded. The name is the operation's in the document.
fn guarded() -> Vec<(Role, &'static str, Route)> {
    use Role::{Admin, Approve, Enqueue, Read};
    vec![
        (Read, "tasks_list", routes!(tasks::list)),
        (Enqueue, "tasks_create", routes!(tasks::create)),
        (Enqueue, MANY, routes!(many::create)),
        (Read, "tasks_show", routes!(detail::show)),
        (Read, "tasks_follow", routes!(live::of_task)),
        (Read, "events_follow", routes!(live::of_all)),
        (Enqueue, "tasks_cancel", routes!(tasks::cancel)),
        (Enqueue, "tasks_retry", routes!(tasks::retry)),
        (Approve, "tasks_approve", routes!(approve::approve)),
        (Approve, "tasks_reject", routes!(approve::reject)),
        (Approve, "tasks_pause", routes!(pause::pause)),
        (Approve, "tasks_resume", routes!(pause::resume)),
        (Enqueue, "tasks_cancel_many", routes!(queue::cancel)),
        (Enqueue, "tasks_retry_many", routes!(queue::retry)),
        (Read, "tasks_dead", routes!(queue::dead)),
        (Admin, "tasks_reset_stale", routes!(tasks::reset_stale)),
        (Read, "schedules_list", routes!(schedules::list)),
        (Read, "schedules_show", routes!(schedules::show)),
        (Admin, "schedules_set", routes!(schedules::set)),
        (Admin, "schedules_delete", routes!(schedules::delete)),
        (Admin, "schedules_enable", routes!(schedules::enable)),
        (Admin, "schedules_disable", routes!(schedules::disable)),
        (Enqueue, "schedules_run", routes!(schedules::run)),
        (Read, "queue_list", routes!(rules::list)),
        (Admin, "queue_set_all", routes!(rules::set_all)),
        (Admin, "queue_delete_all", routes!(rules::delete_all)),
        (Admin, "queue_set", routes!(rules::set)),
        (Admin, "queue_delete", routes!(rules::delete)),
        (
            Enqueue,
            WEBHOOK_ALERTMANAGER,
            routes!(webhook::alertmanager::receive),
        ),
        (Read, "metrics", routes!(health::metrics)),
        (Read, "page_tasks", routes!(page::tasks)),
        (Read, "page_task", routes!(page::task)),
    ]
}

/// Those that take a larger body than others.
const MANY: &str = "tasks_create_many";
const WEBHOOK_ALERTMANAGER: &str = "webhook_alertmanager";

/// What anybody may call who can connect. Webhooks bring a secret of their own.
fn open() -> Vec<(&'static str, Route)> {
    vec![
        ("openapi", routes!(document)),
        ("health", routes!(health::health)),
        ("alive", routes!(health::alive)),
        ("ready", routes!(health::ready)),
        ("page_style", routes!(page::style)),
        (
            "webhook_gitlab",
            limited(routes!(webhook::gitlab::receive), WEBHOOK_BYTES),
        ),
        (
            "webhook_github",
            limited(routes!(webhook::github::receive), WEBHOOK_BYTES),
        ),
    ]
}

/// The routes and their description.
pub fn all(api: &Api) -> (Router<Api>, OpenApi) {
    let mut router = OpenApiRouter::with_openapi(head());
    for (role, name, mut route) in guarded() {
        let mut known = Vec::new();
        let mut is_api = true;
        for (path, operation) in operations(&mut route.1) {
            is_api &= path.starts_with("/api/");
            known.extend(parameters(operation));
            operation.operation_id = Some(name.to_owned());
            if name == MANY {
                or_a_list(operation);
            }
            if path.starts_with("/api/") {
                may_be_wrong(operation);
            }
            demand(operation, role);
        }
        // A person or a scraper may write what they like behind an address that is no call of the API.
        if is_api {
            let known: Arc<[String]> = known.into();
            route = route.layer(middleware::from_fn_with_state(known, query::check));
        }
        let most = match name {
            MANY | WEBHOOK_ALERTMANAGER => many::BYTES,
            _ => BODY_BYTES,
        };
        let guard = middleware::from_fn_with_state((api.clone(), role), auth::require);
        router = router.routes(limited(route, most).layer(guard));
    }
    for (name, mut route) in open() {
        for (_, operation) in operations(&mut route.1) {
            operation.operation_id = Some(name.to_owned());
            may_be_wrong(operation);
            may_fail(operation);
        }
        router = router.routes(route);
    }
    let (router, mut document) = router.split_for_parts();
    complete(&mut document);
    (router, document)
}

/// A body of at most so many bytes; what announces more is refused before it is sent.
fn limited(route: Route, most: usize) -> Route {
    let announced = middleware::from_fn_with_state(most, announced);
    route.layer(DefaultBodyLimit::max(most)).layer(announced)
}

async fn announced(State(most): State<usize>, request: Request, next: Next) -> Response {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length.is_some_and(|length| length > most as u64) {
        true => tasks::body_too_large(most).into_response(),
        false => next.run(request).await,
    }
}

fn parameters(operation: &Operation) -> Vec<String> {
    let of = operation.parameters.iter().flatten();
    of.filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    })
    .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
    .map(|parameter| parameter.name.clone())
    .collect()
}

/// This document
#[utoipa::path(get, path = "/api/openapi.json", tag = "health",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
async fn document(State(api): State<Api>) -> Json<&'static OpenApi> {
    static DOCUMENT: OnceLock<OpenApi> = OnceLock::new();
    Json(DOCUMENT.get_or_init(|| all(&api).1))
}

fn head() -> OpenApi {
    let info = InfoBuilder::new()
        .title("longshore")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Tasks for longshore, a DevOps worker. Times are RFC 3339 in UTC. The role that a call needs stands at its \
             `security`; each of `read`, `enqueue`, `approve` and `admin` includes those before it.",
        ))
        .build();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token from `longshore token create`, or one of `api.tokens`. On loopback none is needed, unless the \
             configuration says so.",
        ))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme("token", SecurityScheme::Http(token))
        .schema("ErrorBody", ErrorBody::schema())
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

fn operations(paths: &mut utoipa::openapi::Paths) -> impl Iterator<Item = (String, &mut Operation)> {
    paths
        .paths
        .iter_mut()
        .flat_map(|(path, item): (_, &mut PathItem)| {
            [
                &mut item.get,
                &mut item.put,
                &mut item.post,
                &mut item.delete,
                &mut item.patch,
            ]
            .into_iter()
            .filter_map(Option::as_mut)
            .map(|operation| (path.clone(), operation))
        })
}

fn demand(operation: &mut Operation, role: Role) {
    operation.security = Some(vec![SecurityRequirement::new("token", [role.as_str()])]);
    answer(operation, "401", "No token was sent, or none that is of use");
    answer(
        operation,
        "403",
        "The token's role does not include this, or a page of another site calls",
    );
    match operation.tags.iter().flatten().any(|tag| tag == "page") {
        true => may_fail_as_page(operation),
        false => may_fail(operation),
    }
}

/// The names of an object's fields as the document has them.
#[cfg(test)]
pub(crate) fn fields_of<T: PartialSchema>() -> Vec<String> {
    let schema = serde_json::to_value(T::schema()).expect("a schema is JSON");
    let fields = schema["properties"].as_object().expect("an object's schema");
    fields.keys().cloned().collect()
}

#[cfg(test)]
pub(crate) fn sorted(fields: &[&str]) -> Vec<String> {
    let mut fields: Vec<String> = fields.iter().map(ToString::to_string).collect();
    fields.sort();
    fields
}
