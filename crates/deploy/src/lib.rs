//! Deployments: how a rollout is judged, when none may start, and how well they go.

pub mod judge;
