//! The folder of tickets passes the suite of the ticket port, and what it writes can be read by people.

use std::sync::atomic::{AtomicU64, Ordering};

use adapter_forge::{Config, Forges, LocalConfig, LocalTickets};
use async_trait::async_trait;
use domain::{ErrorKind, LabelChange, RepoRef, TicketKind, TicketRef};
use ports::conformance::Breakage;
use ports::conformance::tickets::TicketsWorld;
use ports::{Forge, NoteId, TicketState, Tickets};

struct LocalWorld {
    _folder: tempfile::TempDir,
    store: LocalTickets,
    last: AtomicU64,
}

fn at(iid: u64) -> TicketRef {
    TicketRef {
        repo: RepoRef {
            provider: "local".to_owned(),
            url: String::new(),
            project: "group/app".to_owned(),
        },
        kind: TicketKind::Issue,
        iid,
    }
}

fn start() -> LocalWorld {
    let folder = tempfile::tempdir().expect("a folder");
    let config = LocalConfig {
        folder: folder.path().join("tickets"),
        open_unknown: false,
    };
    LocalWorld {
        store: LocalTickets::new(config),
        _folder: folder,
        last: AtomicU64::new(0),
    }
}

#[async_trait]
impl TicketsWorld for LocalWorld {
    fn port(&self) -> &dyn Tickets {
        &self.store
    }
    async fn open(&self, labels: &[&str]) -> TicketRef {
        let at = at(1 + self.last.fetch_add(1, Ordering::Relaxed));
        self.store.open(&at, "A ticket", labels).expect("opens");
        at
    }
    fn missing(&self) -> TicketRef {
        at(4711)
    }
    async fn close(&self, at: &TicketRef) {
        let close = |ticket: &mut adapter_forge::LocalTicket| {
            ticket.state = TicketState::Closed;
            Ok(())
        };
        self.store.alter(at, close).expect("closes");
    }
    async fn lock(&self, at: &TicketRef) {
        let lock = |ticket: &mut adapter_forge::LocalTicket| {
            ticket.locked = true;
            Ok(())
        };
        self.store.alter(at, lock).expect("locks");
    }
    async fn delete(&self, at: &TicketRef) {
        self.store.delete(at).expect("deletes");
    }
    async fn foreign_note(&self, at: &TicketRef, body: &str) -> NoteId {
        let id = self.store.alter(at, |ticket| Ok(ticket.add_note("ada", body)));
        NoteId(id.expect("writes"))
    }
    async fn notes(&self, at: &TicketRef) -> Vec<String> {
        let notes = self.store.get(at).expect("reads").notes;
        notes.into_iter().map(|note| note.body).collect()
    }
    async fn deny_writes(&self) {
        unreachable!("a folder refuses nobody");
    }
    async fn break_next(&self, _: Breakage) {
        unreachable!("a folder has no connection to break");
    }
}

mod tickets {
    ports::tickets_conformance!(local super::start());
}

#[tokio::test]
async fn people_read_the_markdown_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config {
        hosts: Vec::new(),
        local: Some(LocalConfig {
            folder: folder.path().to_owned(),
            open_unknown: true,
        }),
    };
    let forges = Forges::new(&config).expect("usable");
    let ticket = at(7);
    let note = forges
        .create_note(&ticket, "**Failed** at noon")
        .await
        .expect("an unknown ticket opens");
    forges
        .edit_note(&ticket, note.id, "**Done**")
        .await
        .expect("edits");
    let change = LabelChange {
        add: vec!["done".to_owned()],
        remove: Vec::new(),
    };
    forges.change_labels(&ticket, &change).await.expect("labels");

    let text = std::fs::read_to_string(folder.path().join("group+app.issue-7.md")).expect("the view");
    assert_eq!(
        text,
        "# Ticket 7\n\ngroup/app issue #7, open\n\nLabels: done\n\n---\n\n\
         **longshore** (note 1, edited once)\n\n**Done**\n"
    );
    let link = forges.ticket(&ticket).await.expect("reads").url;
    assert_eq!(
        link,
        format!("file://{}", folder.path().join("group+app.issue-7.md").display())
    );
    let all = forges.local().expect("the folder").all().expect("lists");
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].notes[0].body, "**Done**");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("lists").collect();
    assert_eq!(left.len(), 2, "no half-written file stays: {left:?}");

    let error = forges
        .pipeline(&ticket.repo, 1)
        .await
        .expect_err("no builds here");
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn projects_of_similar_names_keep_their_tickets_apart() {
    let world = start();
    for project in ["a/b", "a+b", "a%2fb", "../b", "A/b"] {
        let mut ticket = at(1);
        ticket.repo.project = project.to_owned();
        world.store.open(&ticket, project, &[]).expect("opens");
    }
    let titles: Vec<String> = world
        .store
        .all()
        .expect("lists")
        .into_iter()
        .map(|found| found.title)
        .collect();
    assert_eq!(titles, ["../b", "A/b", "a%2fb", "a+b", "a/b"]);
}
