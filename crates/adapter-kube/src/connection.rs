use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use domain::{Error, Result};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig, NamedCluster};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::config::KubeConfig;
use crate::refusal::{Refusal, broken};

/// How long a server that refuses even to say whether it is ready is asked for it: it may be reading its rules.
const SETTLING: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// One cluster, as one user. Clones share its connections.
///
/// What is read and written is the API's own JSON, so that fields which this program does not know are never lost on
/// the way. Nothing is asked twice here but what was forbidden: whoever calls knows whether that can help.
#[derive(Clone)]
pub struct Connection {
    client: Client,
    config: Arc<KubeConfig>,
    namespace: Arc<str>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither a token nor an address.
        f.debug_struct("Connection")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// One change of a JSON patch (RFC 6902).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Op(Value);

impl Op {
    /// Puts a value there, in the place of what there may be.
    pub(crate) fn put(path: impl Into<String>, value: Value) -> Self {
        Self(json!({ "op": "add", "path": path.into(), "value": value }))
    }

    pub(crate) fn remove(path: impl Into<String>) -> Self {
        Self(json!({ "op": "remove", "path": path.into() }))
    }

    #[cfg(test)]
    pub(crate) fn json(&self) -> &Value {
        &self.0
    }
}

/// A key as a part of a path of a JSON patch.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl Connection {
    /// Reads the credentials. The cluster is not asked anything before the first call.
    pub async fn open(config: &KubeConfig) -> Result<Self> {
        config.check()?;
        let unusable = |why: &dyn std::error::Error, next: &str| {
            Error::invalid("the cluster cannot be reached as configured")
                .because(why)
                .next(next)
        };
        let mut reached = match &config.kubeconfig {
            Some(path) => {
                let next = format!("Look at `kubeconfig` ({}) and `context`", path.display());
                let read = Kubeconfig::read_from(path).map_err(|error| unusable(&error, &next))?;
                let named: Vec<_> = read.clusters.iter().filter_map(proxy).collect();
                let options = KubeConfigOptions {
                    context: config.context.clone(),
                    ..KubeConfigOptions::default()
                };
                let mut reached = Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(|error| unusable(&error, &next))?;
                // kube also takes one from the environment, which is nobody's to read here.
                reached.proxy_url = reached.proxy_url.filter(|proxy| named.contains(proxy));
                reached
            }
            None => Config::incluster_dns().map_err(|error| {
                unusable(
                    &error,
                    "Run it in a pod with a service account, or set `kubeconfig`",
                )
            })?,
        };
        reached.connect_timeout = Some(config.connect_timeout.0);
        // Of a connection; a request and its answer are timed as a whole below.
        reached.read_timeout = Some(config.timeout.0);
        reached.write_timeout = Some(config.timeout.0);
        // It would ask up to fifteen times more, and nobody would learn of Retry-After.
        reached.default_retry = false;
        reached.headers.push((
            HeaderName::from_static("user-agent"),
            HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION"))),
        ));
        let namespace = config.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| reached.default_namespace.clone());
        let client = Client::try_from(reached)
            .map_err(|error| unusable(&error, "Look at the certificates, keys and proxy that it names"))?;
        Ok(Self {
            client,
            config: Arc::new(config.clone()),
            namespace: namespace.into(),
        })
    }

    pub(crate) fn config(&self) -> &KubeConfig {
        &self.config
    }

    /// Where names without a namespace are.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// What stands there; none when nothing does. `doing`: "read the Deployment shop/checkout".
    pub(crate) async fn get(&self, path: &str, doing: &str) -> Result<Option<Value>> {
        let request = self.request(Method::GET, path, None);
        match self.ask(request, doing, false).await? {
            Ok(found) => Ok(Some(found)),
            Err((StatusCode::NOT_FOUND, _)) => Ok(None),
            Err((_, refusal)) => Err(refusal.explain(doing, false)),
        }
    }

    /// The members of a list that a query picks.
    pub(crate) async fn list(&self, path: &str, query: &[(&str, &str)], doing: &str) -> Result<Vec<Value>> {
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(query)
            .finish();
        let request = self.request(Method::GET, &format!("{path}?{query}"), None);
        let mut list = match self.ask(request, doing, false).await? {
            Ok(list) => list,
            Err((_, refusal)) => return Err(refusal.explain(doing, false)),
        };
        match list["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Makes an object; none when there is one of that name.
    pub(crate) async fn create(&self, path: &str, object: &Value, doing: &str) -> Result<Option<Value>> {
        let path = format!("{path}?{}", self.manager());
        let request = self.request(Method::POST, &path, Some(("application/json", object)));
        self.written(request, doing, false).await
    }

    /// Changes an object if it is still at that resource version; none when it is not, or is gone.
    pub(crate) async fn patch(
        &self,
        path: &str,
        version: &str,
        ops: &[Op],
        doing: &str,
    ) -> Result<Option<Value>> {
        // The API server compares what it would write with what stands there, and refuses with 409.
        let condition = Op::put("/metadata/resourceVersion", json!(version));
        let ops: Vec<_> = std::iter::once(&condition).chain(ops).map(|op| &op.0).collect();
        let path = format!("{path}?{}", self.manager());
        let patch = json!(ops);
        let request = self.request(
            Method::PATCH,
            &path,
            Some(("application/json-patch+json", &patch)),
        );
        self.written(request, doing, true).await
    }

    /// Deletes an object, and what it owns after it, if it is still at that resource version; none when it is not, or
    /// is gone.
    pub(crate) async fn delete(&self, path: &str, object: &Value, doing: &str) -> Result<Option<Value>> {
        let meta = &object["metadata"];
        let options = json!({
            "propagationPolicy": "Background",
            "preconditions": { "uid": meta["uid"], "resourceVersion": meta["resourceVersion"] },
        });
        let request = self.request(Method::DELETE, path, Some(("application/json", &options)));
        self.written(request, doing, true).await
    }

    /// Asks a question that is put as an object: what we may do.
    pub(crate) async fn review(&self, path: &str, object: &Value, doing: &str) -> Result<Value> {
        let request = self.request(Method::POST, path, Some(("application/json", object)));
        let answer = self.ask(request, doing, false).await?;
        answer.map_err(|(_, refusal)| refusal.explain(doing, false))
    }

    async fn written(&self, request: Request<Vec<u8>>, doing: &str, stands: bool) -> Result<Option<Value>> {
        match self.ask(request, doing, true).await? {
            Ok(written) => Ok(Some(written)),
            Err((StatusCode::NOT_FOUND, _)) if stands => Ok(None),
            Err((StatusCode::CONFLICT, _)) => Ok(None),
            Err((_, refusal)) => Err(refusal.explain(doing, true)),
        }
    }

    fn manager(&self) -> String {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("fieldManager", &self.config.field_manager)
            .finish()
    }

    fn request(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Request<Vec<u8>> {
        let (kind, body) = match body {
            Some((kind, body)) => (kind, body.to_string().into_bytes()),
            None => ("application/json", Vec::new()),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Names are looked at before they come here; what is no path all the same is one that nothing stands at.
        *request.uri_mut() = path.parse().unwrap_or(Uri::from_static("/apis/none"));
        let headers = request.headers_mut();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        if let Ok(kind) = HeaderValue::from_str(kind) {
            headers.insert(http::header::CONTENT_TYPE, kind);
        }
        request
    }

    /// The answer, or the refusal; the outer error is for no whole answer at all.
    ///
    /// A server that has just started forbids everything until it has read who may do what, so only what it forbids
    /// when it is ready is forbidden.
    async fn ask(
        &self,
        request: Request<Vec<u8>>,
        doing: &str,
        is_write: bool,
    ) -> Result<std::result::Result<Value, (StatusCode, Refusal)>> {
        let first = self.ask_once(&request, doing, is_write).await?;
        let Err((StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _)) = &first else {
            return Ok(first);
        };
        let is_ready = self.request(Method::GET, "/readyz", None);
        for wait in SETTLING {
            match self.send(&is_ready, doing, false).await? {
                (StatusCode::OK, _) => return self.ask_once(&request, doing, is_write).await,
                (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => tokio::time::sleep(wait).await,
                _ => {
                    let early = io::Error::other("the API server is not ready yet");
                    return Err(Error::unavailable(format!("could not {doing}")).because(&early));
                }
            }
        }
        Ok(first)
    }

    async fn ask_once(
        &self,
        request: &Request<Vec<u8>>,
        doing: &str,
        is_write: bool,
    ) -> Result<std::result::Result<Value, (StatusCode, Refusal)>> {
        let (status, answer) = self.send(request, doing, is_write).await?;
        let body = match answer {
            Ok(body) => body,
            Err(refusal) => return Ok(Err((status, refusal))),
        };
        let read = serde_json::from_slice(&body);
        Ok(Ok(read.map_err(|error| broken(doing, is_write, &error))?))
    }

    async fn send(
        &self,
        request: &Request<Vec<u8>>,
        doing: &str,
        is_write: bool,
    ) -> Result<(StatusCode, std::result::Result<Vec<u8>, Refusal>)> {
        let asked = async {
            let answer = self
                .client
                .send(request.clone().map(Body::from))
                .await
                .map_err(|error| unsent(doing, is_write, &error))?;
            let (head, body) = answer.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| broken(doing, is_write, &error))?;
            let body: Vec<u8> = body.to_bytes().into();
            let answer = match head.status.is_success() {
                true => Ok(body),
                false => Err(Refusal::read(head.status, &head.headers, &body)),
            };
            Ok((head.status, answer))
        };
        self.in_time(asked, doing, is_write).await
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T>>,
        doing: &str,
        is_write: bool,
    ) -> Result<T> {
        let limit = self.config.timeout.0;
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                let late = io::Error::other(format!("no answer within {} s", limit.as_secs_f64()));
                Err(broken(doing, is_write, &late))
            }
        }
    }
}

fn proxy(cluster: &NamedCluster) -> Option<Uri> {
    cluster.cluster.as_ref()?.proxy_url.as_ref()?.parse().ok()
}

fn unsent(doing: &str, is_write: bool, error: &kube::Error) -> Error {
    match error {
        // Nothing was sent: there was nobody to send it as.
        kube::Error::Auth(why) => Error::denied(format!("could not {doing}"))
            .because(why)
            .next("Look at the credentials of the target, and at the program that fetches them"),
        _ => broken(doing, is_write, error),
    }
}
