use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use domain::TicketKind;
use serde::Serialize;
use serde_json::{Value, json};

use super::changes::{Branch, MergeRequest};
use super::deployments::{Commit, Deployment, Environment};
use super::flags::FeatureFlag;
use super::{OTHER_USER, OUR_USER, TOKEN};

/// All that the fake keeps.
#[derive(Debug, Serialize)]
pub struct World {
    #[serde(skip)]
    pub(super) base: String,
    #[serde(skip)]
    pub tokens: HashMap<String, Token>,
    pub projects: BTreeMap<u64, Project>,
    pub tickets: Vec<Ticket>,
    pub notes: Vec<Note>,
    pub pipelines: BTreeMap<u64, Pipeline>,
    pub builds: BTreeMap<u64, Build>,
    pub hooks: Vec<Hook>,
    pub commits: Vec<Commit>,
    pub environments: Vec<Environment>,
    pub deployments: Vec<Deployment>,
    pub flags: Vec<FeatureFlag>,
    /// How many times a flag was changed by request.
    pub flag_changes: usize,
    /// Quick actions that stood in note bodies.
    pub quick_actions: Vec<QuickAction>,
    /// How many jobs were run again by request.
    pub retries: usize,
    /// How many pipelines were started by request.
    pub begun: usize,
    pub branches: Vec<Branch>,
    pub merge_requests: Vec<MergeRequest>,
    /// Commits that cannot be reverted without a person.
    pub(super) built_on: BTreeSet<String>,
    last_id: u64,
}

#[derive(Clone, Debug)]
pub struct Token {
    pub user: u64,
    pub scope: Scope,
    pub role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    ReadApi,
    Api,
}

/// Roles in all projects, in the order of their power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    NoMember,
    Guest,
    Reporter,
    Developer,
    Maintainer,
}

#[derive(Clone, Debug, Serialize)]
pub struct Project {
    pub id: u64,
    pub path: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Ticket {
    pub project: u64,
    pub kind: TicketKind,
    pub iid: u64,
    pub title: String,
    pub description: String,
    pub open: bool,
    pub locked: bool,
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Note {
    pub id: u64,
    pub project: u64,
    pub kind: TicketKind,
    pub iid: u64,
    pub author: u64,
    pub body: String,
    /// Written by GitLab itself: "closed", "added label".
    pub system: bool,
    pub edits: usize,
    pub created_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    pub id: u64,
    pub project: u64,
    pub status: String,
    pub git_ref: String,
    pub sha: String,
    pub children: Vec<ChildLink>,
    /// What started it: `push`, `api`.
    pub source: &'static str,
    pub variables: Vec<(String, String)>,
}

/// A trigger job and the pipeline that it made.
#[derive(Clone, Debug, Serialize)]
pub struct ChildLink {
    pub id: u64,
    pub name: String,
    pub status: String,
    /// None when the pipeline could not be made.
    pub pipeline: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Build {
    pub id: u64,
    pub project: u64,
    pub pipeline: u64,
    pub name: String,
    pub stage: String,
    pub status: String,
    pub allow_failure: bool,
    pub failure_reason: Option<String>,
    pub retried: bool,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub log: LogText,
}

/// A job's log, which may be far larger than memory.
#[derive(Clone, Debug)]
pub enum LogText {
    Bytes(Vec<u8>),
    /// `piece` written `times` times.
    Repeated {
        piece: Vec<u8>,
        times: u64,
    },
}

#[derive(Clone, Debug, Serialize)]
pub struct Hook {
    pub id: u64,
    pub project: u64,
    pub url: String,
    pub events: BTreeMap<String, bool>,
    pub ssl_verification: bool,
    #[serde(skip)]
    pub token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuickAction {
    pub iid: u64,
    pub line: String,
}

impl World {
    pub(super) fn new() -> Self {
        let ours = Token {
            user: OUR_USER,
            scope: Scope::Api,
            role: Role::Developer,
        };
        Self {
            base: String::new(),
            tokens: HashMap::from([(TOKEN.to_owned(), ours)]),
            projects: BTreeMap::new(),
            tickets: Vec::new(),
            notes: Vec::new(),
            pipelines: BTreeMap::new(),
            builds: BTreeMap::new(),
            hooks: Vec::new(),
            commits: Vec::new(),
            environments: Vec::new(),
            deployments: Vec::new(),
            flags: Vec::new(),
            flag_changes: 0,
            quick_actions: Vec::new(),
            retries: 0,
            begun: 0,
            branches: Vec::new(),
            merge_requests: Vec::new(),
            built_on: BTreeSet::new(),
            last_id: 100,
        }
    }

    /// A new number, unique in the whole instance.
    pub fn number(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A moment that lies after all earlier ones: the fake's clock goes by its numbers.
    pub fn moment(&mut self) -> DateTime<Utc> {
        let start = DateTime::from_timestamp(1_767_225_600, 0).expect("the start of 2026");
        start + TimeDelta::seconds(self.number().cast_signed())
    }

    /// The number of the project at this path, made if need be.
    pub fn project(&mut self, path: &str) -> u64 {
        if let Some(project) = self.projects.values().find(|project| project.path == path) {
            return project.id;
        }
        let id = self.number();
        let path = path.to_owned();
        self.projects.insert(id, Project { id, path });
        id
    }

    /// Finds a project as the API names it: by number or by path.
    pub(super) fn find_project(&self, name: &str) -> Option<&Project> {
        match name.parse::<u64>() {
            Ok(id) => self.projects.get(&id),
            Err(_) => self
                .projects
                .values()
                .find(|project| project.path.eq_ignore_ascii_case(name)),
        }
    }

    pub fn open_ticket(&mut self, path: &str, kind: TicketKind, title: &str, labels: &[&str]) -> u64 {
        let project = self.project(path);
        let here = self
            .tickets
            .iter()
            .filter(|ticket| (ticket.project, ticket.kind) == (project, kind));
        let iid = here.map(|ticket| ticket.iid).max().unwrap_or_default() + 1;
        self.tickets.push(Ticket {
            project,
            kind,
            iid,
            title: title.to_owned(),
            description: String::new(),
            open: true,
            locked: false,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        });
        iid
    }

    pub fn ticket(&mut self, path: &str, kind: TicketKind, iid: u64) -> Option<&mut Ticket> {
        let project = self.find_project(path)?.id;
        let mut tickets = self.tickets.iter_mut();
        tickets.find(|ticket| (ticket.project, ticket.kind, ticket.iid) == (project, kind, iid))
    }

    pub fn delete_ticket(&mut self, path: &str, kind: TicketKind, iid: u64) {
        let project = self.project(path);
        self.tickets
            .retain(|ticket| (ticket.project, ticket.kind, ticket.iid) != (project, kind, iid));
        self.notes
            .retain(|note| (note.project, note.kind, note.iid) != (project, kind, iid));
    }

    /// A note of a user, without the checks of the API.
    pub fn add_note(&mut self, path: &str, kind: TicketKind, iid: u64, author: u64, body: &str) -> u64 {
        let (project, created_at) = (self.project(path), self.moment());
        let id = self.number();
        self.notes.push(Note {
            id,
            project,
            kind,
            iid,
            author,
            body: body.to_owned(),
            system: false,
            edits: 0,
            created_at,
        });
        id
    }

    /// The project may be named by path or by number.
    pub fn notes_on(&self, project: &str, kind: TicketKind, iid: u64) -> impl Iterator<Item = &Note> {
        let project = self.find_project(project).map(|project| project.id);
        self.notes
            .iter()
            .filter(move |note| Some(note.project) == project && (note.kind, note.iid) == (kind, iid))
    }

    /// Sets what our token may do.
    pub fn limit_token(&mut self, scope: Scope, role: Role) {
        if let Some(token) = self.tokens.get_mut(TOKEN) {
            (token.scope, token.role) = (scope, role);
        }
    }

    pub(super) fn web(&self, project: u64) -> String {
        let path = self
            .projects
            .get(&project)
            .map_or("", |project| project.path.as_str());
        format!("{}/{path}", self.base)
    }
}

pub(super) fn user_json(id: u64) -> Value {
    let username = match id {
        OUR_USER => "longshore-bot",
        OTHER_USER => "ada",
        _ => "someone",
    };
    json!({ "id": id, "username": username, "name": username, "state": "active" })
}
