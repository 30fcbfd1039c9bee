//! The adapter against a real API server with real controllers.
//!
//! A cluster takes some seconds and half a gigabyte: each of these few tests starts one and plays many scenes in it, each
//! scene in a namespace of its own and as the service account that deploy/kubernetes/role.yaml describes.

mod fleet_conformance;
mod router_conformance;
mod routes;
mod site;

use std::sync::Arc;

use testkit::cluster::Cluster;

/// How many scenes are played at a time.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn deployments_pass_the_suite_of_the_fleet_port() {
    let cluster = Arc::new(Cluster::start().await);
    ports::conformance::play(fleet_conformance::scenes(&cluster), AT_ONCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_route_passes_the_suite_of_the_traffic_port() {
    let cluster = Arc::new(Cluster::start().await);
    ports::conformance::play(router_conformance::scenes(&cluster), AT_ONCE).await;
}
