//! The suite for [`Probe`].

use std::time::Duration;

use async_trait::async_trait;
use domain::ErrorKind;

use crate::{Check, Probe, Seen};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait ProbeWorld: Send + Sync {
    fn port(&self) -> &dyn Probe;
    /// The URL of something that answers so.
    async fn answers(&self, status: u16, body: &str) -> String;
    /// `host:port` of something that takes connections.
    async fn listens(&self) -> String;
    /// `host:port` where nothing listens.
    async fn refuses(&self) -> String;
    /// The URL of something that takes connections and says nothing.
    async fn hangs(&self) -> String;
    /// The name of a command that writes this and ends with the code.
    async fn runs(&self, code: u8, says: &str) -> String;
    /// The name of a command that does not end.
    async fn runs_on(&self) -> String;
}

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! probe_conformance {
    ($world:expr) => {
        $crate::probe_conformance!(@tests $world;
            a_good_answer_is_well
            another_status_or_body_is_not
            what_refuses_or_hangs_is_seen_and_no_error
            a_connection_is_enough_where_nothing_is_said
            a_check_that_cannot_be_made_is_invalid
            a_command_is_well_when_it_says_so
            a_command_that_hangs_is_ended_and_seen
            a_command_that_nobody_configured_is_invalid);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::probe::$test(&$world).await;
            }
        )+
    };
}

const TIMEOUT: Duration = Duration::from_millis(300);

fn http(url: String, contains: Option<&str>) -> Check {
    Check::Http {
        url,
        status: (200, 299),
        contains: contains.map(str::to_owned),
        timeout: TIMEOUT,
    }
}

async fn see(world: &dyn ProbeWorld, check: Check) -> Seen {
    world.port().check(&check).await.expect("looks")
}

pub async fn a_good_answer_is_well(world: &dyn ProbeWorld) {
    let url = world.answers(200, "all is well").await;
    let seen = see(world, http(url.clone(), None)).await;
    assert!(seen.well && seen.what.contains("200"), "{seen:?}");
    assert!(see(world, http(url, Some("is well"))).await.well);
}

pub async fn another_status_or_body_is_not(world: &dyn ProbeWorld) {
    let url = world.answers(503, "warming up").await;
    let seen = see(world, http(url, None)).await;
    assert!(!seen.well && seen.what.contains("503"), "{seen:?}");
    let url = world.answers(200, "degraded").await;
    let seen = see(world, http(url, Some("is well"))).await;
    assert!(!seen.well && seen.what.contains("is well"), "{seen:?}");
}

pub async fn what_refuses_or_hangs_is_seen_and_no_error(world: &dyn ProbeWorld) {
    let address = world.refuses().await;
    let tcp = Check::Tcp {
        address: address.clone(),
        timeout: TIMEOUT,
    };
    let url = world.hangs().await;
    for check in [http(format!("http://{address}/"), None), tcp, http(url, None)] {
        let seen = see(world, check).await;
        assert!(!seen.well && !seen.what.is_empty(), "{seen:?}");
    }
}

pub async fn a_connection_is_enough_where_nothing_is_said(world: &dyn ProbeWorld) {
    let address = world.listens().await;
    let timeout = TIMEOUT;
    assert!(see(world, Check::Tcp { address, timeout }).await.well);
}

pub async fn a_check_that_cannot_be_made_is_invalid(world: &dyn ProbeWorld) {
    let tcp = Check::Tcp {
        address: "nowhere".to_owned(),
        timeout: TIMEOUT,
    };
    for check in [http("not a url".to_owned(), None), tcp] {
        let error = world.port().check(&check).await.expect_err("cannot be made");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    }
}

fn command(name: String, timeout: Option<Duration>) -> Check {
    let values = [("LONGSHORE_VERSION".to_owned(), "v2".to_owned())].into();
    Check::Command {
        name,
        values,
        timeout,
    }
}

pub async fn a_command_is_well_when_it_says_so(world: &dyn ProbeWorld) {
    let name = world.runs(0, "all is well").await;
    let seen = see(world, command(name, None)).await;
    assert!(seen.well && seen.what.contains("all is well"), "{seen:?}");
    let name = world.runs(3, "the cart is empty").await;
    let seen = see(world, command(name, None)).await;
    assert!(
        !seen.well && seen.what.contains('3') && seen.what.contains("the cart is empty"),
        "{seen:?}"
    );
}

pub async fn a_command_that_hangs_is_ended_and_seen(world: &dyn ProbeWorld) {
    let name = world.runs_on().await;
    let seen = see(world, command(name, Some(TIMEOUT))).await;
    assert!(!seen.well && !seen.what.is_empty(), "{seen:?}");
}

pub async fn a_command_that_nobody_configured_is_invalid(world: &dyn ProbeWorld) {
    let asked = command("nobody configured it".to_owned(), None);
    let error = world.port().check(&asked).await.expect_err("there is none");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
}
