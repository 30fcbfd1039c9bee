//! `longshore worker` and tasks in Postgres against a real Kubernetes API server with real controllers.
//!
//! A cluster takes some seconds and half a gigabyte: one test starts it and plays all scenes in it, each in a namespace, with
//! a database, a GitLab and a worker of its own.

mod flags;
mod furniture;
mod group;
mod killed;
mod restarts;
mod sight;
mod site;
mod strategies;
mod writers;

use std::sync::Arc;

use ports::conformance::play;
use testkit::cluster::Cluster;

/// How many scenes are played at a time.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_by_the_program_on_a_real_api_server() {
    let cluster = Arc::new(Cluster::start().await);
    let scenes = [
        killed::scenes(&cluster),
        strategies::scenes(&cluster),
        flags::scenes(&cluster),
        group::scenes(&cluster),
        writers::scenes(&cluster),
    ];
    play(scenes.into_iter().flatten(), AT_ONCE).await;
    let cluster = Arc::into_inner(cluster).expect("all scenes are over");
    restarts::a_rollout_over_restarts_of_the_api_server(cluster).await;
}

/// Each of these functions of a cluster as a scene.
macro_rules! scenes {
    ($cluster:expr, $($name:ident)+) => {
        vec![$(Scene::new(stringify!($name), $name(Arc::clone($cluster)))),+]
    };
}
use scenes;
