//! What the demo deploys: a small server of HTTP, as well or as badly as its version's folder says. What it answered,
//! and how fast, it tells at `/metrics`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use domain::Error;
use metrics::Histogram;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Outcome};
use crate::shutdown::Shutdown;

/// What a version's folder holds.
pub const MANNERS: &str = "shop.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manners {
    pub version: String,
    /// One request in so many is answered with an error; none is when 0.
    pub error_every: u64,
    pub answers_in_ms: u64,
    /// And up to so much longer, now more and now less.
    #[serde(default)]
    pub spread_ms: u64,
}

/// What it measures: seconds from a request to its answer, by version and status.
const SECONDS: &str = "shop_request_seconds";

pub fn run(port: u16) -> Outcome {
    let text = std::fs::read_to_string(MANNERS).map_err(|error| {
        Error::invalid(format!("there is no {MANNERS} here"))
            .because(&error)
            .next("`longshore dev --demo` starts this; by hand there is nothing to do with it")
    })?;
    let manners: Manners = serde_json::from_str(&text)
        .map_err(|error| Error::invalid(format!("{MANNERS} cannot be read")).because(&error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal("could not start the runtime").because(&error))?;
    runtime.block_on(serve(port, manners))
}

async fn serve(port: u16, manners: Manners) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| Error::unavailable(format!("port {port} is not to be had")).because(&error))?;
    let shop = Arc::new(Shop::new(manners)?);
    let visits = TaskTracker::new();
    while let Some(visit) = shutdown.unless_stopped(listener.accept()).await {
        let Ok((stream, _)) = visit else { continue };
        let (shop, over) = (shop.clone(), shutdown.drain.clone());
        // A visitor who goes away in the middle is nobody's fault.
        visits.spawn(async move { shop.serve(stream, &over).await.ok() });
    }
    visits.close();
    visits.wait().await;
    Ok(Exit::Done)
}

struct Shop {
    manners: Manners,
    asked: AtomicU64,
    well: Histogram,
    bad: Histogram,
    measured: PrometheusHandle,
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn well(body: String) -> Self {
        Self {
            status: "200 OK",
            kind: "text/plain; version=0.0.4",
            body,
        }
    }
}

impl Shop {
    fn new(manners: Manners) -> Result<Self, Error> {
        let failed = |error: metrics_exporter_prometheus::BuildError| {
            Error::internal("the shop could not prepare to measure itself").because(&error)
        };
        // Each bucket a tenth wider than the one before it, from 1 ms to beyond 10 s: a quantile is right to a tenth.
        let buckets: Vec<f64> = (0..100).map(|step| 0.001 * 1.1_f64.powi(step)).collect();
        let measured = PrometheusBuilder::new()
            .set_buckets(&buckets)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(failed)?;
        let of = |code| metrics::histogram!(SECONDS, "version" => manners.version.clone(), "code" => code);
        Ok(Self {
            asked: AtomicU64::new(0),
            well: of("200"),
            bad: of("500"),
            measured,
            manners,
        })
    }

    /// As much of HTTP as HAProxy and Prometheus speak to a server: requests without bodies, one after the other.
    async fn serve(&self, mut stream: TcpStream, over: &CancellationToken) -> std::io::Result<()> {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        while let Some(request) = over.run_until_cancelled(lines.next_line()).await {
            let Some(request) = request? else { break };
            while lines.next_line().await?.is_some_and(|header| !header.is_empty()) {}
            let Answer { status, kind, body } = self.answer(&request).await;
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n");
            write.write_all((head + &body).as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer(&self, request: &str) -> Answer {
        match request.split(' ').nth(1) {
            Some("/healthz") => Answer::well("ok\n".to_owned()),
            Some("/metrics") => Answer::well(self.measured.render()),
            _ => self.sell().await,
        }
    }

    async fn sell(&self) -> Answer {
        let (manners, begun) = (&self.manners, Instant::now());
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::time::sleep(manners.takes(number)).await;
        let is_bad = manners.error_every > 0 && number.is_multiple_of(manners.error_every);
        let measured = if is_bad { &self.bad } else { &self.well };
        measured.record(begun.elapsed());
        let answer = Answer::well(format!("shop {}\n", manners.version));
        let status = if is_bad {
            "500 Internal Server Error"
        } else {
            answer.status
        };
        Answer { status, ..answer }
    }
}

impl Manners {
    fn takes(&self, number: u64) -> Duration {
        let mut chance = DefaultHasher::new();
        number.hash(&mut chance);
        let longer = chance.finish() % (self.spread_ms + 1);
        Duration::from_millis(self.answers_in_ms + longer)
    }
}

/// Makes a version's folder.
pub fn write(versions: &Path, manners: &Manners) -> std::io::Result<()> {
    let folder = versions.join(&manners.version);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(MANNERS), serde_json::to_vec_pretty(manners)?)
}
