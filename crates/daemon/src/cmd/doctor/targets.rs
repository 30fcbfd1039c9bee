//! What deployments need: hosts whose HAProxy answers, stores of measurements that do.

use std::path::Path;
use std::time::Duration;

use adapter_host::{HaproxyRouter, HostConfig};
use adapter_kube::{Connection, KubeConfig};
use chrono::Utc;
use domain::{Error, ErrorKind};
use ports::{Granularity, MetricQuery, MetricQuestion, RouteRef, TrafficRouter, Window};

use super::Findings;
use crate::config::Settings;
use crate::wiring;

/// What every store answers without having measured anything.
const ANYTHING: &str = "vector(1)";

pub async fn look(settings: &Settings, found: &mut Findings) {
    for (name, config) in &settings.hosts {
        host(name, config, found).await;
    }
    for (name, config) in &settings.clusters {
        cluster(name, config, found).await;
    }
    if settings.hosts.is_empty() && settings.clusters.is_empty() {
        found.warn(
            "targets",
            "no target is configured, so nothing can be deployed",
            "Describe one under [hosts] or [clusters]; docs/hosts.md and docs/kubernetes.md show how. Nothing, if this worker deploys nothing",
        );
    }
    registries(settings, found).await;
    metrics(settings, found).await;
}

async fn registries(settings: &Settings, found: &mut Findings) {
    let all = match wiring::registries(settings) {
        Ok(all) => all,
        Err(error) => {
            found.error("registries", &error, "Correct it under [registries]");
            return;
        }
    };
    for registry in settings.registries.values() {
        match all.check(&registry.host).await {
            Ok(()) => found.ok("registries", format!("{} answers", registry.host)),
            // Many tell nobody unknown whether an image is there.
            Err(error) if error.kind == ErrorKind::Denied && registry.username.is_none() => found.warn(
                "registries",
                format!("{} answers, and may want a login", registry.host),
                "Give `username` and `password` where its images are not for everybody",
            ),
            Err(error) => found.error("registries", &error, "Are its address and login right?"),
        }
    }
}

async fn host(name: &str, config: &HostConfig, found: &mut Findings) {
    if let Err(error) = config.check() {
        found.error("targets", &error, "docs/hosts.md explains the keys of [hosts]");
        return;
    }
    for (workload, of) in &config.workloads {
        if !of.versions.is_dir() {
            let what = format!(
                "{name}: the versions of {workload} are not there: {}",
                of.versions.display()
            );
            found.fail(
                "targets",
                what,
                "Make the folder, with a folder in it for every version",
            );
        }
    }
    if let Err(error) = writable(&config.state) {
        let what = format!("{name}: {} cannot be written to: {error}", config.state.display());
        found.fail(
            "targets",
            what,
            "Make the folder and give it to the worker's user, on a disk that outlives restarts",
        );
    }
    match config.supervision(&wiring::runtime_dir()).await {
        Ok(supervision) => {
            found.ok("targets", format!("{name}: versions run as {}", supervision.by));
            for (what, next) in supervision.warnings {
                found.warn("targets", format!("{name}: {what}"), next);
            }
        }
        Err(error) => found.error(
            "targets",
            &error.context(name.to_owned()),
            "docs/hosts.md tells what `supervisor` needs",
        ),
    }
    let Some(haproxy) = &config.haproxy else {
        found.ok(
            "targets",
            format!("{name}: no HAProxy, so replicas share the traffic"),
        );
        return;
    };
    let router = match HaproxyRouter::new(haproxy) {
        Ok(router) => router,
        Err(error) => {
            found.error("targets", &error, "docs/hosts.md explains the keys of [hosts]");
            return;
        }
    };
    for (workload, of) in &config.workloads {
        let Some(backend) = &of.backend else { continue };
        let at = RouteRef {
            target: name.to_owned(),
            name: backend.clone(),
        };
        match router.granularity(&at).await {
            Ok(can) => found.ok(
                "targets",
                format!("{name}: HAProxy parts the traffic of {workload}{}", finely(can)),
            ),
            Err(error) => found.error(
                "targets",
                &error.context(format!("{name}: the traffic of {workload} cannot be parted")),
                "docs/hosts.md shows what haproxy.cfg declares",
            ),
        }
    }
}

async fn cluster(name: &str, config: &KubeConfig, found: &mut Findings) {
    const PAGE: &str = "docs/kubernetes.md explains the keys of [clusters]";
    let connection = match Connection::open(config).await {
        Ok(connection) => connection,
        Err(error) => {
            found.error("targets", &error.context(name.to_owned()), PAGE);
            return;
        }
    };
    match connection.check(None).await {
        Ok(checked) if checked.missing.is_empty() => {
            let what = format!("{name}: Kubernetes {} answers, and we may deploy there", checked.version);
            found.ok("targets", what);
        }
        Ok(checked) => found.fail(
            "targets",
            format!("{name}: {}", checked.missing.join("; ")),
            "Give longshore's user the Role of deploy/kubernetes/role.yaml in each namespace that it deploys to",
        ),
        Err(error) => found.error("targets", &error.context(name.to_owned()), PAGE),
    }
}

fn finely(can: Granularity) -> String {
    match can {
        Granularity::Parts(parts) => format!(" in {parts} parts"),
        Granularity::AllOrNothing | Granularity::Replicas => String::new(),
    }
}

/// Looked at without leaving anything behind: of a folder that is not there yet, in the nearest one above it.
fn writable(folder: &Path) -> std::io::Result<()> {
    let there = folder.ancestors().find(|above| above.is_dir());
    tempfile::tempfile_in(there.unwrap_or(folder)).map(drop)
}

async fn metrics(settings: &Settings, found: &mut Findings) {
    let stores = match wiring::metrics(settings) {
        Ok(stores) => stores,
        Err(error) => {
            found.error("metrics", &error, "Correct it under [metrics]");
            return;
        }
    };
    for name in settings.metrics.keys() {
        match answers(&stores, name).await {
            Ok(()) => found.ok("metrics", format!("{name} answers")),
            Err(error) => found.error("metrics", &error, "Is its address right, and is it running?"),
        }
    }
}

async fn answers(stores: &impl MetricQuery, name: &str) -> Result<(), Error> {
    let question = MetricQuestion {
        source: name.to_owned(),
        query: ANYTHING.to_owned(),
    };
    let end = Utc::now() - Duration::from_secs(60);
    let window = Window {
        start: end - Duration::from_secs(60),
        end,
        step: Duration::from_secs(60),
    };
    stores.range(&question, &window).await.map(drop)
}
