use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Body;
use axum::http;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::fault::Faults;
use super::{Fault, Logged, Phase, Reply, Request, When};

/// What a fake web service answers; it keeps its state behind a lock of its own.
pub trait Site: Send + Sync + 'static {
    fn answer(&self, request: &Request) -> Reply;
    /// How it words the refusal of a fault.
    fn refuse(&self, status: u16, retry_after: Option<Duration>) -> Reply;
    /// All that it holds, for tests that look from another process.
    fn state(&self) -> Value;
}

type Hook = Arc<dyn Fn(&Request, Phase) + Send + Sync>;

/// A running [`Site`].
pub struct Peer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    site: Arc<dyn Site>,
    faults: Faults,
    log: Mutex<Vec<Logged>>,
    hooks: Mutex<Vec<Hook>>,
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct CutOff;

impl std::fmt::Display for CutOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut off on demand")
    }
}
impl std::error::Error for CutOff {}

impl Peer {
    /// Serves on a free loopback port until dropped.
    pub fn start(site: Arc<dyn Site>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        listener
            .set_nonblocking(true)
            .expect("a listener for the runtime");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            site,
            faults: Faults::default(),
            log: Mutex::default(),
            hooks: Mutex::default(),
        });
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("peer {}", addr.port()))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async move {
                    tokio::select! {
                        () = serve(listener, serving) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        Self {
            addr,
            shared,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The next request that `when` fits meets `fault`.
    pub fn fault(&self, when: &When, fault: &Fault) {
        self.shared.faults.add(when, fault, 1);
    }

    pub fn faults(&self, times: usize, when: &When, fault: &Fault) {
        self.shared.faults.add(when, fault, times);
    }

    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Calls `hook` for every request from now on, when it arrives and when its effect is done. The hook may block.
    pub fn on_request(&self, hook: impl Fn(&Request, Phase) + Send + Sync + 'static) {
        let mut hooks = self.shared.hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.push(Arc::new(hook));
    }

    /// The requests so far, in the order in which they came.
    pub fn requests(&self) -> Vec<Logged> {
        self.shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| handle(Arc::clone(&shared), request));
            // An error here is a cut connection, mostly of our own making.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn handle(
    shared: Arc<Shared>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, CutOff> {
    let request = read(request).await?;
    if let Some(reply) = side_door(&shared, &request) {
        return Ok(respond(reply));
    }
    let at = shared.note(&request);
    shared.run_hooks(&request, Phase::Arrived);
    let answer = |shared: &Shared| {
        let reply = shared.site.answer(&request);
        shared.run_hooks(&request, Phase::Done);
        reply
    };
    let reply = match shared.faults.take(&request) {
        None => answer(&shared),
        Some(Fault::Slow(wait)) => {
            tokio::time::sleep(wait).await;
            answer(&shared)
        }
        Some(Fault::Status(status)) => shared.site.refuse(status, None),
        Some(Fault::Echo(status)) => {
            let token = ["private-token", "authorization"]
                .iter()
                .find_map(|name| request.header(name));
            Reply::message(status, &format!("refused: {}", token.unwrap_or("no token")))
        }
        Some(Fault::RateLimited(wait)) => shared.site.refuse(429, Some(wait)),
        Some(Fault::DoneThenStatus(status)) => {
            answer(&shared);
            shared.site.refuse(status, None)
        }
        Some(Fault::Cut) => return Err(CutOff),
        Some(Fault::DoneThenCut) => {
            answer(&shared);
            return Err(CutOff);
        }
        Some(Fault::CutBody(after)) => cut_body(answer(&shared), after),
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::DoneThenHang) => {
            answer(&shared);
            std::future::pending().await
        }
    };
    shared.note_status(at, reply.status.as_u16());
    Ok(respond(reply))
}

impl Shared {
    fn note(&self, request: &Request) -> usize {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.push(Logged {
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            status: None,
            with_token: request.headers.contains_key("private-token")
                || request.headers.contains_key("authorization"),
        });
        log.len() - 1
    }

    fn note_status(&self, at: usize, status: u16) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log[at].status = Some(status);
    }

    fn run_hooks(&self, request: &Request, phase: Phase) {
        let hooks = self.hooks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for hook in hooks {
            hook(request, phase);
        }
    }
}

/// What a test in another process may ask: no log, no faults, no token.
fn side_door(shared: &Shared, request: &Request) -> Option<Reply> {
    match request.path.as_str() {
        "/__state" => Some(Reply::json(200, &shared.site.state())),
        "/__requests" => {
            let log = shared.log.lock().unwrap_or_else(PoisonError::into_inner);
            Some(Reply::json(200, &json!(*log)))
        }
        _ => None,
    }
}

async fn read(request: http::Request<Incoming>) -> Result<Request, CutOff> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(Body::new(body), 64 << 20)
        .await
        .map_err(|_| CutOff)?;
    let query = parts.uri.query().unwrap_or_default();
    Ok(Request {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers: parts.headers,
        body,
    })
}

fn respond(reply: Reply) -> http::Response<Body> {
    let mut response = http::Response::new(reply.body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

fn cut_body(reply: Reply, after: usize) -> Reply {
    let mut left = after;
    let pieces = reply.body.into_data_stream().map(move |piece| {
        let piece = piece.map_err(io::Error::other)?;
        let part = piece.slice(..piece.len().min(left));
        left -= part.len();
        Ok::<Bytes, io::Error>(part)
    });
    let pieces = pieces.take_while(|piece| {
        let more = piece.as_ref().is_ok_and(|piece| !piece.is_empty());
        async move { more }
    });
    // The error must not overtake the bytes before it.
    let cut = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::other(CutOff))
    });
    Reply {
        body: Body::from_stream(pieces.chain(cut)),
        ..reply
    }
}
