//! HAProxy passes the suite of the traffic port.

use adapter_host::{Address, HaproxyConfig, HaproxyRouter};
use async_trait::async_trait;
use ports::conformance::Breakage;
use ports::conformance::traffic::RouterWorld;
use ports::{RouteRef, TrafficRouter};
use testkit::Haproxy;

use crate::peers::{Client, Gate, Origin};

struct World {
    gate: Gate,
    haproxy: Haproxy,
    router: HaproxyRouter,
    _origins: [Origin; 2],
}

fn at(name: &str) -> RouteRef {
    RouteRef {
        target: "edge".to_owned(),
        name: name.to_owned(),
    }
}

/// Two servers of the stable side beside one of the candidate's, one in maintenance on either side, and one of
/// somebody else's that serves when all others fail.
async fn start() -> World {
    let (old, new) = (Origin::start("old"), Origin::start("new"));
    let (stable, candidate) = (old.port(), new.port());
    let haproxy = Haproxy::start(&format!(
        "backend shop
  balance roundrobin
  server stable1 127.0.0.1:{stable} weight 100
  server stable2 127.0.0.1:{stable} weight 100
  server stable3 127.0.0.1:1 weight 100 disabled
  server candidate1 127.0.0.1:{candidate} weight 0
  server candidate2 127.0.0.1:1 weight 0 disabled
  server stable-spare 127.0.0.1:{stable} weight 7 backup
backend other
  server stable1 127.0.0.1:{stable} weight 30
  server candidate1 127.0.0.1:{candidate} weight 10
"
    ));
    let gate = Gate::open(haproxy.dir());
    let config = HaproxyConfig::new(Address::Unix(gate.path().to_owned()));
    World {
        router: HaproxyRouter::new(&config).expect("usable"),
        gate,
        haproxy,
        _origins: [old, new],
    }
}

#[async_trait]
impl RouterWorld for World {
    fn port(&self) -> &dyn TrafficRouter {
        &self.router
    }
    async fn route(&self) -> RouteRef {
        at("shop")
    }
    fn missing(&self) -> RouteRef {
        at("nowhere")
    }
    async fn foreign(&self, _: &RouteRef) -> String {
        let mut all = std::fs::read_to_string(self.haproxy.dir().join("haproxy.cfg")).expect("reads");
        for line in self.haproxy.ask("show servers state").lines() {
            let cells: Vec<&str> = line.split(' ').collect();
            let ours = cells.get(1) == Some(&"shop") && cells[3] != "stable-spare";
            if !ours {
                // The tenth says how many seconds ago the last change was.
                let rest = cells.iter().enumerate().filter(|(place, _)| *place != 9);
                all.extend(rest.map(|(_, cell)| format!("{cell} ")));
                all.push('\n');
            }
        }
        all
    }
    async fn carried_out(&self, _: &RouteRef) -> f64 {
        const REQUESTS: u32 = 512;
        let mut client = Client::new(self.haproxy.port());
        let mut candidate = 0;
        for _ in 0..REQUESTS {
            let (status, body) = client.get().expect("is served");
            assert_eq!(status, 200);
            candidate += u32::from(body == "new");
        }
        f64::from(candidate) * 100.0 / f64::from(REQUESTS)
    }
    async fn meddle(&self, _: &RouteRef) {
        let weights = "set weight shop/stable1 128;set weight shop/stable2 128;set weight shop/candidate1 64";
        assert_eq!(self.haproxy.ask(weights).trim(), "");
    }
    async fn changes(&self) -> usize {
        self.gate.changes()
    }
    async fn deny_writes(&self) {
        self.gate.deny();
    }
    async fn break_next(&self, breakage: Breakage) {
        assert_eq!(breakage, Breakage::DoneThenCut, "the suite breaks it so only");
        self.gate.cut_next_change();
    }
}

mod traffic {
    ports::router_conformance!(super::start().await);
}
