//! `longshore serve`: the API, webhooks and the page.

use std::future::Future;
use std::net::SocketAddr;

use domain::Error;
use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::exit::Outcome;
use crate::shutdown::Shutdown;
use crate::wiring::{self, As};

pub async fn run(settings: &Settings) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let listener = bind(settings.api.bind).await?;
    let Some(store) = shutdown.unless_stopped(wiring::store(settings, As::Api)).await else {
        return Ok(shutdown.exit());
    };
    let served = api(settings, listener, store?, shutdown.drain.clone())?;
    shutdown.until_killed(served).await
}

/// Binds before anything else is done, so that a taken port is told at once.
pub async fn bind(at: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|error| {
        Error::invalid(format!("could not listen on {at}"))
            .because(&error)
            .next("Another program may have the port: choose another with `api.bind` (or --bind, --port), or 0 for a free one")
    })
}

/// The API as a future that ends after `drain`.
pub fn api(
    settings: &Settings,
    listener: TcpListener,
    store: Store,
    drain: CancellationToken,
) -> Result<impl Future<Output = Result<(), Error>> + Send + 'static, Error> {
    let at = listener
        .local_addr()
        .map_err(|error| Error::internal("could not tell the API's address").because(&error))?;
    let metrics: PrometheusHandle = api::install_metrics()?;
    let upkeep = tokio::spawn(api::metrics_upkeep(metrics.clone()));
    let api = api::Api::new(store, wiring::api_config(settings, at), Some(metrics));
    let open = api.config.open;
    tracing::info!(api.address = %at, api.open = open, "the API is served{}", match open {
        true => "",
        false => "; callers send a token, which `longshore token create` makes",
    });
    Ok(async move {
        let served = api::serve(listener, api, drain).await;
        upkeep.abort();
        served
    })
}
