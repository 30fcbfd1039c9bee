//! Deployments: how a rollout is judged, when none may start, and how well they go.

pub mod dora;
pub mod freeze;
pub mod judge;
