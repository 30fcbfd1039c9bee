//! Every kind of route passes the suite of the traffic port.

use std::sync::Arc;

use async_trait::async_trait;
use ports::conformance::traffic::RouterWorld;
use ports::conformance::{Breakage, Scene};
use ports::{RouteRef, TrafficRouter};
use testkit::cluster::Cluster;
use testkit::peer::Fault;

use crate::routes::Kind;
use crate::site::Site;

struct World {
    kind: Kind,
    site: Site,
}

async fn world(cluster: Arc<Cluster>, kind: Kind) -> World {
    let site = Site::start(cluster).await;
    kind.set_up(&site).await;
    World { kind, site }
}

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    let mut all = Vec::new();
    for kind in [
        Kind::Service,
        Kind::HttpRoute,
        Kind::VirtualService,
        Kind::Subsets,
        Kind::Ingress,
        Kind::Replicas,
    ] {
        let scenes = match kind {
            Kind::Replicas => ports::router_conformance!(fixed scenes world(Arc::clone(cluster), kind)),
            _ => ports::router_conformance!(scenes world(Arc::clone(cluster), kind)),
        };
        all.extend(scenes.into_iter().map(|scene| scene.with(&format!("{kind:?}"))));
    }
    all
}

#[async_trait]
impl RouterWorld for World {
    fn port(&self) -> &dyn TrafficRouter {
        &self.site.router
    }
    async fn route(&self) -> RouteRef {
        self.kind.at(&self.site, "checkout")
    }
    fn missing(&self) -> RouteRef {
        self.kind.at(&self.site, "nothing")
    }
    async fn foreign(&self, _: &RouteRef) -> String {
        self.kind.foreign(&self.site).await
    }
    async fn carried_out(&self, _: &RouteRef) -> f64 {
        self.kind.carried_out(&self.site).await
    }
    async fn meddle(&self, _: &RouteRef) {
        self.kind.meddle(&self.site).await;
    }
    async fn changes(&self) -> usize {
        self.site.changes()
    }
    async fn deny_writes(&self) {
        self.site.deny_writes().await;
    }
    async fn break_next(&self, breakage: Breakage) {
        self.site.break_next(&match breakage {
            Breakage::RateLimited(wait) => Fault::RateLimited(wait),
            Breakage::OutOfOrder => Fault::Status(503),
            Breakage::DoneThenCut => Fault::DoneThenCut,
            Breakage::NoAnswer => Fault::Hang,
        });
    }
}
