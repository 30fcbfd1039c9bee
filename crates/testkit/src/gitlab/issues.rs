use domain::TicketKind;
use serde_json::{Map, Value, json};

use super::paging::page;
use super::site::{Call, number};
use super::world::{Role, Ticket, World, user_json};
use crate::peer::Reply;

/// What an update may change, one of which must be there.
const FIELDS: [&str; 7] = [
    "title",
    "description",
    "labels",
    "add_labels",
    "remove_labels",
    "state_event",
    "discussion_locked",
];

/// Issues and merge requests: get, list, create, update.
pub(super) fn route(world: &mut World, call: &Call, kind: TicketKind, rest: &[&str]) -> Result<Reply, Reply> {
    match (call.request.method.as_str(), rest) {
        ("GET", []) => Ok(list(world, call, kind)),
        ("POST", []) if kind == TicketKind::Issue => create(world, call),
        ("GET", [iid]) => {
            let ticket = find(world, call, kind, number(iid)?)?.clone();
            Ok(Reply::json(200, &ticket_json(world, &ticket)))
        }
        ("PUT", [iid]) => update(world, call, kind, number(iid)?),
        _ => Err(Reply::json(405, &json!({ "error": "405 Not Allowed" }))),
    }
}

pub(super) fn find<'a>(
    world: &'a mut World,
    call: &Call,
    kind: TicketKind,
    iid: u64,
) -> Result<&'a mut Ticket, Reply> {
    let missing = match kind {
        TicketKind::Issue => "404 Issue Not Found",
        TicketKind::MergeRequest => "404 Not found",
    };
    world
        .tickets
        .iter_mut()
        .find(|ticket| (ticket.project, ticket.kind, ticket.iid) == (call.project, kind, iid))
        .ok_or_else(|| Reply::message(404, missing))
}

fn list(world: &World, call: &Call, kind: TicketKind) -> Reply {
    let labels = call.request.param("labels").map(split).unwrap_or_default();
    let state = call.request.param("state").unwrap_or("all");
    let search = call.request.param("search").unwrap_or_default().to_lowercase();
    let fits = |ticket: &&Ticket| {
        (ticket.project, ticket.kind) == (call.project, kind)
            && (state == "all" || (state == "opened") == ticket.open)
            && labels.iter().all(|label| ticket.labels.contains(label))
            && (ticket.title.to_lowercase().contains(&search)
                || ticket.description.to_lowercase().contains(&search))
    };
    // Newest first unless asked otherwise.
    let found = world.tickets.iter().rev().filter(fits);
    page(
        call.request,
        found.map(|ticket| ticket_json(world, ticket)).collect(),
    )
}

fn create(world: &mut World, call: &Call) -> Result<Reply, Reply> {
    call.need(Role::Guest)?;
    let fields = call.request.fields();
    let title = text(&fields, "title").filter(|title| !title.trim().is_empty());
    let title = title.ok_or_else(|| Reply::json(400, &json!({ "error": "title is missing" })))?;
    let path = world.projects[&call.project].path.clone();
    let iid = world.open_ticket(&path, TicketKind::Issue, &title, &[]);
    let ticket = find(world, call, TicketKind::Issue, iid)?;
    ticket.description = text(&fields, "description").unwrap_or_default();
    ticket.labels = labels(&fields, "labels");
    let ticket = ticket.clone();
    Ok(Reply::json(201, &ticket_json(world, &ticket)))
}

fn update(world: &mut World, call: &Call, kind: TicketKind, iid: u64) -> Result<Reply, Reply> {
    let ticket = find(world, call, kind, iid)?;
    call.need(Role::Reporter)?;
    let fields = call.request.fields();
    if !FIELDS.iter().any(|known| fields.contains_key(*known)) {
        let error = format!(
            "{} are missing, at least one parameter must be provided",
            FIELDS.join(", ")
        );
        return Err(Reply::json(400, &json!({ "error": error })));
    }
    match text(&fields, "state_event").as_deref() {
        None => {}
        Some("close") => ticket.open = false,
        Some("reopen") => ticket.open = true,
        Some(_) => {
            return Err(Reply::json(
                400,
                &json!({ "error": "state_event does not have a valid value" }),
            ));
        }
    }
    if let Some(title) = text(&fields, "title") {
        ticket.title = title;
    }
    if let Some(description) = text(&fields, "description") {
        ticket.description = description;
    }
    if fields.contains_key("labels") {
        ticket.labels = labels(&fields, "labels");
    }
    let removed = labels(&fields, "remove_labels");
    ticket.labels.retain(|label| !removed.contains(label));
    for label in labels(&fields, "add_labels") {
        if !ticket.labels.contains(&label) {
            ticket.labels.push(label);
        }
    }
    let ticket = ticket.clone();
    Ok(Reply::json(200, &ticket_json(world, &ticket)))
}

/// A field's text; lists count as text joined by commas, as GitLab takes both.
pub(super) fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(","),
        ),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

fn labels(fields: &Map<String, Value>, name: &str) -> Vec<String> {
    text(fields, name)
        .map(|labels| split(&labels))
        .unwrap_or_default()
}

fn split(labels: &str) -> Vec<String> {
    let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
    labels.map(str::to_owned).collect()
}

fn ticket_json(world: &World, ticket: &Ticket) -> Value {
    let folder = match ticket.kind {
        TicketKind::Issue => "issues",
        TicketKind::MergeRequest => "merge_requests",
    };
    json!({
        "id": 10_000 * ticket.project + ticket.iid,
        "iid": ticket.iid,
        "project_id": ticket.project,
        "title": ticket.title,
        "description": ticket.description,
        "state": if ticket.open { "opened" } else { "closed" },
        "discussion_locked": ticket.locked.then_some(true),
        "labels": ticket.labels,
        "author": user_json(super::OTHER_USER),
        "web_url": format!("{}/-/{folder}/{}", world.web(ticket.project), ticket.iid),
    })
}
