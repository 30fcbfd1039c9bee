use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::issues::text;
use super::paging::page;
use super::site::{Call, number};
use super::world::{Hook, Role, World};
use crate::peer::Reply;

const EVENTS: [&str; 6] = [
    "push_events",
    "issues_events",
    "note_events",
    "merge_requests_events",
    "job_events",
    "pipeline_events",
];

/// Project webhooks (docs.gitlab.com/api/project_webhooks). The secret goes in and never comes out.
pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    call.need(Role::Maintainer)?;
    match (call.request.method.as_str(), rest) {
        ("GET", []) => {
            let here = world.hooks.iter().filter(|hook| hook.project == call.project);
            Ok(page(call.request, here.map(hook_json).collect()))
        }
        ("POST", []) => {
            let mut hook = Hook {
                id: world.number(),
                project: call.project,
                url: String::new(),
                // GitLab turns pushes on unless told otherwise.
                events: BTreeMap::from([("push_events".to_owned(), true)]),
                ssl_verification: true,
                token: None,
            };
            apply(&mut hook, &call.request.fields())?;
            let answer = hook_json(&hook);
            world.hooks.push(hook);
            Ok(Reply::json(201, &answer))
        }
        ("PUT", [id]) => {
            let id = number(id)?;
            let mut hooks = world.hooks.iter_mut();
            let hook = hooks.find(|hook| (hook.project, hook.id) == (call.project, id));
            let hook = hook.ok_or_else(|| Reply::message(404, "404 Not found"))?;
            apply(hook, &call.request.fields())?;
            Ok(Reply::json(200, &hook_json(hook)))
        }
        _ => Err(Reply::json(405, &json!({ "error": "405 Not Allowed" }))),
    }
}

fn apply(hook: &mut Hook, fields: &Map<String, Value>) -> Result<(), Reply> {
    if let Some(url) = text(fields, "url") {
        hook.url = url;
    }
    if !hook.url.starts_with("http") {
        return Err(Reply::json(422, &json!({ "error": "Invalid url given" })));
    }
    for event in EVENTS {
        if let Some(value) = text(fields, event) {
            hook.events.insert(event.to_owned(), value == "true");
        }
    }
    if let Some(value) = text(fields, "enable_ssl_verification") {
        hook.ssl_verification = value == "true";
    }
    if let Some(token) = text(fields, "token") {
        hook.token = Some(token);
    }
    Ok(())
}

fn hook_json(hook: &Hook) -> Value {
    let mut answer = json!({
        "id": hook.id,
        "project_id": hook.project,
        "url": hook.url,
        "enable_ssl_verification": hook.ssl_verification,
    });
    for event in EVENTS {
        answer[event] = Value::from(hook.events.get(event).copied().unwrap_or(false));
    }
    answer
}
