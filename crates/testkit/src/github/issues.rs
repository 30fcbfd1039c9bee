use serde_json::{Value, json};

use super::OUR_USER;
use super::site::{no_rights, not_found, page, user_json};
use super::world::{Comment, Issue, World};
use crate::peer::{Reply, Request};

/// GitHub's limit on the body of a comment, in characters.
const LONGEST: usize = 65_536;

/// Issues (and pull requests, which are issues here), their comments and labels.
pub(super) fn route(
    world: &mut World,
    request: &Request,
    repo: &str,
    rest: &[&str],
    refused: bool,
) -> Result<Reply, Reply> {
    if let ["comments", id] = rest {
        return comment(world, request, repo, number(id)?, refused);
    }
    let [issue, rest @ ..] = rest else {
        return Err(not_found());
    };
    let issue = number(issue)?;
    let found = find(world, repo, issue)?;
    match (request.method.as_str(), rest) {
        ("GET", []) => {
            let found = found.clone();
            Ok(Reply::json(200, &issue_json(world, &found)))
        }
        ("GET", ["comments"]) => {
            let here = world
                .comments
                .iter()
                .filter(|comment| comment.repo == repo && comment.issue == issue);
            let all = here.map(|comment| comment_json(world, comment)).collect();
            Ok(Reply::json(200, &Value::Array(page(request, all))))
        }
        ("GET", ["labels"]) => Ok(labels_json(found)),
        _ if refused => Err(no_rights()),
        ("POST", ["comments"]) => {
            if found.locked {
                return Err(Reply::message(
                    403,
                    "Unable to create comment because issue is locked.",
                ));
            }
            let body = checked_body(request)?;
            let id = world.add_comment(repo, issue, OUR_USER, &body);
            let made = world
                .comments
                .iter()
                .find(|comment| comment.id == id)
                .ok_or_else(not_found)?;
            Ok(Reply::json(201, &comment_json(world, made)))
        }
        ("POST", ["labels"]) => {
            let fields = request.fields();
            let labels = fields
                .get("labels")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            for label in labels.iter().filter_map(Value::as_str) {
                if !found.labels.iter().any(|has| has == label) {
                    found.labels.push(label.to_owned());
                }
            }
            Ok(labels_json(found))
        }
        ("DELETE", ["labels", label]) => {
            if !found.labels.iter().any(|has| has == label) {
                return Err(Reply::message(404, "Label does not exist"));
            }
            found.labels.retain(|has| has != label);
            Ok(labels_json(found))
        }
        _ => Err(not_found()),
    }
}

fn comment(world: &mut World, request: &Request, repo: &str, id: u64, refused: bool) -> Result<Reply, Reply> {
    let at = world
        .comments
        .iter()
        .position(|comment| comment.repo == repo && comment.id == id);
    let at = at.ok_or_else(not_found)?;
    if refused || request.is_write() && world.comments[at].author != OUR_USER {
        return Err(no_rights());
    }
    match request.method.as_str() {
        "GET" => {}
        "PATCH" => {
            world.comments[at].body = checked_body(request)?;
            world.comments[at].edits += 1;
        }
        "DELETE" => {
            world.comments.remove(at);
            return Ok(Reply::empty(204));
        }
        _ => return Err(not_found()),
    }
    Ok(Reply::json(200, &comment_json(world, &world.comments[at])))
}

fn find<'a>(world: &'a mut World, repo: &str, number: u64) -> Result<&'a mut Issue, Reply> {
    match world.issue(repo, number) {
        Some(issue) if issue.deleted => Err(Reply::message(410, "This issue was deleted")),
        Some(issue) => Ok(issue),
        None => Err(not_found()),
    }
}

fn checked_body(request: &Request) -> Result<String, Reply> {
    let fields = request.fields();
    let body = fields.get("body").and_then(Value::as_str).unwrap_or_default();
    let wrong = if body.is_empty() {
        "body cannot be blank".to_owned()
    } else if body.chars().count() > LONGEST {
        format!("body is too long (maximum is {LONGEST} characters)")
    } else {
        return Ok(body.to_owned());
    };
    Err(Reply::json(
        422,
        &json!({ "message": "Validation Failed", "errors": [{ "code": "unprocessable", "message": wrong }] }),
    ))
}

fn number(part: &str) -> Result<u64, Reply> {
    part.parse().map_err(|_| not_found())
}

fn labels_json(issue: &Issue) -> Reply {
    Reply::json(200, &Value::Array(label_values(issue)))
}

fn label_values(issue: &Issue) -> Vec<Value> {
    issue
        .labels
        .iter()
        .map(|label| json!({ "id": 1, "name": label, "color": "ededed" }))
        .collect()
}

fn issue_json(world: &World, issue: &Issue) -> Value {
    json!({
        "id": issue.number,
        "number": issue.number,
        "title": issue.title,
        "state": if issue.open { "open" } else { "closed" },
        "locked": issue.locked,
        "labels": label_values(issue),
        "html_url": format!("{}/{}/issues/{}", world.base, issue.repo, issue.number),
    })
}

fn comment_json(world: &World, comment: &Comment) -> Value {
    json!({
        "id": comment.id,
        "body": comment.body,
        "user": user_json(comment.author),
        "html_url": format!("{}/{}/issues/{}#issuecomment-{}", world.base, comment.repo, comment.issue, comment.id),
    })
}
