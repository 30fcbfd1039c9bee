//! A gate before the API server that breaks on demand, tells what went through, and keeps custom resources.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use super::Rest;
use super::custom::Custom;
use crate::peer::{Peer, Reply, Request, Site};

type Asked = (Request, mpsc::Sender<Reply>);

/// Passes requests on, one at a time and without watches, as whoever sent them.
pub(super) struct Gate(Mutex<mpsc::Sender<Asked>>);

impl Gate {
    pub fn open(rest: Rest) -> Peer {
        let (ask, asked) = mpsc::channel::<Asked>();
        let _ends_with_the_gate = std::thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                let custom = Custom::default();
                while let Ok((request, reply)) = asked.recv() {
                    let answer = runtime.block_on(async {
                        match custom.answer(&rest, &request).await {
                            Some(kept) => kept,
                            None => pass(&rest, &request).await,
                        }
                    });
                    let _ = reply.send(answer);
                }
            })
            .expect("a thread");
        Peer::start(Arc::new(Self(Mutex::new(ask))))
    }
}

impl Site for Gate {
    fn answer(&self, request: &Request) -> Reply {
        let (reply, answer) = mpsc::channel();
        let ask = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ask.send((request.clone(), reply));
        drop(ask);
        answer.recv().unwrap_or_else(|_| Reply::empty(502))
    }

    /// As the API server does: too many requests are refused before anything makes JSON of it.
    fn refuse(&self, status: u16, retry_after: Option<Duration>) -> Reply {
        let reply = match status {
            429 => Reply::text(429, "Too many requests, please try again later."),
            _ => Reply::json(
                status,
                &json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "message": "broken on demand", "code": status,
                }),
            ),
        };
        match retry_after {
            Some(wait) => reply.header("retry-after", wait.as_secs()),
            None => reply,
        }
    }

    fn state(&self) -> Value {
        Value::Null
    }
}

async fn pass(rest: &Rest, request: &Request) -> Reply {
    let mut on = rest.request(request.method.clone(), &request.path);
    on = on.query(&request.query).body(request.body.clone());
    let mut headers = reqwest::header::HeaderMap::new();
    for name in ["authorization", "content-type", "accept"] {
        if let Some(value) = request.headers.get(name) {
            headers.insert(name, value.clone());
        }
    }
    match on.headers(headers).send().await {
        Err(error) => Reply::text(502, error.to_string()),
        Ok(answer) => {
            let status = answer.status().as_u16();
            let kind = answer.headers().get("content-type").cloned();
            let reply = Reply::text(status, answer.bytes().await.unwrap_or_default());
            match kind.as_ref().and_then(|kind| kind.to_str().ok()) {
                Some(kind) => reply.header("content-type", kind),
                None => reply,
            }
        }
    }
}
