//! Names of routes.

use domain::{Error, Result};
use ports::{RouteRef, Side};

use super::kinds::CANARY;
use crate::names::{Name, is_plain};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    HttpRoute,
    VirtualService,
    Ingress,
    Replicas,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    pub kind: Kind,
    pub name: Name,
    /// Which Service of it is meant, where it sends to several.
    pub service: Option<String>,
}

impl Route {
    pub fn read(at: &RouteRef, default: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("`{}` names no route", at.name)).next(
                "Write service/NAMESPACE/NAME, httproute/…, virtualservice/… or ingress/…, or NAMESPACE/NAME where \
                 the number of replicas decides",
            )
        };
        let (kind, rest) = at.name.split_once('/').unwrap_or(("", &at.name));
        let (kind, rest) = match kind {
            "service" => (Kind::Service, rest),
            "httproute" => (Kind::HttpRoute, rest),
            "virtualservice" => (Kind::VirtualService, rest),
            "ingress" => (Kind::Ingress, rest),
            _ => (Kind::Replicas, at.name.as_str()),
        };
        let parts: Vec<_> = rest.split('/').collect();
        let (name, service) = match parts.as_slice() {
            [name] => (format!("{default}/{name}"), None),
            [namespace, name] => (format!("{namespace}/{name}"), None),
            [namespace, name, service] if matches!(kind, Kind::HttpRoute | Kind::VirtualService) => {
                (format!("{namespace}/{name}"), Some((*service).to_owned()))
            }
            _ => return Err(wrong()),
        };
        let name = Name::read(&name, default).map_err(|_| wrong())?;
        if !service.as_deref().is_none_or(is_plain) {
            return Err(wrong());
        }
        Ok(Self { kind, name, service })
    }

    /// How a candidate gets into a route that does not know it.
    pub fn unknown(&self, at: &RouteRef) -> Error {
        let error = Error::not_found(format!(
            "{} in {} does not know the candidate",
            at.name, at.target
        ));
        error.next(match self.kind {
            Kind::Ingress => format!(
                "Make an Ingress {} of the same hosts and paths, with {}: \"true\" and the candidate's Service",
                self.name.on(Side::Candidate),
                CANARY
            ),
            _ => {
                "Put the candidate's Service (the stable one's name and -candidate) into its rule, with weight 0"
                    .to_owned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_named_by_its_kind_namespace_and_name() {
        let read = |name: &str| {
            let at = RouteRef {
                target: "cluster".to_owned(),
                name: name.to_owned(),
            };
            let route = Route::read(&at, "default").ok()?;
            Some((route.kind, route.name.to_string(), route.service))
        };
        let of = |kind, name: &str, service: Option<&str>| {
            Some((kind, name.to_owned(), service.map(str::to_owned)))
        };
        assert_eq!(read("service/shop/web"), of(Kind::Service, "shop/web", None));
        assert_eq!(read("ingress/web"), of(Kind::Ingress, "default/web", None));
        assert_eq!(
            read("httproute/shop/web/cart"),
            of(Kind::HttpRoute, "shop/web", Some("cart"))
        );
        assert_eq!(
            read("virtualservice/shop/web"),
            of(Kind::VirtualService, "shop/web", None)
        );
        assert_eq!(read("shop/web"), of(Kind::Replicas, "shop/web", None));
        for wrong in [
            "",
            "service/",
            "service/shop/web/cart",
            "httproute/shop/web/..",
            "a/b/c",
            "Service/a",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
