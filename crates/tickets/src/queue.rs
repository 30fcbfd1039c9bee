use std::time::Duration;

use async_trait::async_trait;
use domain::Result;
use ports::NoteId;
use store::outbox::{Due, Outbox, Sweep, Taken, Told};

/// What the drainer asks of the outbox; [`Outbox`] says what each does.
#[async_trait]
pub trait Queue: Send + Sync {
    async fn take(&self, per_host: u32, busy: &[String], lease: Duration) -> Result<Taken>;
    async fn renew(&self, rows: &[Due], lease: Duration) -> Result<()>;
    async fn begin_post(&self, due: &Due) -> Result<Option<Told>>;
    async fn posted(&self, due: &Due, note: NoteId, url: Option<&str>, revision: i64) -> Result<bool>;
    async fn labelled(&self, due: &Due, revision: i64) -> Result<bool>;
    async fn note_gone(&self, due: &Due) -> Result<bool>;
    async fn put_off(
        &self,
        due: &Due,
        delay: Duration,
        nothing_happened: bool,
        error: Option<&str>,
    ) -> Result<bool>;
    async fn settle(&self, due: &Due, revision: i64, sweep_after: Duration) -> Result<bool>;
    async fn fail(&self, due: &Due, revision: i64, error: &str, sweep_after: Duration) -> Result<bool>;
    async fn pause_host(&self, host: &str, delay: Duration) -> Result<()>;
    async fn standing_note(&self, due: &Due) -> Result<Option<NoteId>>;
    async fn take_sweeps(&self, limit: u32, lease: Duration) -> Result<Vec<Sweep>>;
    async fn adopt(&self, sweep: &Sweep, moment: u32, keep: NoteId, url: Option<&str>) -> Result<()>;
    async fn swept(&self, sweep: &Sweep) -> Result<()>;
    async fn put_off_sweep(&self, sweep: &Sweep, delay: Duration) -> Result<()>;
}

#[async_trait]
impl Queue for Outbox {
    async fn take(&self, per_host: u32, busy: &[String], lease: Duration) -> Result<Taken> {
        self.within(Outbox::take(self, per_host, busy, lease)).await
    }
    async fn renew(&self, rows: &[Due], lease: Duration) -> Result<()> {
        self.within(Outbox::renew(self, rows, lease)).await
    }
    async fn begin_post(&self, due: &Due) -> Result<Option<Told>> {
        self.within(Outbox::begin_post(self, due)).await
    }
    async fn posted(&self, due: &Due, note: NoteId, url: Option<&str>, revision: i64) -> Result<bool> {
        self.within(Outbox::posted(self, due, note, url, revision)).await
    }
    async fn labelled(&self, due: &Due, revision: i64) -> Result<bool> {
        self.within(Outbox::labelled(self, due, revision)).await
    }
    async fn note_gone(&self, due: &Due) -> Result<bool> {
        self.within(Outbox::note_gone(self, due)).await
    }
    async fn put_off(
        &self,
        due: &Due,
        delay: Duration,
        nothing_happened: bool,
        error: Option<&str>,
    ) -> Result<bool> {
        self.within(Outbox::put_off(self, due, delay, nothing_happened, error))
            .await
    }
    async fn settle(&self, due: &Due, revision: i64, sweep_after: Duration) -> Result<bool> {
        self.within(Outbox::settle(self, due, revision, sweep_after))
            .await
    }
    async fn fail(&self, due: &Due, revision: i64, error: &str, sweep_after: Duration) -> Result<bool> {
        self.within(Outbox::fail(self, due, revision, error, sweep_after))
            .await
    }
    async fn pause_host(&self, host: &str, delay: Duration) -> Result<()> {
        self.within(Outbox::pause_host(self, host, delay)).await
    }
    async fn standing_note(&self, due: &Due) -> Result<Option<NoteId>> {
        self.within(Outbox::standing_note(self, due)).await
    }
    async fn take_sweeps(&self, limit: u32, lease: Duration) -> Result<Vec<Sweep>> {
        self.within(Outbox::take_sweeps(self, limit, lease)).await
    }
    async fn adopt(&self, sweep: &Sweep, moment: u32, keep: NoteId, url: Option<&str>) -> Result<()> {
        self.within(Outbox::adopt(self, sweep, moment, keep, url)).await
    }
    async fn swept(&self, sweep: &Sweep) -> Result<()> {
        self.within(Outbox::swept(self, sweep)).await
    }
    async fn put_off_sweep(&self, sweep: &Sweep, delay: Duration) -> Result<()> {
        self.within(Outbox::put_off_sweep(self, sweep, delay)).await
    }
}
