//! What `deploy` and `rollback` reach.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapter_forge::Forges;
use adapter_host::{HaproxyRouter, HostConfig, HostFleet, KeeperCommand};
use adapter_kube::{Connection, KubeConfig, KubeFleet, KubeRouter, Registries, RegistryConfig};
use adapter_monitor::{CommandConfig, Metrics, ProbeConfig, Probes, StoreConfig};
use deploy::{Outside, Target};
use domain::Error;
use ports::TrafficRouter;
use store::Store;
use tokio_util::sync::CancellationToken;

use super::flags::Flags;
use crate::config::{CheckCommand, MetricsStore, Registry, Settings, StoreKind, WebUrl};

/// How soon a keeper that died is replaced.
const KEEP_EVERY: Duration = Duration::from_secs(15);

/// The outside of a worker, and the hosts whose processes it sees kept.
pub struct Reach {
    pub outside: Outside,
    hosts: Vec<(String, HostFleet)>,
}

impl Reach {
    /// Asks nobody anything yet.
    pub async fn new(settings: &Settings, store: &Store, forges: &Arc<Forges>) -> Result<Self, Error> {
        let memory = Arc::new(store.clone());
        let mut targets = BTreeMap::new();
        let mut hosts = Vec::new();
        for (name, config) in &settings.hosts {
            let (fleet, router) = host(name, config)?;
            hosts.push((name.clone(), fleet.clone()));
            let target = Target {
                fleet: Arc::new(fleet),
                router,
            };
            targets.insert(name.clone(), target);
        }
        let (registries, mut clusters) = (registries(settings)?, BTreeMap::new());
        for (name, config) in &settings.clusters {
            let connection = cluster(name, config).await?;
            targets.insert(name.clone(), target(&connection, &registries));
            clusters.insert(name.clone(), connection);
        }
        let outside = Outside {
            targets,
            metrics: Arc::new(metrics(settings)?),
            probe: Arc::new(probes(settings)?),
            flags: Arc::new(Flags::new(settings, forges, &clusters)?),
            forge: forges.clone(),
            environments: forges.clone(),
            log: memory.clone(),
            cancels: memory.clone(),
            repos: memory,
        };
        Ok(Self { outside, hosts })
    }

    /// What runs on our hosts is kept from the start on, as the machine may have been started anew, and a keeper that died
    /// is replaced. Ends with the token; at once where there are no hosts.
    pub async fn keep(self, over: CancellationToken) {
        let mut told = BTreeMap::new();
        while !self.hosts.is_empty() {
            for (name, fleet) in &self.hosts {
                let wrong = fleet.revive().await.err().map(|error| error.to_string());
                if told.insert(name, wrong.clone()) != Some(wrong.clone())
                    && let Some(error) = wrong
                {
                    tracing::warn!(target.name = name, "what runs on a host is not kept: {error}");
                }
            }
            if over
                .run_until_cancelled(tokio::time::sleep(KEEP_EVERY))
                .await
                .is_none()
            {
                break;
            }
        }
    }
}

fn host(name: &str, config: &HostConfig) -> Result<(HostFleet, Option<Arc<dyn TrafficRouter>>), Error> {
    let within = |error: Error| error.context(format!("`hosts.{name}` cannot be used"));
    let fleet = HostFleet::new(config, keeper()?).map_err(within)?;
    let router = match &config.haproxy {
        None => None,
        Some(haproxy) => {
            let router: Arc<dyn TrafficRouter> = Arc::new(HaproxyRouter::new(haproxy).map_err(within)?);
            Some(router)
        }
    };
    Ok((fleet, router))
}

pub fn registries(settings: &Settings) -> Result<Registries, Error> {
    let registry = |given: &Registry| RegistryConfig {
        host: given.host.clone(),
        login: match (&given.username, &given.password) {
            (Some(username), Some(password)) => Some((username.clone(), password.secret())),
            _ => None,
        },
        ca_file: given.ca_file.clone(),
        plain_http: given.plain_http,
        timeout: given.timeout.0,
    };
    Registries::new(settings.registries.values().map(registry))
}

async fn cluster(name: &str, config: &KubeConfig) -> Result<Connection, Error> {
    let within = |error: Error| error.context(format!("`clusters.{name}` cannot be used"));
    Connection::open(config).await.map_err(within)
}

fn target(connection: &Connection, registries: &Registries) -> Target {
    Target {
        fleet: Arc::new(KubeFleet::new(connection).with_registries(registries.clone())),
        router: Some(Arc::new(KubeRouter::new(connection))),
    }
}

/// This very program, as it is now: one that was replaced while we run is found under its name.
pub fn keeper() -> Result<KeeperCommand, Error> {
    let own = std::env::current_exe()
        .map_err(|error| Error::internal("could not find this program's own file").because(&error))?;
    let text = own.to_string_lossy();
    let replaced = text.strip_suffix(" (deleted)").map(PathBuf::from);
    Ok(KeeperCommand {
        program: replaced.filter(|path| Path::exists(path)).unwrap_or(own),
        args: vec!["keep-host".to_owned()],
        runtime_dir: runtime_dir(),
    })
}

/// Of our user, as a session told us; a service is told nothing.
pub fn runtime_dir() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(adapter_host::runtime_dir, PathBuf::from)
}

pub fn metrics(settings: &Settings) -> Result<Metrics, Error> {
    let stores = settings.metrics.iter();
    Metrics::new(
        &stores
            .map(|(name, store)| (name.clone(), metrics_store(store)))
            .collect(),
    )
}

fn metrics_store(given: &MetricsStore) -> StoreConfig {
    let mut store = StoreConfig::new(given.url.clone());
    store.kind = match given.kind {
        StoreKind::Prometheus => adapter_monitor::StoreKind::Prometheus,
        StoreKind::Loki => adapter_monitor::StoreKind::Loki,
    };
    store.bearer_token = given.bearer_token.as_ref().map(|token| token.secret());
    store.username.clone_from(&given.username);
    store.password = given.password.as_ref().map(|password| password.secret());
    store.headers = given
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.secret()))
        .collect();
    store.ca_file.clone_from(&given.ca_file);
    store.proxy = given.proxy.as_ref().and_then(WebUrl::url);
    store.timeout = given.timeout.0;
    store.lookback = given.lookback.map(|span| span.0);
    store.accept_partial = given.accept_partial;
    store
}

fn probes(settings: &Settings) -> Result<Probes, Error> {
    Probes::new(&ProbeConfig {
        ca_file: settings.checks.ca_file.clone(),
        commands: settings
            .checks
            .commands
            .iter()
            .map(|(name, command)| (name.clone(), check_command(command)))
            .collect(),
        ..ProbeConfig::default()
    })
}

fn check_command(given: &CheckCommand) -> CommandConfig {
    let mut command = CommandConfig::new(given.program.clone());
    command.args.clone_from(&given.args);
    command.env = given
        .env
        .iter()
        .map(|(name, value)| (name.clone(), value.secret()))
        .collect();
    command.folder.clone_from(&given.folder);
    command.timeout = given.timeout.0;
    command
}
