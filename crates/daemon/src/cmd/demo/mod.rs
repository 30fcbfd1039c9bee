//! `longshore dev --demo`: real tasks over the logs in `docs/demo`, releases under live traffic, and what comes of them.

mod releases;
mod site;

use std::collections::BTreeMap;

use adapter_forge::LocalTickets;
use domain::{Autonomy, Error, NewTask, Repo, TaskId, TicketKind, TicketRef};
use serde_json::json;
use store::{NewRepo, Store, TaskRow};
use tokio::time::{Duration, Instant};

use super::watch::Shown;
use crate::exit::Exit;
use crate::output::{Output, Paint, harmless};

pub use site::Site;

struct Case {
    /// The ticket's number and title.
    iid: u64,
    title: &'static str,
    asks: Asks,
    /// The state in which the task must end.
    ends: &'static str,
}

enum Asks {
    Diagnose { job: &'static str, log: &'static str },
    Instruction(&'static str),
}

const CASES: [Case; 5] = [
    Case {
        iid: 11,
        title: "main is red: build",
        asks: Asks::Diagnose {
            job: "build",
            log: include_str!("../../../../../docs/demo/compile-error.log"),
        },
        ends: "completed",
    },
    Case {
        iid: 12,
        title: "main is red: test",
        asks: Asks::Diagnose {
            job: "test",
            log: include_str!("../../../../../docs/demo/test-failure.log"),
        },
        ends: "completed",
    },
    Case {
        iid: 13,
        title: "nightly failed once more",
        asks: Asks::Diagnose {
            job: "web",
            log: include_str!("../../../../../docs/demo/registry-unreachable.log"),
        },
        ends: "completed",
    },
    Case {
        iid: 14,
        title: "bundling dies",
        asks: Asks::Diagnose {
            job: "bundle",
            log: include_str!("../../../../../docs/demo/out-of-memory.log"),
        },
        ends: "completed",
    },
    Case {
        iid: 15,
        title: "please help",
        asks: Asks::Instruction("make the build nice and green again"),
        ends: "failed",
    },
];

const PROJECT: &str = "shop/checkout";
const SLUG: &str = "demo-checkout";
/// Far more than the demo takes; a machine that needs longer has another problem.
const LIMIT: Duration = Duration::from_secs(180);
const EVERY: Duration = Duration::from_millis(100);

/// Makes the tasks, follows them to their ends and prints the tickets. `No` when one did not end as it should.
pub async fn run(
    store: &Store,
    tickets: &LocalTickets,
    site: Result<&Site, &str>,
    out: Output,
) -> Result<Exit, Error> {
    let mut exit = builds(store, tickets, out).await?;
    match site {
        Ok(site) => {
            if releases::run(store, tickets, site, out).await? != Exit::Done {
                exit = Exit::No;
            }
        }
        Err(why_not) if out.json => out.value(&json!({ "what": "releases", "text": why_not }))?,
        Err(why_not) => out.text(&format!("\n{why_not}"))?,
    }
    Ok(exit)
}

async fn builds(store: &Store, tickets: &LocalTickets, out: Output) -> Result<Exit, Error> {
    let repo = repo(store).await?;
    let mut open = BTreeMap::new();
    for case in &CASES {
        tickets.open(&ticket(&repo, case.iid), case.title, &[])?;
        let id = store.create_task(&task(&repo, case)).await?;
        say(out, &format!("#{} {}", case.iid, case.title), "task created", &id)?;
        open.insert(id, case.iid);
    }
    let ended = follow(store, open, out).await?;
    let as_it_should = |case: &&Case| {
        let task = ended.get(&case.iid);
        task.is_some_and(|task| task.status.as_str() == case.ends)
    };
    let well = CASES.iter().filter(as_it_should).count();
    for case in &CASES {
        print(tickets, &repo, case.iid, out)?;
    }
    Ok(if well == CASES.len() { Exit::Done } else { Exit::No })
}

/// Tells what happens to tasks until all of them are over and their tickets were told, and answers with them, by their
/// tickets.
async fn follow(
    store: &Store,
    tasks: BTreeMap<TaskId, u64>,
    out: Output,
) -> Result<BTreeMap<u64, TaskRow>, Error> {
    let mut open: BTreeMap<TaskId, (u64, Shown)> = tasks
        .into_iter()
        .map(|(id, iid)| (id, (iid, Shown::default())))
        .collect();
    let mut ended = BTreeMap::new();
    let until = Instant::now() + LIMIT;
    while !open.is_empty() {
        if Instant::now() > until {
            return Err(Error::timeout("the demo's tasks have not ended")
                .next("Look at them on the page; the log says what the worker does"));
        }
        for (id, (iid, shown)) in &mut open {
            let task = store.task(id).await?;
            let news = shown.look(store, &task).await?;
            for event in &news.events {
                let kind = format!("#{iid} {}", event.kind);
                say(out, &kind, &harmless(&event.summary), id)?;
            }
            if let Some(task) = &news.task {
                say(out, &format!("#{iid}"), &out.state(api::shown_state(task)), id)?;
            }
            let told = task
                .result
                .as_ref()
                .map(|result| result["ticket"]["state"] != "pending");
            if api::is_over(&task) && told == Some(true) {
                ended.insert(*iid, task);
            }
        }
        open.retain(|_, (iid, _)| !ended.contains_key(iid));
        tokio::time::sleep(EVERY).await;
    }
    Ok(ended)
}

/// The demo's repository, made known once for a data folder.
async fn repo(store: &Store) -> Result<Repo, Error> {
    if let Some(repo) = store.find_repo(SLUG).await? {
        return Ok(repo);
    }
    store
        .add_repo(&NewRepo {
            id: None,
            name: "Checkout (demo)".to_owned(),
            slug: Some(SLUG.to_owned()),
            provider: "gitlab".to_owned(),
            url: String::new(),
            project: PROJECT.to_owned(),
            default_branch: "main".to_owned(),
            autonomy_mode: Autonomy::Guided,
            settings: json!({}),
        })
        .await
}

fn ticket(repo: &Repo, iid: u64) -> TicketRef {
    TicketRef {
        repo: repo.at.clone(),
        kind: TicketKind::Issue,
        iid,
    }
}

fn task(repo: &Repo, case: &Case) -> NewTask {
    let mut payload = match case.asks {
        Asks::Diagnose { job, log } => json!({ "log": log, "job": { "name": job } }),
        Asks::Instruction(instruction) => json!({ "instruction": instruction }),
    };
    payload["repo_id"] = repo.id.clone().into();
    payload["issue_iid"] = case.iid.into();
    let mut task = NewTask::new("fix_build", payload)
        .assigned_to("devops")
        .repo(Some(repo.id.clone()));
    task.created_by = Some("demo".to_owned());
    task
}

fn say(out: Output, what: &str, text: &str, task: &TaskId) -> Result<(), Error> {
    if out.json {
        return out.value(&json!({ "task_id": task, "what": what, "text": text }));
    }
    out.text(&format!(
        "{:<28}  {}",
        harmless(what),
        text.lines().next().unwrap_or("")
    ))
}

/// A ticket as its readers see it, without the marker that only programs look for.
fn print(tickets: &LocalTickets, repo: &Repo, iid: u64, out: Output) -> Result<(), Error> {
    let ticket = tickets.get(&ticket(repo, iid))?;
    if out.json {
        return out.value(&json!({ "ticket": ticket }));
    }
    let rule = "─".repeat(78);
    out.text(&format!(
        "\n{}\n{}",
        out.paint(Paint::Dim, &rule),
        out.paint(Paint::Bold, &format!("#{} {}", ticket.iid, ticket.title))
    ))?;
    for note in &ticket.notes {
        let body: Vec<&str> = note
            .body
            .lines()
            .filter(|line| !line.trim_start().starts_with("<!--"))
            .collect();
        out.text(&format!("\n{}", harmless(&body.join("\n"))))?;
    }
    Ok(())
}
