use std::sync::{Mutex, PoisonError};

use adapter_monitor::{ProbeConfig, Probes};
use async_trait::async_trait;
use ports::Probe;
use ports::conformance::probe::ProbeWorld;
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use super::commands::shell;
use super::http::says;
use super::{Server, probes, refused};

struct World {
    probes: Probes,
    servers: Mutex<Vec<Server>>,
    /// Where the command runs, and finds what to do.
    folder: TempDir,
}

fn start() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let mut check = shell("cat says; exit $(cat code)");
    check.folder = Some(folder.path().to_owned());
    let commands = [
        ("check".to_owned(), check),
        ("slow-check".to_owned(), shell("exec sleep 600")),
    ];
    World {
        probes: probes(&ProbeConfig {
            commands: commands.into(),
            ..ProbeConfig::default()
        }),
        servers: Mutex::default(),
        folder,
    }
}

impl World {
    /// Keeps it until the test ends.
    fn keep(&self, server: Server) -> String {
        let address = server.address.clone();
        self.servers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(server);
        address
    }

    async fn silent(&self) -> String {
        let server = Server::start(|mut connection| async move {
            let mut rest = Vec::new();
            let _ = connection.read_to_end(&mut rest).await;
        });
        self.keep(server.await)
    }
}

#[async_trait]
impl ProbeWorld for World {
    fn port(&self) -> &dyn Probe {
        &self.probes
    }
    async fn answers(&self, status: u16, body: &str) -> String {
        format!("http://{}/", self.keep(says(status, "", body).await))
    }
    async fn listens(&self) -> String {
        self.silent().await
    }
    async fn refuses(&self) -> String {
        refused().await
    }
    async fn hangs(&self) -> String {
        format!("http://{}/", self.silent().await)
    }
    async fn runs(&self, code: u8, says: &str) -> String {
        let place = |name| self.folder.path().join(name);
        std::fs::write(place("says"), says).expect("writes");
        std::fs::write(place("code"), code.to_string()).expect("writes");
        "check".to_owned()
    }
    async fn runs_on(&self) -> String {
        "slow-check".to_owned()
    }
}

ports::probe_conformance!(start());
