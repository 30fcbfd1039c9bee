//! The suite for [`Tickets`].

use std::time::Duration;

use async_trait::async_trait;
use domain::{ErrorKind, LabelChange, TicketRef};

use super::Breakage;
use crate::{NoteId, TicketState, Tickets};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait TicketsWorld: Send + Sync {
    fn port(&self) -> &dyn Tickets;
    /// A new open ticket with these labels.
    async fn open(&self, labels: &[&str]) -> TicketRef;
    /// A ticket in the same project that does not exist.
    fn missing(&self) -> TicketRef;
    async fn close(&self, at: &TicketRef);
    async fn lock(&self, at: &TicketRef);
    async fn delete(&self, at: &TicketRef);
    /// A note that somebody else writes.
    async fn foreign_note(&self, at: &TicketRef, body: &str) -> NoteId;
    /// The bodies of all notes that stand on the far side, in the order of their making.
    async fn notes(&self, at: &TicketRef) -> Vec<String>;
    /// From now on our user may read and not write.
    async fn deny_writes(&self);
    /// What the next change suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// Makes a test of every function of the suite; `local` leaves out what needs a far side that can refuse or break.
#[macro_export]
macro_rules! tickets_conformance {
    ($world:expr) => {
        $crate::tickets_conformance!(local $world);
        $crate::tickets_conformance!(@tests $world;
            a_note_without_the_right_to_write_is_denied
            a_rate_limit_says_how_long_to_wait
            an_outage_changes_nothing
            a_cut_connection_leaves_the_note_in_doubt_and_findable
            no_answer_is_a_timeout);
    };
    (local $world:expr) => {
        $crate::tickets_conformance!(@tests $world;
            a_ticket_is_read_with_its_state_and_labels
            own_notes_come_oldest_first_and_without_those_of_others
            more_notes_than_a_page_holds_are_all_found
            a_note_is_edited_in_place
            a_note_is_deleted_once
            text_comes_back_as_it_was_written
            a_closed_ticket_still_takes_notes
            a_locked_ticket_is_a_conflict
            a_deleted_ticket_is_not_found
            a_note_that_is_too_long_is_invalid_and_leaves_nothing
            an_empty_note_is_invalid
            an_unknown_note_is_not_found
            labels_are_added_and_removed_and_others_kept);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::tickets::$test(&$world).await;
            }
        )+
    };
}

pub async fn a_ticket_is_read_with_its_state_and_labels(world: &dyn TicketsWorld) {
    let at = world.open(&["bug", "priority::high"]).await;
    let ticket = world.port().ticket(&at).await.expect("reads an open ticket");
    assert_eq!(ticket.state, TicketState::Open);
    assert!(!ticket.locked);
    assert_eq!(sorted(ticket.labels), ["bug", "priority::high"]);
    assert!(
        ticket.url.contains(&at.iid.to_string()),
        "the link {} does not lead to ticket {}",
        ticket.url,
        at.iid
    );

    world.close(&at).await;
    let ticket = world.port().ticket(&at).await.expect("reads a closed ticket");
    assert_eq!(ticket.state, TicketState::Closed);

    world.lock(&at).await;
    let ticket = world.port().ticket(&at).await.expect("reads a locked ticket");
    assert!(ticket.locked);
}

pub async fn own_notes_come_oldest_first_and_without_those_of_others(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let other = world.open(&[]).await;
    let port = world.port();
    let first = port.create_note(&at, "first").await.expect("writes");
    world.foreign_note(&at, "what is this?").await;
    let second = port.create_note(&at, "second").await.expect("writes");
    port.create_note(&other, "elsewhere").await.expect("writes");

    let own = port.own_notes(&at).await.expect("lists");
    assert_eq!(own, [first, second]);
    assert_eq!(world.notes(&at).await, ["first", "what is this?", "second"]);
}

pub async fn more_notes_than_a_page_holds_are_all_found(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let first = world
        .port()
        .create_note(&at, "ours, first")
        .await
        .expect("writes");
    for number in 0..230 {
        world.foreign_note(&at, &format!("chatter {number}")).await;
    }
    let last = world.port().create_note(&at, "ours, last").await.expect("writes");
    assert_eq!(world.port().own_notes(&at).await.expect("lists"), [first, last]);
}

pub async fn a_note_is_edited_in_place(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let note = world.port().create_note(&at, "running").await.expect("writes");
    let edited = world.port().edit_note(&at, note.id, "done").await.expect("edits");
    assert_eq!((edited.id, edited.body.as_str()), (note.id, "done"));
    assert_eq!(world.notes(&at).await, ["done"]);
}

pub async fn a_note_is_deleted_once(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let note = world.port().create_note(&at, "twice").await.expect("writes");
    world.port().delete_note(&at, note.id).await.expect("deletes");
    assert_eq!(world.notes(&at).await, Vec::<String>::new());
    let again = world.port().delete_note(&at, note.id).await.expect_err("is gone");
    assert_eq!(again.kind, ErrorKind::NotFound, "{again}");
}

pub async fn text_comes_back_as_it_was_written(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let body = "Größe & <!-- longshore:living:1 --> + 100 % = \"ok\"\n\n```text\n\ta\\b 日本語 🚢\n```\nend";
    let note = world.port().create_note(&at, body).await.expect("writes");
    assert_eq!(note.body, body);
    let own = world.port().own_notes(&at).await.expect("lists");
    assert_eq!(own[0].body, body);
}

pub async fn a_closed_ticket_still_takes_notes(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.close(&at).await;
    world
        .port()
        .create_note(&at, "too late, but true")
        .await
        .expect("writes");
    assert_eq!(world.notes(&at).await, ["too late, but true"]);
}

pub async fn a_locked_ticket_is_a_conflict(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.lock(&at).await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("is locked");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("locked"), "{error}");
    assert_eq!(world.notes(&at).await, Vec::<String>::new());
}

pub async fn a_deleted_ticket_is_not_found(world: &dyn TicketsWorld) {
    let gone = world.open(&[]).await;
    world.delete(&gone).await;
    for at in [gone, world.missing()] {
        let port = world.port();
        let change = LabelChange {
            add: vec!["x".to_owned()],
            remove: Vec::new(),
        };
        for error in [
            port.ticket(&at).await.expect_err("has no ticket"),
            port.own_notes(&at).await.expect_err("has no notes"),
            port.create_note(&at, "hello").await.expect_err("takes no note"),
            port.change_labels(&at, &change)
                .await
                .expect_err("takes no label"),
        ] {
            assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
            assert!(
                error.to_string().contains(&at.iid.to_string()),
                "does not say which: {error}"
            );
        }
    }
}

pub async fn a_note_that_is_too_long_is_invalid_and_leaves_nothing(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let limit = world.port().limits(&at).note_chars;
    // A character of two bytes: the limit counts characters.
    let longest = "é".repeat(limit);
    world
        .port()
        .create_note(&at, &longest)
        .await
        .expect("takes the longest note");
    let error = world
        .port()
        .create_note(&at, &format!("{longest}é"))
        .await
        .expect_err("refuses a longer one");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert_eq!(world.notes(&at).await.len(), 1);
}

pub async fn an_empty_note_is_invalid(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let error = world.port().create_note(&at, " \n").await.expect_err("refuses");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}

pub async fn an_unknown_note_is_not_found(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    let error = world
        .port()
        .edit_note(&at, NoteId(987_654_321), "hello")
        .await
        .expect_err("has no such note");
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
}

pub async fn labels_are_added_and_removed_and_others_kept(world: &dyn TicketsWorld) {
    let at = world.open(&["theirs", "waiting", "with space"]).await;
    let change = LabelChange {
        add: vec!["done".to_owned(), "env::staging one".to_owned()],
        remove: vec!["waiting".to_owned(), "never there".to_owned()],
    };
    // Twice, because a crash between the change and its record repeats it.
    for _ in 0..2 {
        world
            .port()
            .change_labels(&at, &change)
            .await
            .expect("changes labels");
        let labels = world.port().ticket(&at).await.expect("reads").labels;
        assert_eq!(
            sorted(labels),
            ["done", "env::staging one", "theirs", "with space"]
        );
    }
}

pub async fn a_note_without_the_right_to_write_is_denied(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.deny_writes().await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    world.port().ticket(&at).await.expect("still reads");
}

pub async fn a_rate_limit_says_how_long_to_wait(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world
        .break_next(Breakage::RateLimited(Duration::from_secs(7)))
        .await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::RateLimited, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)), "{error}");
    assert_eq!(world.notes(&at).await, Vec::<String>::new());
}

pub async fn an_outage_changes_nothing(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.break_next(Breakage::OutOfOrder).await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("is refused");
    assert!(error.is_transient(), "{error}");
    assert_eq!(world.notes(&at).await, Vec::<String>::new());
    world.port().create_note(&at, "hello").await.expect("works again");
}

pub async fn a_cut_connection_leaves_the_note_in_doubt_and_findable(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.break_next(Breakage::DoneThenCut).await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("is cut off");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    let own = world.port().own_notes(&at).await.expect("lists");
    assert_eq!(own.len(), 1, "sent once, and found again");
    assert_eq!(own[0].body, "hello");
}

pub async fn no_answer_is_a_timeout(world: &dyn TicketsWorld) {
    let at = world.open(&[]).await;
    world.break_next(Breakage::NoAnswer).await;
    let error = world
        .port()
        .create_note(&at, "hello")
        .await
        .expect_err("gets no answer");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
}

fn sorted(mut labels: Vec<String>) -> Vec<String> {
    labels.sort();
    labels
}
