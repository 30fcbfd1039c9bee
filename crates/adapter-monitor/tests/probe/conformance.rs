use std::sync::{Mutex, PoisonError};

use adapter_monitor::{ProbeConfig, Probes};
use async_trait::async_trait;
use ports::Probe;
use ports::conformance::probe::ProbeWorld;
use tokio::io::AsyncReadExt;

use super::http::says;
use super::{Server, probes, refused};

struct World {
    probes: Probes,
    servers: Mutex<Vec<Server>>,
}

fn start() -> World {
    World {
        probes: probes(&ProbeConfig::default()),
        servers: Mutex::default(),
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
}

ports::probe_conformance!(start());
