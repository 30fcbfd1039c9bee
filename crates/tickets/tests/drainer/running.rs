//! [`tickets::Drainer::run`]: woken, slow, told to stop.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::{Bench, report};
use async_trait::async_trait;
use domain::{Error, LabelChange, Result, TicketRef, Verdict};
use ports::fake::{FakeTickets, Fault, TicketOp};
use ports::{Note, NoteId, Ticket, TicketLimits, Tickets};
use tickets::{Config, Drainer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any test: what happens all the same was not polled for.
const NEVER: Duration = Duration::from_secs(3600);

/// A far side whose creates stand at a gate until it is opened.
struct Gate {
    inner: FakeTickets,
    reached: Notify,
    open: CancellationToken,
}

impl Gate {
    fn before(bench: &Bench) -> Arc<Self> {
        Arc::new(Self {
            inner: bench.tickets.clone(),
            reached: Notify::new(),
            open: CancellationToken::new(),
        })
    }
}

#[async_trait]
impl Tickets for Gate {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.inner.ticket(at).await
    }
    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        self.inner.own_notes(at).await
    }
    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        self.reached.notify_one();
        self.open.cancelled().await;
        self.inner.create_note(at, body).await
    }
    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        self.inner.edit_note(at, note, body).await
    }
    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        self.inner.delete_note(at, note).await
    }
    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        self.inner.change_labels(at, change).await
    }
    fn limits(&self, at: &TicketRef) -> TicketLimits {
        TicketLimits {
            request_timeout: NEVER,
            ..self.inner.limits(at)
        }
    }
}

struct Running {
    stop: CancellationToken,
    done: JoinHandle<()>,
}

async fn start(bench: &Bench, tickets: Arc<dyn Tickets>, config: Config) -> Running {
    let store = bench.db.worker_store().await;
    let drainer = Drainer::new(&store, tickets, config);
    let stop = CancellationToken::new();
    let done = tokio::spawn(drainer.run(stop.clone()));
    Running { stop, done }
}

async fn until(bench: &Bench, condition: &str) {
    let check = async {
        while bench.db.value(&format!("SELECT {condition}")).await.as_deref() != Some("t") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), check)
        .await
        .unwrap_or_else(|_| panic!("{condition} did not come true"));
}

const SETTLED: &str = "NOT EXISTS (SELECT FROM longshore.ticket_outbox WHERE due_at IS NOT NULL)";

#[tokio::test]
async fn a_note_is_delivered_when_it_is_told_not_at_the_next_poll() {
    let bench = Bench::new().await;
    let config = Config {
        poll: NEVER,
        poll_unheard: NEVER,
        lease: NEVER,
        ..Config::default()
    };
    let running = start(&bench, Arc::new(bench.tickets.clone()), config).await;
    // The first wake-up is the listener's own; each further note has none but its own.
    for (at, id) in ["t1", "t2", "t3"].into_iter().enumerate() {
        bench.end(id, &report(Verdict::Failed, "it broke")).await;
        until(&bench, SETTLED).await;
        assert_eq!(bench.notes().len(), at + 1);
    }
    running.stop.cancel();
    running.done.await.unwrap();
}

/// Nothing but the time asks for these looks.
#[tokio::test]
async fn what_comes_due_by_time_alone_is_delivered_then_not_at_the_next_poll() {
    let bench = Bench::new().await;
    bench
        .db
        .sql("CREATE OR REPLACE FUNCTION longshore.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT statement_timestamp()'")
        .await;
    let config = Config {
        poll: NEVER,
        poll_unheard: NEVER,
        first_delay: Duration::from_millis(50),
        ..Config::default()
    };
    let fails = |error| {
        bench
            .tickets
            .faults()
            .next(TicketOp::CreateNote, Fault::Fail(error))
    };
    fails(Error::unavailable("not now"));
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    let running = start(&bench, Arc::new(bench.tickets.clone()), config).await;
    until(&bench, SETTLED).await;
    assert_eq!(bench.notes().len(), 1, "after a fault that passes");

    fails(Error::rate_limited("slow down", Some(Duration::from_millis(300))));
    bench.end("t2", &report(Verdict::Failed, "it broke")).await;
    until(&bench, SETTLED).await;
    assert_eq!(bench.notes().len(), 2, "after a pause of the far side");

    // A drainer that takes it and is never heard of again.
    bench.db.sql("UPDATE longshore.ticket_outbox SET due_at = longshore.now(), lease = gen_random_uuid(),
                             lease_until = clock_timestamp() + interval '300 milliseconds' WHERE task_id = 't1'").await;
    bench.end("t3", &report(Verdict::Failed, "it broke")).await;
    until(&bench, SETTLED).await;
    assert_eq!(bench.notes().len(), 3, "after another's lease");
    running.stop.cancel();
    running.done.await.unwrap();
}

#[tokio::test]
async fn told_to_stop_it_lets_the_delivery_under_way_end_and_takes_no_other() {
    let bench = Bench::new().await;
    let gate = Gate::before(&bench);
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    let config = Config {
        grace: NEVER,
        ..Config::default()
    };
    let running = start(&bench, gate.clone(), config).await;
    gate.reached.notified().await;
    running.stop.cancel();
    bench.end("t2", &report(Verdict::Failed, "another")).await;
    assert!(!running.done.is_finished());
    gate.open.cancel();
    running.done.await.unwrap();
    assert_eq!(bench.notes().len(), 1, "the one under way");
    assert!(bench.ticket_state("t1").await.starts_with("posted"));
    assert_eq!(bench.ticket_state("t2").await, "pending");
}

#[tokio::test]
async fn a_delivery_that_outlasts_the_grace_is_left_to_the_next_drainer() {
    let bench = Bench::new().await;
    let gate = Gate::before(&bench);
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    let config = Config {
        grace: Duration::from_millis(20),
        ..Config::default()
    };
    let running = start(&bench, gate.clone(), config).await;
    gate.reached.notified().await;
    running.stop.cancel();
    running.done.await.unwrap();
    assert_eq!(bench.notes().len(), 0);
    // The create may have been sent: the next one waits, looks, and only then writes.
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1);
    assert!(bench.ticket_state("t1").await.starts_with("posted"));
}
