//! The adapter for GitLab beyond the ports' suites.

mod calls;
mod refusals;

use std::time::Duration;

use adapter_forge::{Config, Forges, HostConfig, Provider};
use ports::JobStatus;
use ports::conformance::forge::{JobSeed, PipelineSeed};
use testkit::gitlab::{FakeGitlab, TOKEN};

const PROJECT: &str = "group/app";

fn host(fake: &FakeGitlab) -> HostConfig {
    let mut host = HostConfig::new(Provider::Gitlab);
    host.url = Some(fake.url().parse().expect("the fake's address"));
    host.token = Some(TOKEN.into());
    host.timeout = Duration::from_secs(30);
    host.requests_per_minute = 100_000;
    host
}

fn forges(hosts: Vec<HostConfig>) -> Forges {
    Forges::new(&Config { hosts, local: None }).expect("a usable configuration")
}

fn failed(names: &[&str]) -> PipelineSeed {
    PipelineSeed::failed(
        names
            .iter()
            .map(|name| JobSeed::new(name, JobStatus::Failed))
            .collect(),
    )
}
