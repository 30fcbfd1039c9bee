//! Routes of every kind, as somebody sets them up, and what each does with requests.

use ports::RouteRef;
use serde_json::{Value, json};
use testkit::cluster::until;

use crate::site::{SIDE, Site};

pub const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Service,
    /// With a backend of somebody else's in the same rule, so that there are 90 parts.
    HttpRoute,
    VirtualService,
    Subsets,
    Ingress,
    Replicas,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Service => "service/",
            Self::HttpRoute => "httproute/",
            Self::VirtualService | Self::Subsets => "virtualservice/",
            Self::Ingress => "ingress/",
            Self::Replicas => "",
        }
    }

    pub fn at(self, site: &Site, name: &str) -> RouteRef {
        site.route(self.prefix(), name)
    }

    /// Of the object that says how traffic is parted.
    pub fn path(self, site: &Site) -> String {
        let (group, kinds, name) = match self {
            Self::Service | Self::Replicas => ("api/v1", "services", "checkout"),
            Self::HttpRoute => ("apis/gateway.networking.k8s.io/v1", "httproutes", "checkout"),
            Self::VirtualService | Self::Subsets => {
                ("apis/networking.istio.io/v1beta1", "virtualservices", "checkout")
            }
            Self::Ingress => ("apis/networking.k8s.io/v1", "ingresses", "checkout-candidate"),
        };
        format!("{}/{name}", site.path(group, kinds))
    }

    /// Both sides of a workload, ready, their Services, and a route that sends everything to the stable one.
    pub async fn set_up(self, site: &Site) {
        site.make("checkout", "v1", 1).await;
        site.launch("checkout", "v2").await;
        let both = json!({ "app": "checkout" });
        let of = |side: &str| json!({ "app": "checkout", SIDE: side });
        match self {
            Self::Replicas | Self::Subsets => site.make_service("checkout", &both).await,
            _ => {
                site.make_service("checkout", &of("stable")).await;
                site.make_service("checkout-candidate", &of("candidate")).await;
            }
        }
        site.make_service("legacy", &json!({ "app": "legacy" })).await;
        let spec = match self {
            Self::Service | Self::Replicas => return,
            Self::HttpRoute => json!({ "hostnames": ["shop.example"], "rules": [
                {
                    "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                    "backendRefs": [
                        { "name": "checkout", "port": 80, "weight": 90 },
                        { "name": "legacy", "port": 80, "weight": 10 },
                        { "name": "checkout-candidate", "port": 80, "weight": 0 },
                    ],
                    "timeouts": { "request": "10s" },
                },
                { "backendRefs": [{ "name": "legacy", "port": 80 }] },
            ] }),
            Self::VirtualService => json!({ "hosts": ["shop.example"], "http": [
                { "match": [{ "uri": { "prefix": "/old" } }], "route": [{ "destination": { "host": "legacy" } }] },
                { "retries": { "attempts": 2 }, "route": [
                    { "destination": { "host": "checkout", "port": { "number": 80 } }, "weight": 100 },
                    { "destination": { "host": "checkout-candidate", "port": { "number": 80 } }, "weight": 0 },
                ] },
            ] }),
            Self::Subsets => json!({ "hosts": ["shop.example"], "http": [{ "route": [
                { "destination": { "host": "checkout", "subset": "stable" }, "weight": 100 },
                { "destination": { "host": "checkout", "subset": "candidate" } },
            ] }] }),
            Self::Ingress => ingress_to("checkout"),
        };
        let path = self.path(site);
        let folder = path.rsplit_once('/').expect("a folder").0;
        let (kind, version) = match self {
            Self::HttpRoute => ("HTTPRoute", "gateway.networking.k8s.io/v1"),
            Self::VirtualService | Self::Subsets => ("VirtualService", "networking.istio.io/v1beta1"),
            _ => ("Ingress", "networking.k8s.io/v1"),
        };
        let object = |name: &str, annotations: Value, spec: &Value| {
            json!({
                "apiVersion": version, "kind": kind,
                "metadata": { "name": name, "annotations": annotations }, "spec": spec,
            })
        };
        let owned = json!({ "example.com/owner": "ada" });
        site.inside()
            .create(folder, &object("checkout", owned, &spec))
            .await;
        if self == Self::Ingress {
            let canary = json!({
                "example.com/owner": "ada",
                "nginx.ingress.kubernetes.io/canary": "true",
                "nginx.ingress.kubernetes.io/canary-by-header": "x-canary",
                WEIGHT: "0",
            });
            let spec = ingress_to("checkout-candidate");
            site.inside()
                .create(folder, &object("checkout-candidate", canary, &spec))
                .await;
        }
    }

    /// What of a hundred requests goes to the candidate, of those that go to the workload at all.
    pub async fn carried_out(self, site: &Site) -> f64 {
        let object = site.inside().get(&self.path(site)).await.expect("stands");
        let share = |stable: &Value, candidate: &Value| {
            let (stable, candidate) = (
                stable["weight"].as_f64().unwrap_or(0.0),
                candidate["weight"].as_f64().unwrap_or(0.0),
            );
            candidate * 100.0 / (stable + candidate)
        };
        match self {
            Self::Service | Self::Replicas => by_endpoints(site, &object).await,
            Self::HttpRoute => {
                let backends = &object["spec"]["rules"][0]["backendRefs"];
                let total: f64 = (0..3)
                    .map(|place| backends[place]["weight"].as_f64().expect("a weight"))
                    .sum();
                assert_eq!(total, 100.0, "somebody else's share has changed: {backends}");
                share(&backends[0], &backends[2])
            }
            Self::VirtualService => {
                let routes = &object["spec"]["http"][1]["route"];
                share(&routes[0], &routes[1])
            }
            Self::Subsets => {
                let routes = &object["spec"]["http"][0]["route"];
                share(&routes[0], &routes[1])
            }
            Self::Ingress => {
                let weight = object["metadata"]["annotations"][WEIGHT]
                    .as_str()
                    .expect("a text");
                weight.parse().expect("a number")
            }
        }
    }

    /// Somebody else sends another share to the candidate.
    pub async fn meddle(self, site: &Site) {
        let path = self.path(site);
        let mut object = site.inside().get(&path).await.expect("stands");
        let now = self.carried_out(site).await;
        let other = if now > 50.0 { 30 } else { 60 };
        match self {
            Self::Replicas => {}
            Self::Service => {
                let side = if now > 50.0 { "stable" } else { "candidate" };
                object["spec"]["selector"][SIDE] = json!(side);
            }
            Self::HttpRoute => {
                let backends = &mut object["spec"]["rules"][0]["backendRefs"];
                backends[0]["weight"] = json!(90 - other);
                backends[2]["weight"] = json!(other);
            }
            Self::VirtualService | Self::Subsets => {
                let rule = usize::from(self == Self::VirtualService);
                let routes = &mut object["spec"]["http"][rule]["route"];
                routes[0]["weight"] = json!(100 - other);
                routes[1]["weight"] = json!(other);
            }
            Self::Ingress => object["metadata"]["annotations"][WEIGHT] = json!(other.to_string()),
        }
        let change = json!({
            "metadata": { "annotations": object["metadata"]["annotations"] }, "spec": object["spec"],
        });
        site.inside().merge(&path, &change).await;
    }

    /// The object without what is a router's to write.
    pub async fn foreign(self, site: &Site) -> String {
        let mut object = site.inside().get(&self.path(site)).await.expect("stands");
        for field in ["resourceVersion", "generation", "managedFields"] {
            object["metadata"].as_object_mut().expect("fields").remove(field);
        }
        let ours: &[&str] = match self {
            Self::Service => &["/spec/selector/longshore~1side"],
            Self::HttpRoute => &[
                "/spec/rules/0/backendRefs/0/weight",
                "/spec/rules/0/backendRefs/2/weight",
            ],
            Self::VirtualService => &["/spec/http/1/route/0/weight", "/spec/http/1/route/1/weight"],
            Self::Subsets => &["/spec/http/0/route/0/weight", "/spec/http/0/route/1/weight"],
            Self::Ingress => &["/metadata/annotations/nginx.ingress.kubernetes.io~1canary-weight"],
            Self::Replicas => &[],
        };
        for pointer in ours {
            let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
            let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
            parent.expect("fields").remove(&field.replace("~1", "/"));
        }
        let mut all = object.to_string();
        for (group, kinds) in [("api/v1", "services"), ("apis/networking.k8s.io/v1", "ingresses")] {
            for other in site.admin().list(&site.path(group, kinds)).await {
                if other["metadata"]["uid"] != object["metadata"]["uid"] {
                    all.push_str(&other.to_string());
                }
            }
        }
        all
    }
}

fn ingress_to(service: &str) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
    json!({ "rules": [{ "host": "shop.example", "http": { "paths": [
        { "path": "/", "pathType": "Prefix", "backend": backend },
    ] } }] })
}

/// How many of the addresses that the cluster has for the Service are the candidate's, once it has followed the selector.
async fn by_endpoints(site: &Site, service: &Value) -> f64 {
    let wanted = service["spec"]["selector"][SIDE].as_str();
    let path = format!("{}/checkout", site.path("api/v1", "endpoints"));
    let sides = std::sync::Mutex::new(Vec::new());
    until("the endpoints are those that are selected", || async {
        let endpoints = site.admin().get(&path).await.unwrap_or_default();
        let addresses = endpoints["subsets"][0]["addresses"].as_array().cloned();
        let mut found = Vec::new();
        for address in addresses.unwrap_or_default() {
            let name = address["targetRef"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let pod = site
                .admin()
                .get(&format!("{}/{name}", site.path("api/v1", "pods")))
                .await;
            let side = pod.unwrap_or_default()["metadata"]["labels"][SIDE].clone();
            found.push(side.as_str().unwrap_or_default().to_owned());
        }
        let followed = match wanted {
            Some(wanted) => !found.is_empty() && found.iter().all(|side| side == wanted),
            None => found.len() == 2,
        };
        *sides.lock().expect("nobody panicked") = found;
        followed
    })
    .await;
    let sides = sides.into_inner().expect("nobody panicked");
    let candidates = sides.iter().filter(|side| *side == "candidate").count();
    f64::from(u32::try_from(candidates * 100 / sides.len()).expect("a percentage"))
}
