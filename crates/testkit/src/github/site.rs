use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::world::World;
use super::{OTHER_USER, OUR_USER, TOKEN, actions, changes, deployments, issues, lock};
use crate::peer::{Reply, Request, Site};

pub(super) struct GithubSite(pub(super) Arc<Mutex<World>>);

impl Site for GithubSite {
    fn answer(&self, request: &Request) -> Reply {
        let mut world = lock(&self.0);
        let reply = route(&mut world, request).unwrap_or_else(|refusal| refusal);
        reply
            .header("x-github-request-id", "FAKE:1")
            .header("x-ratelimit-remaining", 4999)
    }

    fn refuse(&self, status: u16, retry_after: Option<Duration>) -> Reply {
        match (status, retry_after) {
            // The secondary limit answers 403 as often as 429.
            (429, Some(wait)) => Reply::message(403, "You have exceeded a secondary rate limit.")
                .header("retry-after", wait.as_secs())
                .header("x-github-request-id", "FAKE:1"),
            (502..=504, _) => Reply::text(status, "<html><body>Unicorn!</body></html>"),
            _ => Reply::message(status, &format!("{status} refused on demand")),
        }
    }

    fn state(&self) -> Value {
        json!(*lock(&self.0))
    }
}

fn route(world: &mut World, request: &Request) -> Result<Reply, Reply> {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Err(Reply::message(401, "Bad credentials"));
    }
    // An instance of one's own has its API below this path; both are served.
    let parts = request
        .parts("/api/v3/")
        .or_else(|| request.parts("/"))
        .unwrap_or_default();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if parts == ["user"] {
        return Ok(Reply::json(200, &user_json(OUR_USER)));
    }
    // Of an instance of one's own it stands at `/api/graphql`.
    if request.path == "/api/graphql" {
        return Ok(changes::graphql(world, request));
    }
    let ["repos", owner, name, rest @ ..] = parts.as_slice() else {
        return Err(not_found());
    };
    let repo = format!("{owner}/{name}");
    if !world.repos.contains(&repo) {
        return Err(not_found());
    }
    let refused = world.read_only && request.is_write();
    match rest {
        ["actions", rest @ ..] => actions::route(world, request, &repo, rest, refused),
        ["commits", sha, "pulls"] => changes::of_commit(world, &repo, sha),
        ["pulls"] => Ok(changes::list(world, request, &repo)),
        ["commits", reference @ ..] => deployments::commit(world, &repo, reference),
        ["deployments", rest @ ..] => deployments::route(world, request, &repo, rest, refused),
        ["issues", rest @ ..] => issues::route(world, request, &repo, rest, refused),
        _ => Err(not_found()),
    }
}

pub(super) fn not_found() -> Reply {
    Reply::message(404, "Not Found")
}

pub(super) fn no_rights() -> Reply {
    Reply::message(403, "Resource not accessible by personal access token")
}

/// The asked page: `page` from 1, `per_page` 30 unless asked, 100 at most.
pub(super) fn page(request: &Request, all: Vec<Value>) -> Vec<Value> {
    let number = |name: &str| request.param(name).and_then(|value| value.parse::<usize>().ok());
    let per_page = number("per_page").unwrap_or(30).clamp(1, 100);
    let page = number("page").unwrap_or(1).max(1);
    all.into_iter()
        .skip((page - 1) * per_page)
        .take(per_page)
        .collect()
}

pub(super) fn user_json(id: u64) -> Value {
    let login = match id {
        OUR_USER => "longshore-bot",
        OTHER_USER => "ada",
        _ => "someone",
    };
    json!({ "id": id, "login": login, "type": "User" })
}
