use domain::TicketKind;
use serde_json::{Value, json};

use super::issues::{find, text};
use super::paging::page;
use super::site::{Call, number};
use super::world::{Note, QuickAction, Role, World, user_json};
use crate::peer::Reply;

/// Longest body that GitLab takes (docs.gitlab.com/administration/instance_limits, "size of comments").
const LONGEST: usize = 1_000_000;

/// Notes: list, get, create, edit, delete (docs.gitlab.com/api/notes).
pub(super) fn route(
    world: &mut World,
    call: &Call,
    kind: TicketKind,
    iid: u64,
    rest: &[&str],
) -> Result<Reply, Reply> {
    find(world, call, kind, iid)?;
    match (call.request.method.as_str(), rest) {
        ("GET", []) => Ok(list(world, call, kind, iid)),
        ("POST", []) => create(world, call, kind, iid),
        ("GET", [note]) => {
            let note = find_note(world, call, kind, iid, number(note)?)?;
            Ok(Reply::json(200, &note_json(note)))
        }
        ("PUT", [note]) => edit(world, call, kind, iid, number(note)?),
        ("DELETE", [note]) => {
            let id = own_note(world, call, kind, iid, number(note)?)?.id;
            world.notes.retain(|note| note.id != id);
            Ok(Reply::empty(204))
        }
        _ => Err(Reply::json(405, &json!({ "error": "405 Not Allowed" }))),
    }
}

fn list(world: &World, call: &Call, kind: TicketKind, iid: u64) -> Reply {
    let here = |note: &&Note| (note.project, note.kind, note.iid) == (call.project, kind, iid);
    let mut found: Vec<Value> = world.notes.iter().filter(here).map(note_json).collect();
    if call.request.param("sort").unwrap_or("desc") == "desc" {
        found.reverse();
    }
    page(call.request, found)
}

fn create(world: &mut World, call: &Call, kind: TicketKind, iid: u64) -> Result<Reply, Reply> {
    let locked = find(world, call, kind, iid)?.locked;
    if locked && call.token.role == Role::NoMember {
        return Err(Reply::message(403, "403 Forbidden"));
    }
    let body = checked_body(call)?;
    let (actions, words): (Vec<&str>, Vec<&str>) = body.lines().partition(|line| is_quick_action(line));
    world.quick_actions.extend(actions.iter().map(|line| QuickAction {
        iid,
        line: (*line).to_owned(),
    }));
    if !actions.is_empty() && words.iter().all(|line| line.trim().is_empty()) {
        let answer = json!({ "commands_changes": {}, "summary": ["Applied the quick actions."] });
        return Ok(Reply::json(202, &answer));
    }
    let body = if actions.is_empty() {
        body
    } else {
        words.join("\n")
    };
    let path = world.projects[&call.project].path.clone();
    let id = world.add_note(&path, kind, iid, call.token.user, &body);
    let note = find_note(world, call, kind, iid, id)?;
    Ok(Reply::json(201, &note_json(note)))
}

fn edit(world: &mut World, call: &Call, kind: TicketKind, iid: u64, id: u64) -> Result<Reply, Reply> {
    let note = own_note(world, call, kind, iid, id)?;
    note.body = checked_body(call)?;
    note.edits += 1;
    Ok(Reply::json(200, &note_json(note)))
}

fn find_note<'a>(
    world: &'a mut World,
    call: &Call,
    kind: TicketKind,
    iid: u64,
    id: u64,
) -> Result<&'a mut Note, Reply> {
    world
        .notes
        .iter_mut()
        .find(|note| (note.project, note.kind, note.iid, note.id) == (call.project, kind, iid, id))
        .ok_or_else(|| Reply::message(404, "404 Note Not Found"))
}

fn own_note<'a>(
    world: &'a mut World,
    call: &Call,
    kind: TicketKind,
    iid: u64,
    id: u64,
) -> Result<&'a mut Note, Reply> {
    let note = find_note(world, call, kind, iid, id)?;
    if note.author != call.token.user && call.token.role < Role::Maintainer {
        return Err(Reply::message(403, "403 Forbidden"));
    }
    Ok(note)
}

fn checked_body(call: &Call) -> Result<String, Reply> {
    let body = text(&call.request.fields(), "body");
    let body = body.ok_or_else(|| Reply::json(400, &json!({ "error": "body is missing" })))?;
    let wrong = if body.trim().is_empty() {
        "can't be blank".to_owned()
    } else if body.chars().count() > LONGEST {
        format!("is too long (maximum is {LONGEST} characters)")
    } else {
        return Ok(body);
    };
    let message = format!("400 Bad request - Note {{:note=>[\"{wrong}\"]}}");
    Err(Reply::message(400, &message))
}

/// A line that GitLab would take as a command. Cruder than GitLab, which spares code blocks: what passes here is safe there.
fn is_quick_action(line: &str) -> bool {
    let command = line.strip_prefix('/');
    command.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
}

fn note_json(note: &Note) -> Value {
    json!({
        "id": note.id,
        "type": null,
        "body": note.body,
        "author": user_json(note.author),
        "created_at": note.created_at,
        "updated_at": note.created_at,
        "system": note.system,
        "noteable_type": match note.kind {
            TicketKind::Issue => "Issue",
            TicketKind::MergeRequest => "MergeRequest",
        },
        "project_id": note.project,
        "noteable_iid": note.iid,
        "resolvable": false,
        "confidential": false,
        "internal": false,
    })
}
