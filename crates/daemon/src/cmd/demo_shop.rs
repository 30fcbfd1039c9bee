//! What the demo deploys: a small server of HTTP, as well or as badly as its version's folder says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Error;
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
}

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
    let shop = Arc::new(Shop {
        manners,
        asked: AtomicU64::new(0),
    });
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
}

impl Shop {
    /// As much of HTTP as HAProxy speaks to a server behind it: requests without bodies, one after the other.
    async fn serve(&self, mut stream: TcpStream, over: &CancellationToken) -> std::io::Result<()> {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        while let Some(request) = over.run_until_cancelled(lines.next_line()).await {
            let Some(request) = request? else { break };
            while lines.next_line().await?.is_some_and(|header| !header.is_empty()) {}
            let (status, body) = self.answer(request.contains(" /healthz ")).await;
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
            write.write_all((head + &body).as_bytes()).await?;
        }
        Ok(())
    }

    async fn answer(&self, is_check: bool) -> (&'static str, String) {
        const WELL: &str = "200 OK";
        if is_check {
            return (WELL, "ok\n".to_owned());
        }
        let manners = &self.manners;
        tokio::time::sleep(Duration::from_millis(manners.answers_in_ms)).await;
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let is_bad = manners.error_every > 0 && number.is_multiple_of(manners.error_every);
        let status = if is_bad { "500 Internal Server Error" } else { WELL };
        (status, format!("shop {}\n", manners.version))
    }
}

/// Makes a version's folder.
pub fn write(versions: &Path, manners: &Manners) -> std::io::Result<()> {
    let folder = versions.join(&manners.version);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(MANNERS), serde_json::to_vec_pretty(manners)?)
}
