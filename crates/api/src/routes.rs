//! Every route, with the role that it demands. The OpenAPI document is made from this list, so a route cannot be missing
//! from it: to add one, write a handler with `#[utoipa::path]`, whose answers are `ToSchema`, and name it here.

use std::sync::OnceLock;

use axum::extract::{DefaultBodyLimit, State};
use axum::{Json, Router, middleware};
use domain::Role;
use utoipa::PartialSchema;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use crate::error::ErrorBody;
use crate::server::Api;
use crate::{
    PAYLOAD_BYTES, approve, auth, detail, health, live, many, page, queue, rules, schedules, tasks, webhook,
};

/// Room around a payload for the other fields and for JSON written less tightly than Postgres writes it.
const BODY_BYTES: usize = 2 * PAYLOAD_BYTES;
/// GitLab's and GitHub's own limit on a webhook's body is 25 MB.
const WEBHOOK_BYTES: usize = 25 * 1000 * 1000;

type Route = UtoipaMethodRouter<Api>;

/// What demands a token of a role, where tokens are demanded.
fn guarded() -> Vec<(Role, Route)> {
    use Role::{Admin, Approve, Enqueue, Read};
    vec![
        (Read, routes!(tasks::list)),
        (Enqueue, routes!(tasks::create)),
        (
            Enqueue,
            routes!(many::create).layer(DefaultBodyLimit::max(many::BYTES)),
        ),
        (Read, routes!(detail::show)),
        (Read, routes!(live::of_task)),
        (Read, routes!(live::of_all)),
        (Enqueue, routes!(tasks::cancel)),
        (Enqueue, routes!(tasks::retry)),
        (Approve, routes!(approve::approve)),
        (Approve, routes!(approve::reject)),
        (Enqueue, routes!(queue::cancel)),
        (Enqueue, routes!(queue::retry)),
        (Read, routes!(queue::dead)),
        (Admin, routes!(tasks::reset_stale)),
        (Read, routes!(schedules::list)),
        (Read, routes!(schedules::show)),
        (Admin, routes!(schedules::set)),
        (Admin, routes!(schedules::delete)),
        (Admin, routes!(schedules::enable)),
        (Admin, routes!(schedules::disable)),
        (Enqueue, routes!(schedules::run)),
        (Read, routes!(rules::list)),
        (Admin, routes!(rules::set_all)),
        (Admin, routes!(rules::delete_all)),
        (Admin, routes!(rules::set)),
        (Admin, routes!(rules::delete)),
        (
            Enqueue,
            routes!(webhook::alertmanager::receive).layer(DefaultBodyLimit::max(many::BYTES)),
        ),
        (Read, routes!(health::metrics)),
        (Read, routes!(page::tasks)),
        (Read, routes!(page::task)),
    ]
}

/// What anybody may call who can connect. Webhooks bring a secret of their own.
fn open() -> Vec<Route> {
    vec![
        routes!(document),
        routes!(health::health),
        routes!(health::alive),
        routes!(health::ready),
        routes!(page::style),
        routes!(webhook::gitlab::receive).layer(DefaultBodyLimit::max(WEBHOOK_BYTES)),
        routes!(webhook::github::receive).layer(DefaultBodyLimit::max(WEBHOOK_BYTES)),
    ]
}

/// The routes and their description.
pub fn all(api: &Api) -> (Router<Api>, OpenApi) {
    let mut router = OpenApiRouter::with_openapi(head());
    for (role, mut route) in guarded() {
        for operation in operations(&mut route.1) {
            demand(operation, role);
        }
        let guard = middleware::from_fn_with_state((api.clone(), role), auth::require);
        router = router.routes(route.layer(DefaultBodyLimit::max(BODY_BYTES)).layer(guard));
    }
    for mut route in open() {
        operations(&mut route.1).for_each(may_fail);
        router = router.routes(route);
    }
    router.split_for_parts()
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

fn operations(paths: &mut utoipa::openapi::Paths) -> impl Iterator<Item = &mut Operation> {
    paths.paths.values_mut().flat_map(|item: &mut PathItem| {
        [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ]
        .into_iter()
        .filter_map(Option::as_mut)
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
    may_fail(operation);
}

fn may_fail(operation: &mut Operation) {
    answer(
        operation,
        "default",
        "It could not be done; `error` says why and what to do",
    );
}

fn answer(operation: &mut Operation, status: &str, description: &str) {
    let error = Content::new(Some(RefOr::Ref(Ref::from_schema_name("ErrorBody"))));
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", error)
        .build();
    let answers = &mut operation.responses.responses;
    answers.entry(status.to_owned()).or_insert(RefOr::T(response));
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
