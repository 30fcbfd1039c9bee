//! `longshore dev`: everything on this machine, over a private Postgres and local tickets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use adapter_forge::{Forges, LocalConfig, LocalTickets};
use domain::Error;
use secrecy::ExposeSecret;
use store::cluster::{Cluster, ClusterConfig, StopMode};

use super::demo::Site;
use super::{demo, serve, worker};
use crate::Handlers;
use crate::cli::Dev;
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, Paint, quoted};
use crate::shutdown::Shutdown;
use crate::wiring::{self, As};

/// The name of the database in the private cluster; every cluster has it from its making.
const DATABASE: &str = "postgres";

pub async fn run(command: Dev, mut settings: Settings, handlers: Handlers, out: Output) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let port = command.port.unwrap_or(settings.api.bind.port());
    let listener = serve::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    let starting = Cluster::start(ClusterConfig::new(command.data.join("postgres")));
    let Some(cluster) = shutdown.unless_stopped(starting).await else {
        return Ok(shutdown.exit());
    };
    let mut cluster = cluster?;
    let url = cluster.url(DATABASE);
    settings.database.url = Some(url.parse().map_err(|error: crate::config::DatabaseUrlError| {
        Failure(Error::internal("the private Postgres has no usable address").because(&error))
    })?);
    settings.database.direct_url = None;
    settings.database.pooler = false;
    wiring::install_redaction(&settings);
    let site = match command.demo {
        true => {
            shutdown
                .unless_stopped(Site::start(&command.data, &mut settings))
                .await
        }
        false => None,
    };
    let outcome = match site.transpose() {
        Ok(site) => {
            let site = site.unwrap_or_else(|| Err(String::new()));
            let shown = site.as_ref().map_err(String::as_str);
            let outcome = serve_over(&command, &settings, handlers, listener, &shutdown, shown, out).await;
            match site {
                Ok(site) => site.end().await.map_err(Failure).and(outcome),
                Err(_) => outcome,
            }
        }
        Err(error) => Err(Failure(error)),
    };
    // Whatever happened above, the server is stopped in order; a dropped one would be stopped too, but untidily.
    let stopped = cluster.stop(StopMode::Fast).await;
    let exit = outcome?;
    stopped?;
    Ok(exit)
}

async fn serve_over(
    command: &Dev,
    settings: &Settings,
    handlers: Handlers,
    listener: tokio::net::TcpListener,
    shutdown: &Shutdown,
    site: Result<&Site, &str>,
    out: Output,
) -> Outcome {
    let store = wiring::store(settings, As::Worker).await?;
    store.migrate().await?;
    let desk = wiring::store(settings, As::Api).await?;
    let local = Arc::new(LocalTickets::new(LocalConfig {
        folder: command.data.join("tickets"),
        open_unknown: true,
    }));
    let forges = Arc::new(Forges::new(&wiring::forge_config(settings))?);
    let at = listener
        .local_addr()
        .map_err(|error| Error::internal("could not tell the API's address").because(&error))?;
    let working = worker::work(settings, handlers, &store, &forges, local.clone(), shutdown).await?;
    let serving = serve::api(settings, listener, desk.clone(), shutdown.drain.clone())?;
    let working = tokio::spawn(working);
    let serving = tokio::spawn(serving);
    greet(settings, at, local.folder(), out)?;

    let shown = if command.demo {
        shutdown.unless_stopped(demo::run(&desk, &local, site, out)).await
    } else {
        None
    };
    if let Some(Err(_)) | Some(Ok(_)) = &shown
        && (command.exit || matches!(shown, Some(Err(_))))
    {
        shutdown.drain.cancel();
    } else if command.demo && shown.is_some() {
        let page = format!("http://{at}/");
        out.text(&format!("\nThe tasks are on {page} too. Ctrl-C ends it."))?;
    }
    let outcome = shutdown
        .until_killed(async {
            let (worked, served) = tokio::join!(working, serving);
            let broke = |error: tokio::task::JoinError| {
                Error::internal("a part of the process broke").because(&error)
            };
            worked.map_err(broke)?.and(served.map_err(broke)?)
        })
        .await;
    worker::close(&[store, desk]).await;
    let exit = outcome?;
    match shown {
        Some(Err(error)) => Err(error.into()),
        Some(Ok(demo)) if command.exit && exit == Exit::Done => Ok(demo),
        // The demo was cut short by a signal.
        None if command.demo && exit == Exit::Done => Ok(shutdown.exit()),
        _ => Ok(exit),
    }
}

/// The database is this machine's own, made a moment ago: its address is shown whole.
fn greet(settings: &Settings, at: SocketAddr, tickets: &Path, out: Output) -> Result<(), Error> {
    let out = out.as_it_is();
    let url = settings.database.url.as_ref().map(|url| url.secret());
    let url = url.as_ref().map_or("", |url| url.expose_secret());
    if out.json {
        return out.value(&serde_json::json!({
            "page": format!("http://{at}/"),
            "database_url": url,
            "tickets": tickets,
        }));
    }
    let title = out.paint(Paint::Bold, "longshore is up.");
    let folder = tickets.display();
    out.text(&format!(
        "{title}\n  Page and API   http://{at}/\n  Database       {url}\n  Tickets        {folder}/\n\n\
         Try, in another terminal:\n  export DASHBOARD_URL=http://{at}\n  export DATABASE_URL={}\n  \
         longshore create-task --agent devops --task-type fix_build --payload-json '{{\"log\": \"make: *** [all] Error 2\"}}'\n  \
         longshore tasks watch TASK    # the id that it answered with\n",
        quoted(url),
    ))
}
