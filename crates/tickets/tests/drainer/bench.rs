//! A database with the manual clock, a fake far side, and drainers that die where they are told to.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::{LabelChange, RepoRef, Report, Result, TicketKind, TicketRef, Verdict};
use futures_util::poll;
use ports::fake::{FakeTickets, TicketOp};
use ports::{Note, NoteId, Ticket, TicketLimits, Tickets};
use store::outbox::{Due, Outbox, Sweep, Taken, Told};
use store::{LeaseClock, Store};
use testkit::postgres::{Database, ManualClock, Postgres};
use tickets::{Config, Drainer, Queue};
use tokio::sync::Notify;

const REQUEST: Duration = Duration::from_millis(200);
const STEP: Duration = Duration::from_millis(5);
/// What a drainer that stands still takes for late; others have the usual second, which no slow machine uses up.
const PROMPT: Duration = Duration::from_millis(50);

/// Die at the Nth place, counted over all calls: two for each, before it and after it.
#[derive(Clone, Copy)]
pub struct CrashAt(pub usize);

pub struct Bench {
    pub db: Database,
    pub clock: ManualClock,
    pub tickets: FakeTickets,
    pub at: TicketRef,
    store: Store,
    hide: Arc<AtomicBool>,
}

pub fn report(verdict: Verdict, summary: &str) -> Report {
    Report::new(verdict, summary)
}

impl Bench {
    pub async fn new() -> Self {
        let db = Postgres::shared().await.database().await;
        let clock = db.manual_clock("2026-01-29T16:28:00Z".parse().unwrap()).await;
        let store = db.worker_store().await;
        let tickets = FakeTickets::new();
        tickets.set_limits(TicketLimits {
            note_chars: 10_000,
            request_timeout: REQUEST,
        });
        let repo = RepoRef {
            provider: "forge".into(),
            url: "https://git.example.com/shop/web".into(),
            project: "shop/web".into(),
        };
        let at = TicketRef {
            repo,
            kind: TicketKind::Issue,
            iid: 12,
        };
        let bench = Self {
            db,
            clock,
            tickets,
            at,
            store,
            hide: Arc::default(),
        };
        bench.fresh_ticket();
        bench
    }

    pub fn fresh_ticket(&self) {
        self.tickets.add_ticket(&self.at, &["theirs"]);
    }

    pub fn other_host(&self) -> TicketRef {
        let mut other = self.at.clone();
        other.repo.url = "https://elsewhere.example/x".into();
        self.tickets.add_ticket(&other, &[]);
        other
    }

    pub async fn running(&self, id: &str) {
        self.db
            .sql(&format!(
                "INSERT INTO tasks (id, task_type, status) VALUES ('{id}', 'fix_build', 'pending')"
            ))
            .await;
    }

    pub async fn tell(&self, id: &str, report: &Report) {
        self.store
            .tell_ticket(&id.into(), &self.at, report)
            .await
            .unwrap();
    }

    pub async fn end(&self, id: &str, report: &Report) {
        self.end_at(id, &self.at, report).await;
    }

    pub async fn end_at(&self, id: &str, at: &TicketRef, report: &Report) {
        let mut result = serde_json::to_value(report).unwrap();
        result["ticket"] = serde_json::json!({"state": "pending"});
        self.db
            .sql(&format!(
                "INSERT INTO tasks (id, task_type, status, completed_at, result)
                 VALUES ('{id}', 'fix_build', 'failed', longshore.utc_now(), '{result}')
                 ON CONFLICT (id) DO UPDATE SET status = 'failed', completed_at = excluded.completed_at, result = excluded.result"
            ))
            .await;
        self.store.tell_ticket(&id.into(), at, report).await.unwrap();
    }

    pub fn notes(&self) -> Vec<Note> {
        self.tickets.notes(&self.at)
    }

    pub fn creates(&self) -> usize {
        self.tickets
            .calls()
            .iter()
            .filter(|op| **op == TicketOp::CreateNote)
            .count()
    }

    /// `posted URL`, `failed ERROR` or `pending`.
    pub async fn ticket_state(&self, id: &str) -> String {
        let sql = format!(
            "SELECT concat_ws(' ', result->'ticket'->>'state', result->'ticket'->>'url', result->'ticket'->>'error') FROM tasks WHERE id = '{id}'"
        );
        self.db.value(&sql).await.unwrap()
    }

    pub async fn result_but_ticket(&self, id: &str) -> Option<String> {
        self.db
            .value(&format!(
                "SELECT (to_jsonb(t) #- '{{result,ticket}}')::text FROM tasks t WHERE id = '{id}'"
            ))
            .await
    }

    pub fn drainer(&self) -> Drainer {
        self.drainer_with(
            Arc::new(self.store.outbox()),
            Arc::new(Hiding {
                inner: self.tickets.clone(),
                hide: self.hide.clone(),
            }),
            Config::default().prompt,
        )
    }

    fn drainer_with(&self, queue: Arc<dyn Queue>, tickets: Arc<dyn Tickets>, prompt: Duration) -> Drainer {
        let labels = [
            (Verdict::Running, vec!["ops::running".to_owned()]),
            (Verdict::Failed, vec!["ops::failed".to_owned()]),
        ];
        let config = Config {
            labels: labels.into(),
            per_minute: 1_000_000,
            prompt,
            ..Config::default()
        };
        Drainer::over(queue, tickets, config)
    }

    /// Delivers what is due at this instant.
    pub async fn drain_now(&self) {
        let drainer = self.drainer();
        while drainer.drain_once().await.unwrap() > 0 {}
    }

    /// Delivers everything: time goes on until nothing waits, and a dead drainer's lease runs out.
    pub async fn drain(&self) {
        for _ in 0..20 {
            self.db
                .sql("UPDATE longshore.ticket_outbox SET lease_until = '-infinity' WHERE lease IS NOT NULL")
                .await;
            self.drain_now().await;
            let left = self
                .db
                .value("SELECT count(*) FROM longshore.ticket_outbox WHERE due_at IS NOT NULL")
                .await;
            if left.as_deref() == Some("0") {
                return;
            }
            self.clock.advance(Duration::from_secs(5)).await;
        }
        panic!("the outbox does not come to rest");
    }

    pub async fn wait_out_doubt(&self) {
        self.clock.advance(Duration::from_secs(5)).await;
        self.drain_now().await;
    }

    /// The next list of notes is empty, as a far side that lags behind itself would answer.
    pub fn hide_notes_once(&self) {
        self.hide.store(true, Ordering::SeqCst);
    }

    /// How many places to die one delivery has.
    pub async fn points(&self) -> usize {
        let deaths = Deaths::at(usize::MAX);
        self.end("count", &report(Verdict::Failed, "it broke")).await;
        let drainer = self.mortal(&deaths);
        while drainer.drain_once().await.unwrap() > 0 {}
        deaths.seen.load(Ordering::SeqCst)
    }

    /// Runs a drainer until it dies there, or has nothing left to do. Its lease has run out afterwards, and the far side
    /// has forgotten what it was asked.
    pub async fn crash(&self, at: CrashAt) {
        let deaths = Deaths::at(at.0);
        let drainer = self.mortal(&deaths);
        let work = async { while drainer.drain_once().await.unwrap() > 0 {} };
        tokio::select! {
            () = deaths.died.notified() => {}
            () = work => {}
        }
        self.db
            .sql("UPDATE longshore.ticket_outbox SET lease_until = '-infinity' WHERE lease IS NOT NULL")
            .await;
        self.clock.advance(Duration::from_secs(2)).await;
    }

    /// Runs a drainer that stands still there for longer than any lease and any request, while others do all that is left
    /// to do; then it goes on. Answers what it asked of the far side afterwards, but for looks.
    pub async fn stall(&self, at: CrashAt) -> Vec<TicketOp> {
        let deaths = Deaths::at(at.0);
        let drainer = self.mortal(&deaths);
        let mut work = pin!(async { while drainer.drain_once().await.unwrap() > 0 {} });
        tokio::select! {
            () = deaths.died.notified() => {}
            () = &mut work => return Vec::new(),
        }
        let stalled = Instant::now();
        self.drain().await;
        let asked = self.tickets.calls().len();
        deaths.taken().iter().for_each(LeaseClock::end);
        // Timers go by whole milliseconds: one that ends here has fired by the time that a later one has.
        while stalled.elapsed() <= REQUEST.max(PROMPT) + 2 * STEP {
            tokio::time::sleep(STEP).await;
        }
        // A request that it stood in is over, before anything else happens.
        if poll!(&mut work).is_pending() {
            deaths.wakes.notify_one();
            work.await;
        }
        let mut later = self.tickets.calls().split_off(asked);
        later.retain(|op| !matches!(op, TicketOp::Ticket | TicketOp::OwnNotes));
        later
    }

    fn mortal(&self, deaths: &Arc<Deaths>) -> Drainer {
        self.drainer_with(
            Arc::new(MortalQueue {
                inner: self.store.outbox(),
                deaths: deaths.clone(),
            }),
            Arc::new(MortalTickets {
                inner: self.tickets.clone(),
                deaths: deaths.clone(),
            }),
            PROMPT,
        )
    }
}

struct Deaths {
    at: usize,
    seen: AtomicUsize,
    died: Notify,
    wakes: Notify,
    /// The leases of all rows that were taken.
    clocks: Mutex<Vec<LeaseClock>>,
}

impl Deaths {
    fn at(at: usize) -> Arc<Self> {
        Arc::new(Self {
            at,
            seen: AtomicUsize::new(0),
            died: Notify::new(),
            wakes: Notify::new(),
            clocks: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<LeaseClock>> {
        self.clocks.lock().unwrap()
    }

    /// A place to die: whoever awaits it there comes back when it is woken, if ever.
    async fn place(&self) {
        if self.seen.fetch_add(1, Ordering::SeqCst) == self.at {
            self.died.notify_one();
            self.wakes.notified().await;
        }
    }

    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        self.place().await;
        let answer = call.await;
        self.place().await;
        answer
    }
}

struct MortalTickets {
    inner: FakeTickets,
    deaths: Arc<Deaths>,
}

#[async_trait]
impl Tickets for MortalTickets {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.deaths.around(self.inner.ticket(at)).await
    }
    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        self.deaths.around(self.inner.own_notes(at)).await
    }
    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        self.deaths.around(self.inner.create_note(at, body)).await
    }
    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        self.deaths.around(self.inner.edit_note(at, note, body)).await
    }
    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        self.deaths.around(self.inner.delete_note(at, note)).await
    }
    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        self.deaths.around(self.inner.change_labels(at, change)).await
    }
    fn limits(&self, at: &TicketRef) -> TicketLimits {
        self.inner.limits(at)
    }
}

struct Hiding {
    inner: FakeTickets,
    hide: Arc<AtomicBool>,
}

#[async_trait]
impl Tickets for Hiding {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.inner.ticket(at).await
    }
    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        if self.hide.swap(false, Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        self.inner.own_notes(at).await
    }
    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
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
        self.inner.limits(at)
    }
}

struct MortalQueue {
    inner: Outbox,
    deaths: Arc<Deaths>,
}

#[async_trait]
impl Queue for MortalQueue {
    async fn take(&self, per_host: u32, busy: &[String], lease: Duration) -> Result<Taken> {
        let take = async {
            let taken = self.inner.take(per_host, busy, lease).await?;
            self.deaths
                .taken()
                .extend(taken.due.iter().map(|due| due.clock.clone()));
            Ok(taken)
        };
        self.deaths.around(take).await
    }
    async fn renew(&self, rows: &[Due], lease: Duration) -> Result<()> {
        self.deaths.around(self.inner.renew(rows, lease)).await
    }
    async fn begin_post(&self, due: &Due) -> Result<Option<Told>> {
        self.deaths.around(self.inner.begin_post(due)).await
    }
    async fn posted(&self, due: &Due, note: NoteId, url: Option<&str>, revision: i64) -> Result<bool> {
        self.deaths
            .around(self.inner.posted(due, note, url, revision))
            .await
    }
    async fn labelled(&self, due: &Due, revision: i64) -> Result<bool> {
        self.deaths.around(self.inner.labelled(due, revision)).await
    }
    async fn note_gone(&self, due: &Due) -> Result<bool> {
        self.deaths.around(self.inner.note_gone(due)).await
    }
    async fn put_off(
        &self,
        due: &Due,
        delay: Duration,
        nothing_happened: bool,
        error: Option<&str>,
    ) -> Result<bool> {
        self.deaths
            .around(self.inner.put_off(due, delay, nothing_happened, error))
            .await
    }
    async fn settle(&self, due: &Due, revision: i64, sweep_after: Duration) -> Result<bool> {
        self.deaths
            .around(self.inner.settle(due, revision, sweep_after))
            .await
    }
    async fn fail(&self, due: &Due, revision: i64, error: &str, sweep_after: Duration) -> Result<bool> {
        self.deaths
            .around(self.inner.fail(due, revision, error, sweep_after))
            .await
    }
    async fn pause_host(&self, host: &str, delay: Duration) -> Result<()> {
        self.deaths.around(self.inner.pause_host(host, delay)).await
    }
    async fn standing_note(&self, due: &Due) -> Result<Option<NoteId>> {
        self.deaths.around(self.inner.standing_note(due)).await
    }
    async fn take_sweeps(&self, limit: u32, lease: Duration) -> Result<Vec<Sweep>> {
        self.deaths.around(self.inner.take_sweeps(limit, lease)).await
    }
    async fn adopt(&self, sweep: &Sweep, moment: u32, keep: NoteId, url: Option<&str>) -> Result<()> {
        self.deaths
            .around(self.inner.adopt(sweep, moment, keep, url))
            .await
    }
    async fn swept(&self, sweep: &Sweep) -> Result<()> {
        self.deaths.around(self.inner.swept(sweep)).await
    }
    async fn put_off_sweep(&self, sweep: &Sweep, delay: Duration) -> Result<()> {
        self.deaths.around(self.inner.put_off_sweep(sweep, delay)).await
    }
}
