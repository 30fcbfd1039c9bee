//! SIGTERM and Ctrl-C: the first drains, the second ends.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use domain::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Failure, Outcome};

/// How long a service may take to hand back what it has after a second signal.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Two tokens for everything that runs: `drain` asks it to come to an end, `kill` cuts it short.
#[derive(Clone)]
pub struct Shutdown {
    pub drain: CancellationToken,
    pub kill: CancellationToken,
    /// The exit code of the last signal.
    last: watch::Receiver<Exit>,
}

impl Shutdown {
    /// Listens from now on; made before anything runs, so that no signal is missed.
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::internal("could not listen for signals").because(&error))
        };
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        // A terminal that is closed; who was started with `nohup` is not to hear of that.
        let hangup = match ignores_hangup() {
            true => None,
            false => Some(listen(SignalKind::hangup())?),
        };
        let (tell, last) = watch::channel(Exit::Done);
        let shutdown = Self {
            drain: CancellationToken::new(),
            kill: CancellationToken::new(),
            last,
        };
        tokio::spawn(shutdown.clone().follow(interrupt, terminate, hangup, tell));
        Ok(shutdown)
    }

    async fn follow(
        self,
        mut interrupt: Signal,
        mut terminate: Signal,
        mut hangup: Option<Signal>,
        tell: watch::Sender<Exit>,
    ) {
        for token in [&self.drain, &self.kill] {
            let exit = tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
                Some(_) = heard(&mut hangup) => Exit::Terminated,
            };
            tell.send_replace(exit);
            if self.drain.is_cancelled() {
                tracing::warn!("a second signal: ending at once");
            } else {
                tracing::info!(
                    "stopping: what runs is finished or handed back; a second signal ends at once"
                );
            }
            token.cancel();
        }
    }

    /// The exit code for a command that a signal cut short.
    pub fn exit(&self) -> Exit {
        *self.last.borrow()
    }

    /// The future's answer, or nothing when a signal comes first.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = work => Some(done),
            () = self.drain.cancelled() => None,
        }
    }

    /// Runs a service to its end. After a second signal that is near, or the service is dropped; the signal gives the
    /// exit code.
    pub async fn until_killed(&self, work: impl Future<Output = Result<(), Error>>) -> Outcome {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            () = self.kill.cancelled() => {}
            done = &mut work => return done.map(|()| Exit::Done).map_err(Failure::from),
        }
        // What is handed back need not wait for the lease's end.
        if tokio::time::timeout(LAST_WORDS, work).await.is_err() {
            tracing::warn!("some of what ran did not end in time and was dropped");
        }
        Ok(self.exit())
    }
}
/// None at once where nobody listens.
async fn heard(signal: &mut Option<Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}

fn ignores_hangup() -> bool {
    const SIGHUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|signals| signals & SIGHUP != 0)
}
