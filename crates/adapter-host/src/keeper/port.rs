//! Where replicas can listen.

use std::net::{IpAddr, TcpListener};

use crate::config::WorkloadConfig;

pub(super) fn is_free(address: IpAddr, port: u16) -> bool {
    TcpListener::bind((address, port)).is_ok()
}

pub(super) fn free_port(workload: &WorkloadConfig, address: IpAddr, taken: &[u16]) -> Option<u16> {
    let (first, last) = workload.ports;
    (first..=last).find(|port| !taken.contains(port) && is_free(address, *port))
}
