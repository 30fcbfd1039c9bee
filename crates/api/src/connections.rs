//! The connections that the API is spoken to over: how many, and how long one may stand still.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After an accept that failed for want of something, such as files.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Connections where no limit on files is known.
const MOST: u64 = 4096;
/// More than those who may follow at once, so that they alone cannot shut others out.
const FEWEST: u64 = 320;

/// What one stranger's connections may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many at once; others wait in the kernel's queue.
    pub most: usize,
    /// From the beginning of a connection, or from the end of an answer, to the last line of the next request's head.
    pub head: Duration,
    /// How long requests under way may take after the end was called for.
    pub last_answers: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // Half of the files, as the database, logs and programs that handlers run need some, too.
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = (files / 2).min(MOST).max(FEWEST.min(files / 4 * 3));
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX).max(1),
            head: Duration::from_secs(10),
            last_answers: Duration::from_secs(5),
        }
    }
}

/// Serves until `stop`, and then for as long as requests under way take, within limits.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits.most));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
    let graceful = GracefulShutdown::new();
    // Dropped at the end, and what is left with it.
    let mut connections = JoinSet::new();
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let place = places.clone().acquire_owned().await;
            let stream = accept(&listener).await;
            while connections.try_join_next().is_some() {}
            let service = TowerToHyperService::new(router.clone());
            let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection broke");
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stop.cancelled() => {}
    }
    drop(listener);
    if tokio::time::timeout(limits.last_answers, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("requests under way took too long and are dropped");
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // The caller's, who went again.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
                ) => {}
            Err(error) => {
                tracing::error!(%error, "a connection could not be taken; trying again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::watch;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    async fn served(router: Router, limits: Limits) -> (std::net::SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, limits, stop.clone()));
        (at, stop)
    }

    /// All that comes until the other side closes.
    async fn heard(mut stream: TcpStream) -> String {
        let mut text = String::new();
        tokio::time::timeout(SOON, stream.read_to_string(&mut text))
            .await
            .expect("the connection is closed")
            .unwrap();
        text
    }

    async fn says(at: std::net::SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn who_says_nothing_or_half_of_it_is_not_waited_for() {
        let limits = Limits {
            most: 3,
            head: Duration::from_millis(200),
            ..Limits::default()
        };
        let (at, _stop) = served(Router::new().fallback(async || "here"), limits).await;
        let silent = says(at, "").await;
        let half = says(at, "GET / HTTP/1.1\r\nhost: x\r\n").await;
        let idle = says(at, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // All places are taken: this one is served once they are free.
        let waits = says(at, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(heard(waits).await.ends_with("here"));
        assert_eq!(heard(silent).await, "");
        assert!(!heard(half).await.contains("200 OK"));
        assert!(heard(idle).await.ends_with("here"));
    }

    #[tokio::test]
    async fn no_more_are_served_at_once_than_there_are_places_and_those_under_way_end_well() {
        let (running, mut seen) = watch::channel(0);
        let (open, gate) = watch::channel(false);
        let running = Arc::new(running);
        let slow = move || {
            let (running, mut gate) = (running.clone(), gate.clone());
            async move {
                running.send_modify(|running| *running += 1);
                gate.wait_for(|open| *open).await.unwrap();
                "done"
            }
        };
        let limits = Limits {
            most: 2,
            ..Limits::default()
        };
        let (at, stop) = served(Router::new().fallback(slow), limits).await;
        let asks = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        let (one, two) = (says(at, asks).await, says(at, asks).await);
        seen.wait_for(|running| *running == 2).await.unwrap();
        let three = says(at, asks).await;
        stop.cancel();
        open.send_replace(true);
        assert!(heard(one).await.ends_with("done"));
        assert!(heard(two).await.ends_with("done"));
        let mut rest = [0; 1];
        let mut three = three;
        let refused = tokio::time::timeout(SOON, three.read(&mut rest)).await.unwrap();
        assert!(!matches!(refused, Ok(1)), "the third was never taken");
        assert_eq!(*seen.borrow(), 2);
    }

    #[test]
    fn there_are_places_beside_those_who_follow() {
        assert!(Limits::default().most > 256);
    }
}
