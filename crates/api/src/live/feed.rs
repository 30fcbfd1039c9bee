use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::{Error, TaskId};
use store::{News, Progress, Store};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::gaps::Gaps;
use super::heard::Heard;

/// Between two looks at the database. What people follow may be half a second old.
const EVERY: Duration = Duration::from_millis(500);
/// After a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(2);
/// Events read at once.
const BATCH: u32 = 1000;
/// How far behind the newest event the first look begins, as what is not committed yet may have a smaller id: so many
/// events, all of so long a time (the longest that a transaction of ours may take), and never more than so many.
const OVERLAP: u32 = 500;
const LONGEST: Duration = Duration::from_secs(60);
const WIDEST: u32 = 20_000;
/// Followers at once.
const MOST_FOLLOWERS: usize = 256;
/// How many pieces of news a follower may be behind.
const QUEUE: usize = 4096;

#[derive(Clone, Debug)]
pub enum Item {
    /// An event, and what was read by then.
    News(Arc<News>, Heard),
    Progress(Arc<Progress>),
    /// There is no such task any more.
    Gone(TaskId),
}

/// What happens to tasks, read once for everybody who follows.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    store: Store,
    items: broadcast::Sender<Item>,
    /// What was read of the events; whoever sends them or begins to hear them holds it.
    gaps: Mutex<Gaps>,
    places: Arc<Semaphore>,
    /// Tasks whose progress somebody follows, and how many do.
    watched: Mutex<HashMap<TaskId, usize>>,
    /// Whether the poller has found where the news begins.
    live: watch::Sender<bool>,
    begun: std::sync::Once,
    wanted: Notify,
    closing: CancellationToken,
}

/// A follower's place. It is free again when this is dropped.
pub struct Place {
    feed: Feed,
    pub items: broadcast::Receiver<Item>,
    /// What comes is all that was not read by then.
    pub from: Heard,
    task: Option<TaskId>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The task that is followed, where it is one.
    pub fn task(&self) -> Option<&TaskId> {
        self.task.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            let mut watched = self.feed.watched();
            if let Some(count) = watched.get_mut(task) {
                *count -= 1;
                if *count == 0 {
                    watched.remove(task);
                }
            }
        }
    }
}

impl Feed {
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inner {
            store,
            items: broadcast::Sender::new(QUEUE),
            gaps: Mutex::default(),
            places: Arc::new(Semaphore::new(MOST_FOLLOWERS)),
            watched: Mutex::default(),
            live: watch::Sender::new(false),
            begun: std::sync::Once::new(),
            wanted: Notify::new(),
            closing: CancellationToken::new(),
        }))
    }

    /// Ends all followers and the poller.
    pub fn close(&self) {
        self.0.closing.cancel();
    }

    pub async fn closed(&self) {
        self.0.closing.cancelled().await;
    }

    /// A place among the followers, once whatever is committed from now on will be heard in it.
    pub async fn follow(&self, task: Option<TaskId>) -> Result<Place, Error> {
        let permit = self.0.places.clone().try_acquire_owned().map_err(|_| {
            Error::unavailable(format!("{MOST_FOLLOWERS} others follow already"))
                .next("Try again later, or ask /api/tasks/ID now and then")
        })?;
        let items = {
            // Under the lock under which the poller decides that nobody follows.
            let mut watched = self.watched();
            if let Some(task) = &task {
                *watched.entry(task.clone()).or_default() += 1;
            }
            self.0.items.subscribe()
        };
        let mut place = Place {
            feed: self.clone(),
            items,
            from: Heard::default(),
            task,
            _permit: permit,
        };
        self.0.begun.call_once(|| {
            tokio::spawn(self.clone().poll());
        });
        self.0.wanted.notify_one();
        let mut live = self.0.live.subscribe();
        tokio::select! {
            // The sender lives in self, so that this cannot fail.
            _ = live.wait_for(|live| *live) => {}
            () = self.closed() => return Err(Error::unavailable("the server is stopping").next("Call again")),
        }
        // Anew, at a moment at which it is known what has been read.
        let mut gaps = self.gaps();
        place.items = self.0.items.subscribe();
        place.from = gaps.heard();
        drop(gaps);
        Ok(place)
    }

    fn gaps(&self) -> std::sync::MutexGuard<'_, Gaps> {
        self.0.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, usize>> {
        self.0.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn poll(self) {
        let rounds = async {
            loop {
                while self.0.items.receiver_count() == 0 {
                    self.0.wanted.notified().await;
                }
                if let Err(error) = self.round().await {
                    tracing::warn!(%error, "what happens to tasks could not be read; trying again");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        };
        tokio::select! {
            () = rounds => {}
            () = self.closed() => {}
        }
    }

    /// Reads for as long as anybody follows.
    async fn round(&self) -> Result<(), Error> {
        let newest = self.0.store.newest_events(OVERLAP, WIDEST, LONGEST).await?;
        *self.gaps() = {
            let before = newest.first().map_or(0, |first| first - 1);
            // One that is not committed yet may stand right before them, too.
            let mut gaps = Gaps::after((before - i64::from(OVERLAP)).max(0));
            for id in newest {
                gaps.read(id);
            }
            gaps
        };
        // Before anybody begins to hear: what is there is told to nobody as new, and what was rolled back is found out
        // here, and need not be waited for by each of them.
        self.read_news().await?;
        let mut known: HashMap<TaskId, Arc<Progress>> = HashMap::new();
        self.0.live.send_replace(true);
        while !self.is_idle() {
            if let Err(error) = self.look(&mut known).await {
                // The place is kept: nothing is lost by an outage.
                tracing::warn!(%error, "what happens to tasks could not be read; looking again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            tokio::time::sleep(EVERY).await;
        }
        Ok(())
    }

    /// Whether nobody follows; whoever comes after this waits for the next round to begin.
    fn is_idle(&self) -> bool {
        let _lock = self.watched();
        let idle = self.0.items.receiver_count() == 0;
        if idle {
            self.0.live.send_replace(false);
        }
        idle
    }

    async fn look(&self, known: &mut HashMap<TaskId, Arc<Progress>>) -> Result<(), Error> {
        let watched: Vec<TaskId> = self.watched().keys().cloned().collect();
        // Before the events: a task whose end is seen here has all its events written.
        let progress = match watched.is_empty() {
            true => Vec::new(),
            false => self.0.store.progress(&watched).await?,
        };
        self.read_news().await?;
        known.retain(|task, _| watched.contains(task));
        for task in watched {
            // Without a follower nobody misses it.
            if progress.iter().all(|progress| progress.task.id != task) {
                let _ = self.0.items.send(Item::Gone(task));
            }
        }
        for progress in progress {
            let progress = Arc::new(progress);
            let before = known.insert(progress.task.id.clone(), progress.clone());
            if before.as_ref() != Some(&progress) {
                let _ = self.0.items.send(Item::Progress(progress));
            }
        }
        Ok(())
    }

    async fn read_news(&self) -> Result<(), Error> {
        let is_whole = self.gaps().missing().is_empty();
        // Before the look: what is over by now can be seen in it.
        let horizon = match is_whole {
            true => None,
            false => Some(self.0.store.horizon().await?),
        };
        if let Some(horizon) = &horizon {
            self.gaps().begin(horizon);
        }
        loop {
            let (last, missing) = {
                let gaps = self.gaps();
                (gaps.last(), gaps.missing())
            };
            let news = self.0.store.news(last, &missing, BATCH).await?;
            let full = news.len() >= BATCH as usize;
            let mut gaps = self.gaps();
            for news in news {
                if gaps.read(news.event.id) {
                    let _ = self.0.items.send(Item::News(Arc::new(news), gaps.heard()));
                }
            }
            if full {
                continue;
            }
            if let Some(horizon) = &horizon {
                gaps.end(horizon);
            }
            return Ok(());
        }
    }
}
