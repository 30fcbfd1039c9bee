mod kinds;
mod parting;
mod route;

use async_trait::async_trait;
use domain::{Error, Idem, Result};
use ports::{Granularity, Mark, RouteRef, Share, Side, Traffic, TrafficRouter};
use serde_json::{Value, json};

use crate::connection::Connection;
use crate::digest;
use crate::names::{Name, is_plain};
use kinds::items;
use parting::{Backend, Place, granularity, ops, share};
use route::{Kind, Route};

const CORE: &str = "api/v1";
const TRIES: u32 = 10;

/// What parts traffic in a cluster: `KIND/NAMESPACE/NAME`, or `NAMESPACE/NAME` where replicas do.
///
/// Only weights, or the side that a selector names, are ever written, under the condition that the object is still as it
/// was looked at. What a route sends to must be what it says: Services that select the wrong side are refused.
#[derive(Clone, Debug)]
pub struct KubeRouter {
    connection: Connection,
}

/// A route as it stands.
struct Sight {
    route: Route,
    /// What is written to: the object's path in the API, and itself.
    path: String,
    object: Value,
    places: Vec<Place>,
    /// Namespaces and selectors of the candidate's pods.
    candidates: Vec<(String, String)>,
}

impl Sight {
    fn traffic(&self) -> Traffic {
        // In order, without where they stand: a rule that somebody puts before them changes nothing here.
        let shares = self.places.iter().map(|place| (place.now.part, place.now.of));
        let wish = json!({
            "uid": self.object["metadata"]["uid"],
            "shares": shares.collect::<Vec<_>>(),
        });
        Traffic {
            candidate: share(&self.places),
            mark: digest::mark(&wish),
        }
    }
}

impl KubeRouter {
    pub fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
        }
    }

    fn label(&self) -> &str {
        &self.connection.config().side_label
    }

    async fn look(&self, at: &RouteRef) -> Result<Sight> {
        let route = Route::read(at, self.connection.namespace())?;
        let failed = |error: Error| error.context(format!("could not look at {} in {}", at.name, at.target));
        let name = &route.name;
        let label = self.label();
        match route.kind {
            Kind::Service | Kind::Replicas => {
                let object = self.service(name).await.map_err(failed)?;
                let path = name.path(CORE, "services");
                let namespace = name.namespace.clone();
                let selector = selector(&object, label, Some(Side::Candidate));
                let places = match route.kind {
                    Kind::Service => kinds::service(&object, label, &at.name)?,
                    _ => Vec::new(),
                };
                Ok(Sight {
                    route,
                    path,
                    object,
                    places,
                    candidates: vec![(namespace, selector)],
                })
            }
            Kind::HttpRoute => {
                let path = self
                    .path_of("gateway.networking.k8s.io", "httproutes", name)
                    .await
                    .map_err(failed)?;
                let object = self.object(&path, "HTTPRoute", name).await.map_err(failed)?;
                let (places, backends) =
                    kinds::http_route(&object, name, route.service.as_deref(), &at.name)?;
                self.sight(at, route, path, object, places, &backends).await
            }
            Kind::VirtualService => {
                let path = self
                    .path_of("networking.istio.io", "virtualservices", name)
                    .await
                    .map_err(failed)?;
                let object = self.object(&path, "VirtualService", name).await.map_err(failed)?;
                let (places, backends) =
                    kinds::virtual_service(&object, name, route.service.as_deref(), &at.name)?;
                self.sight(at, route, path, object, places, &backends).await
            }
            Kind::Ingress => {
                let group = "apis/networking.k8s.io/v1";
                let main = name.path(group, "ingresses");
                let main = self.object(&main, "Ingress", name).await.map_err(failed)?;
                let path = name.on(Side::Candidate).path(group, "ingresses");
                let doing = format!("read the Ingress {}", name.on(Side::Candidate));
                let canary = self.connection.get(&path, &doing).await.map_err(failed)?;
                let Some(object) = canary else {
                    return self.sight(at, route, path, main, Vec::new(), &[]).await;
                };
                let places = kinds::canary(&object, name, &at.name)?;
                let backends = kinds::ingress_backends(&main, &object, name);
                self.sight(at, route, path, object, places, &backends).await
            }
        }
    }

    /// Makes sure that the Services behind a route send to the sides that it parts traffic between.
    async fn sight(
        &self,
        at: &RouteRef,
        route: Route,
        path: String,
        object: Value,
        places: Vec<Place>,
        backends: &[Backend],
    ) -> Result<Sight> {
        let label = self.label();
        let mut candidates = Vec::new();
        for backend in backends {
            let name = &backend.service;
            let service = self.service(name).await.map_err(|error| {
                error.context(format!(
                    "could not look where {} in {} sends to",
                    at.name, at.target
                ))
            })?;
            let selects = service["spec"]["selector"][label].as_str();
            if selects != backend.selects.map(Side::as_str) {
                let (found, next) = match (selects, backend.selects) {
                    (None, Some(side)) => (
                        "both sides".to_owned(),
                        format!(
                            "Add {label}={} to its selector, and to the labels of the pods",
                            side.as_str()
                        ),
                    ),
                    (Some(found), Some(side)) => (
                        format!("the side {found} alone"),
                        format!("Make its selector {label}={}", side.as_str()),
                    ),
                    (found, None) => (
                        format!("the side {} alone", found.unwrap_or_default()),
                        format!("Take {label} out of its selector: subsets part it"),
                    ),
                };
                return Err(Error::invalid(format!(
                    "{} cannot be parted: the Service {name} sends to {found}",
                    at.name
                ))
                .next(next));
            }
            if backend.to_candidate {
                let selector = selector(&service, label, Some(Side::Candidate));
                candidates.push((name.namespace.clone(), selector));
            }
        }
        Ok(Sight {
            route,
            path,
            object,
            places,
            candidates,
        })
    }

    async fn object(&self, path: &str, kind: &str, name: &Name) -> Result<Value> {
        let doing = format!("read the {kind} {name}");
        let found = self.connection.get(path, &doing).await?;
        found.ok_or_else(|| {
            Error::not_found(format!("there is no {kind} {name}"))
                .next("Make it, or correct the environment's `router`")
        })
    }

    async fn service(&self, name: &Name) -> Result<Value> {
        // It may come from a route, where anything can stand.
        if !is_plain(&name.namespace) || !is_plain(&name.name) {
            return Err(Error::not_found(format!("there can be no Service {name}")));
        }
        self.object(&name.path(CORE, "services"), "Service", name).await
    }

    /// Under the version of an API group that the cluster prefers.
    async fn path_of(&self, group: &str, kinds: &str, name: &Name) -> Result<String> {
        let doing = format!("ask the cluster for {group}");
        let found = self.connection.get(&format!("/apis/{group}"), &doing).await?;
        let version = found
            .as_ref()
            .and_then(|found| found["preferredVersion"]["version"].as_str());
        let version = version.ok_or_else(|| {
            Error::not_found(format!("the cluster does not know {group}"))
                .next("Install it, or set another kind of route as the environment's `router`")
        })?;
        Ok(name.path(&format!("apis/{group}/{version}"), kinds))
    }

    /// Every ready pod behind a Service gets the same.
    async fn by_replicas(&self, sight: &Sight) -> Result<Traffic> {
        let (name, label) = (&sight.route.name, self.label());
        if !sight.object["spec"]["selector"][label].is_null() {
            return Err(Error::invalid(format!(
                "replicas do not part the traffic of the Service {name}: it sends to one side alone"
            ))
            .next(format!(
                "Take {label} out of its selector, or name the route service/{name}"
            )));
        }
        let both = selector(&sight.object, label, None);
        let pods = self.ready_pods(&name.namespace, &both).await?;
        let candidates = pods
            .iter()
            .filter(|pod| pod["metadata"]["labels"][label] == Side::Candidate.as_str());
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let wish =
            json!({ "uid": sight.object["metadata"]["uid"], "selector": sight.object["spec"]["selector"] });
        Ok(Traffic {
            candidate: Share {
                part: number(candidates.count()),
                of: number(pods.len()).max(1),
            },
            mark: digest::mark(&wish),
        })
    }

    async fn ready_pods(&self, namespace: &str, selector: &str) -> Result<Vec<Value>> {
        let doing = format!("read the pods of {namespace} with {selector}");
        let path = format!("/{CORE}/namespaces/{namespace}/pods");
        let mut pods = self
            .connection
            .list(&path, &[("labelSelector", selector)], &doing)
            .await?;
        pods.retain(|pod| {
            let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
            pod["metadata"]["deletionTimestamp"].is_null()
                && items(&pod["status"]["conditions"]).any(is_ready)
        });
        Ok(pods)
    }

    /// Nobody is sent to where nobody is.
    async fn see_candidates(&self, at: &RouteRef, sight: &Sight) -> Result<()> {
        for (namespace, selector) in &sight.candidates {
            if self.ready_pods(namespace, selector).await?.is_empty() {
                return Err(Error::unavailable(format!(
                    "no pod of the candidate is ready behind {} in {} ({namespace}: {selector})",
                    at.name, at.target
                ))
                .next("Wait until one is, or see why none is"));
            }
        }
        Ok(())
    }
}

/// The selector of a Service as lists take it, with the side that is wanted.
fn selector(service: &Value, label: &str, side: Option<Side>) -> String {
    let all = service["spec"]["selector"].as_object().into_iter().flatten();
    let others = all.filter(|(key, _)| *key != label);
    let others = others.map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let side = side.map(|side| format!("{label}={}", side.as_str()));
    others.chain(side).collect::<Vec<_>>().join(",")
}

#[async_trait]
impl TrafficRouter for KubeRouter {
    async fn granularity(&self, at: &RouteRef) -> Result<Granularity> {
        let sight = self.look(at).await?;
        match sight.route.kind {
            Kind::Replicas => self.by_replicas(&sight).await.map(|_| Granularity::Replicas),
            _ => Ok(granularity(&sight.places)),
        }
    }

    async fn read(&self, at: &RouteRef) -> Result<Traffic> {
        let sight = self.look(at).await?;
        match sight.route.kind {
            Kind::Replicas => self.by_replicas(&sight).await,
            _ => Ok(sight.traffic()),
        }
    }

    async fn set(&self, at: &RouteRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Traffic> {
        if percent > 100 {
            return Err(Error::invalid(format!(
                "{} cannot send {percent} % of its traffic to the candidate",
                at.name
            ))
            .next("Name a percentage from 0 to 100"));
        }
        let doing = format!("send {percent} % of {} to the candidate", at.name);
        for _ in 0..TRIES {
            let mut sight = self.look(at).await?;
            if sight.route.kind == Kind::Replicas {
                return Err(Error::invalid(format!(
                    "the share of {} in {} cannot be set: every ready replica gets the same",
                    at.name, at.target
                ))
                .next("Change the number of replicas, or name a route that parts traffic"));
            }
            let now = sight.traffic();
            let ops = ops(&sight.places, percent);
            if sight.places.is_empty() && percent > 0 {
                return Err(sight.route.unknown(at));
            }
            if ops.is_empty() {
                return Ok(now);
            }
            if now.mark != *seen {
                return Err(Error::conflict(format!(
                    "somebody else changed how {} in {} is parted: the candidate gets {} % now",
                    at.name,
                    at.target,
                    now.candidate.percent()
                ))
                .next("Look who did it before going on"));
            }
            if percent > 0 {
                self.see_candidates(at, &sight).await?;
            }
            let version = sight.object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or_default();
            let written = self.connection.patch(&sight.path, version, &ops, &doing).await?;
            let Some(written) = written else {
                continue;
            };
            // The answer is the object as it was stored.
            let label = self.label();
            let (name, service) = (&sight.route.name, sight.route.service.as_deref());
            sight.places = match sight.route.kind {
                Kind::Service | Kind::Replicas => kinds::service(&written, label, &at.name)?,
                Kind::HttpRoute => kinds::http_route(&written, name, service, &at.name)?.0,
                Kind::VirtualService => kinds::virtual_service(&written, name, service, &at.name)?.0,
                Kind::Ingress => kinds::canary(&written, name, &at.name)?,
            };
            sight.object = written;
            if !parting::ops(&sight.places, percent).is_empty() {
                return Err(Error::conflict(format!(
                    "{} in {} was set and is {} % for the candidate all the same: something in the cluster changes \
                     what is written",
                    at.name,
                    at.target,
                    sight.traffic().candidate.percent()
                )));
            }
            return Ok(sight.traffic());
        }
        Err(Error::unavailable(format!(
            "could not {doing}: others wrote into it each of the {TRIES} times that we tried"
        )))
    }
}
