use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use store::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Database;

/// Stands in front of a server on loopback and does what networks do. Dropping it ends its connections.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    network: watch::Sender<Network>,
    task: JoinHandle<()>,
}

/// What befalls the first connection that carries some text, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's message with the text is kept back, and both ends stay open: as when the client is frozen.
    Freeze(&'static str),
    /// After the text has passed in either direction, the server carries out the next `COMMIT`, and the connection
    /// breaks before it can say so.
    LoseCommit(&'static str),
    /// The connection breaks instead of passing on the server's answer that holds the text.
    LoseAnswer(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Network {
    /// Connections of an earlier era are silent for ever.
    era: u32,
    /// Whether new connections get through.
    open: bool,
}

struct Shared {
    target: AtomicU16,
    fault: Mutex<Option<Fault>>,
    struck: Notify,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// In front of the server of a database.
    pub async fn before(db: &Database) -> Self {
        Self::to(port_of(db.url())).await
    }

    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            fault: Mutex::default(),
            struck: Notify::new(),
        });
        let (network, look) = watch::channel(Network { era: 0, open: true });
        let own = shared.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, own.clone(), look.clone()));
            }
        });
        Self {
            port,
            shared,
            network,
            task,
        }
    }

    /// How to reach a server's database through this.
    pub fn config(&self, url: &str) -> Config {
        Config {
            application_name: "longshore-worker".to_owned(),
            ..Config::new(url.replace(&format!(":{}/", port_of(url)), &format!(":{}/", self.port)))
        }
    }

    /// New connections lead to another server.
    pub fn lead_to(&self, target: u16) {
        self.shared.target.store(target, Ordering::SeqCst);
    }

    pub fn strike(&self, fault: Fault) {
        *self.shared.fault() = Some(fault);
    }

    /// Returns when a fault has struck.
    pub async fn struck(&self) {
        self.shared.struck.notified().await;
    }

    /// Nothing passes any more, and nobody is told: packets are lost, as when a cable is cut.
    pub fn go_dark(&self) {
        self.network.send_modify(|network| {
            network.era += 1;
            network.open = false;
        });
    }

    /// What was connected falls silent for ever, as when a firewall forgets it; new connections get through.
    pub fn forget_connections(&self) {
        self.network.send_modify(|network| {
            network.era += 1;
            network.open = true;
        });
    }
}

/// The port in a URL that leads to loopback.
pub fn port_of(url: &str) -> u16 {
    let after_host = url.rsplit_once("127.0.0.1:").expect("a loopback URL").1;
    let digits = after_host.split('/').next().expect("a port");
    digits.parse().expect("a port")
}

impl Shared {
    fn fault(&self) -> std::sync::MutexGuard<'_, Option<Fault>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(client: TcpStream, shared: Arc<Shared>, mut network: watch::Receiver<Network>) {
    let Network { era, open } = *network.borrow_and_update();
    if !open {
        return std::future::pending().await;
    }
    let forgotten = async {
        while network.borrow_and_update().era == era {
            if network.changed().await.is_err() {
                return;
            }
        }
    };
    let target = shared.target.load(Ordering::SeqCst);
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let mut client = client;
    tokio::select! {
        biased;
        () = forgotten => {}
        () = exchange(&mut client, &mut server, &shared) => return,
    }
    // Both ends stay open: silence is not an end.
    std::future::pending().await
}

/// Passes everything on until an end closes or a fault breaks the connection.
async fn exchange(client: &mut TcpStream, server: &mut TcpStream, shared: &Shared) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.split(), server.split());
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut to_lose = false;
    loop {
        let (sent, from_us) = tokio::select! {
            read = from_client.read(&mut asked) => match read {
                Ok(read @ 1..) => (&asked[..read], true),
                _ => return,
            },
            read = from_server.read(&mut answered) => match read {
                Ok(read @ 1..) => (&answered[..read], false),
                _ => return,
            },
        };
        let commits = from_us && to_lose && holds(sent, "COMMIT");
        let fault = *shared.fault();
        match fault {
            Some(Fault::Freeze(text)) if from_us && holds(sent, text) => {
                *shared.fault() = None;
                shared.struck.notify_one();
                return std::future::pending().await;
            }
            Some(Fault::LoseAnswer(text)) if !from_us && holds(sent, text) => {
                *shared.fault() = None;
                shared.struck.notify_one();
                return;
            }
            Some(Fault::LoseCommit(text)) if holds(sent, text) => {
                *shared.fault() = None;
                to_lose = true;
            }
            _ => {}
        }
        let passed = match from_us {
            true => to_server.write_all(sent).await,
            false => to_client.write_all(sent).await,
        };
        if passed.is_err() {
            return;
        }
        if commits {
            // What the server says to it is read here and goes no further.
            let _ = from_server.read(&mut answered).await;
            shared.struck.notify_one();
            return;
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
