use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::TicketKind;
use serde_json::{Value, json};

use super::world::{Role, Scope, Token, World, user_json};
use super::{DEFAULT_WAIT, builds, changes, deployments, flags, hooks, issues, lock, notes};
use crate::peer::{Reply, Request, Site};

/// Routes a request to what answers it, after the checks that hold for all.
pub(super) struct GitlabSite(pub(super) Arc<Mutex<World>>);

/// A request of a known user about a known project.
pub(super) struct Call<'a> {
    pub request: &'a Request,
    pub token: Token,
    pub project: u64,
}

impl Call<'_> {
    /// Refuses those below a role, as GitLab does.
    pub fn need(&self, role: Role) -> Result<(), Reply> {
        if self.token.role < role {
            return Err(Reply::message(403, "403 Forbidden"));
        }
        Ok(())
    }
}

impl Site for GitlabSite {
    fn answer(&self, request: &Request) -> Reply {
        let mut world = lock(&self.0);
        let reply = route(&mut world, request).unwrap_or_else(|refusal| refusal);
        reply
            .header("ratelimit-limit", 2000)
            .header("ratelimit-remaining", 1999)
            .header("ratelimit-name", "throttle_authenticated_api")
    }

    fn refuse(&self, status: u16, retry_after: Option<Duration>) -> Reply {
        match status {
            429 => Reply::text(429, "Retry later\n")
                .header("retry-after", retry_after.unwrap_or(DEFAULT_WAIT).as_secs())
                .header("ratelimit-limit", 2000)
                .header("ratelimit-remaining", 0),
            500 => Reply::message(500, "500 Internal Server Error"),
            // A proxy in front answers these, not GitLab itself.
            502..=504 => Reply::text(status, "<html><body>upstream trouble</body></html>"),
            _ => Reply::message(status, &format!("{status} refused on demand")),
        }
    }

    fn state(&self) -> Value {
        json!(*lock(&self.0))
    }
}

fn route(world: &mut World, request: &Request) -> Result<Reply, Reply> {
    let not_found = || Reply::json(404, &json!({ "error": "404 Not Found" }));
    let parts = request.parts("/api/v4").ok_or_else(not_found)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let token = authenticate(world, request)?;
    if parts == ["user"] {
        return Ok(Reply::json(200, &user_json(token.user)));
    }
    let ["projects", project, rest @ ..] = parts.as_slice() else {
        return Err(not_found());
    };
    let project = world
        .find_project(project)
        .ok_or_else(|| Reply::message(404, "404 Project Not Found"))?
        .id;
    let call = Call {
        request,
        token,
        project,
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(Reply::json(200, &project_json(world, project))),
        (_, ["issues", rest @ ..]) => tickets(world, &call, TicketKind::Issue, rest),
        ("GET", ["merge_requests"]) => Ok(changes::list(world, &call)),
        ("POST", ["merge_requests"]) => changes::open(world, &call),
        (_, ["merge_requests", rest @ ..]) => tickets(world, &call, TicketKind::MergeRequest, rest),
        ("POST", ["pipeline"]) => changes::start(world, &call),
        (_, ["pipelines" | "jobs", ..]) => builds::route(world, &call, rest),
        (_, ["repository", "branches", rest @ ..]) => changes::branches(world, &call, rest),
        ("POST", ["repository", "commits", sha, "revert"]) => changes::revert(world, &call, sha),
        (_, ["repository", rest @ ..]) => deployments::repository(world, &call, rest),
        (_, ["deployments", rest @ ..]) => deployments::route(world, &call, rest),
        (_, ["feature_flags", rest @ ..]) => flags::route(world, &call, rest),
        (_, ["hooks", rest @ ..]) => hooks::route(world, &call, rest),
        _ => Err(not_found()),
    }
}

fn tickets(world: &mut World, call: &Call, kind: TicketKind, rest: &[&str]) -> Result<Reply, Reply> {
    match rest {
        [iid, "notes", rest @ ..] => notes::route(world, call, kind, number(iid)?, rest),
        _ => issues::route(world, call, kind, rest),
    }
}

pub(super) fn number(part: &str) -> Result<u64, Reply> {
    part.parse()
        .map_err(|_| Reply::json(400, &json!({ "error": format!("{part} is invalid") })))
}

fn authenticate(world: &World, request: &Request) -> Result<Token, Reply> {
    let sent = request.header("private-token");
    let token = sent.and_then(|sent| world.tokens.get(sent));
    let token = token.ok_or_else(|| Reply::message(401, "401 Unauthorized"))?;
    if request.is_write() && token.scope == Scope::ReadApi {
        return Err(Reply::json(
            403,
            &json!({
                "error": "insufficient_scope",
                "error_description": "The request requires higher privileges than provided by the access token.",
                "scope": "api",
            }),
        ));
    }
    Ok(token.clone())
}

fn project_json(world: &World, id: u64) -> Value {
    let path = world
        .projects
        .get(&id)
        .map_or("", |project| project.path.as_str());
    json!({
        "id": id,
        "path_with_namespace": path,
        "name": path.rsplit('/').next(),
        "default_branch": "main",
        "web_url": world.web(id),
    })
}
