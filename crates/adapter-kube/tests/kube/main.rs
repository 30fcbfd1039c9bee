//! The adapter against a real API server with real controllers.
//!
//! A cluster takes some seconds and half a gigabyte: each of these few tests starts one and plays many scenes in it, each
//! scene in a namespace of its own and as the service account that deploy/kubernetes/role.yaml describes.

mod connection;
mod flags;
mod fleet;
mod fleet_conformance;
mod refusals;
mod router;
mod router_conformance;
mod routes;
mod site;

use std::sync::Arc;

use ports::conformance::play;
use testkit::cluster::Cluster;

/// How many scenes are played at a time.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn deployments_behind_the_fleet_port_and_flags_behind_theirs() {
    let cluster = Arc::new(Cluster::start().await);
    let scenes = fleet_conformance::scenes(&cluster);
    let more = [
        fleet::scenes(&cluster),
        refusals::scenes(&cluster),
        flags::scenes(&cluster),
    ]
    .into_iter()
    .flatten();
    play(scenes.into_iter().chain(more), AT_ONCE).await;
    let cluster = Arc::into_inner(cluster).expect("all scenes are over");
    connection::an_api_server_that_comes_and_goes(cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_of_every_kind_behind_the_traffic_port() {
    let cluster = Arc::new(Cluster::start().await);
    let scenes = router_conformance::scenes(&cluster);
    play(scenes.into_iter().chain(router::scenes(&cluster)), AT_ONCE).await;
}
