//! The adapters against a real HAProxy, real processes and a real systemd.

mod flags;
mod fleet;
mod fleet_conformance;
mod keeper;
mod peers;
mod router;
mod router_conformance;
mod shares;
mod traffic;
mod trouble;
mod units;
