//! Deployments under real traffic: the release binary, HAProxy, Prometheus, a small shop in many versions, and clients
//! who never stop asking. What is good is promoted, what is bad is taken back, and no request is lost by a switch.

mod load;
mod ports;
mod scenes;
mod site;
#[path = "../kill/worker.rs"]
#[allow(dead_code, reason = "those who kill it use the rest")]
mod worker;
