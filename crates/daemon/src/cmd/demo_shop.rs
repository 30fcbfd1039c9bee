//! What the demo deploys: a small server of HTTP, as well or as badly as its version's folder says.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use domain::Error;
use serde::{Deserialize, Serialize};

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
    let (manners, asked) = (Arc::new(manners), Arc::new(AtomicU64::new(0)));
    let front = move || {
        let (manners, asked) = (manners.clone(), asked.clone());
        async move {
            tokio::time::sleep(Duration::from_millis(manners.answers_in_ms)).await;
            let number = asked.fetch_add(1, Ordering::Relaxed) + 1;
            let is_bad = manners.error_every > 0 && number.is_multiple_of(manners.error_every);
            let status = match is_bad {
                true => StatusCode::INTERNAL_SERVER_ERROR,
                false => StatusCode::OK,
            };
            (status, format!("shop {}\n", manners.version))
        }
    };
    let routes = Router::new()
        .route("/", get(front))
        .route("/healthz", get(|| async { "ok\n" }));
    let drain = shutdown.drain.clone();
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move { drain.cancelled().await })
        .await
        .map_err(|error| Error::unavailable("the demo's shop broke").because(&error))?;
    Ok(Exit::Done)
}

/// Makes a version's folder.
pub fn write(versions: &Path, manners: &Manners) -> std::io::Result<()> {
    let folder = versions.join(&manners.version);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(MANNERS), serde_json::to_vec_pretty(manners)?)
}
