//! Whether an image is there, asked of a real registry, and of one with tokens, which most have that one pays for.

use std::sync::Arc;
use std::time::Duration;

use adapter_kube::{Registries, RegistryConfig};
use domain::ErrorKind;
use serde_json::{Value, json};
use testkit::Registry;
use testkit::peer::{Fault, Peer, Reply, Request, Site, When};

fn config(host: &str) -> RegistryConfig {
    RegistryConfig {
        host: host.to_owned(),
        login: Some((Registry::USER.to_owned(), Registry::PASSWORD.into())),
        ca_file: None,
        plain_http: false,
        timeout: Duration::from_secs(10),
    }
}

fn only(config: RegistryConfig) -> Registries {
    Registries::new([config]).expect("is usable")
}

#[tokio::test]
async fn an_image_is_there_by_tag_and_digest_or_it_is_not() {
    let registry = Registry::start().await;
    let digest = registry.push("shop/checkout", "v1").await;
    let (host, ca) = (registry.host(), Some(registry.certificate.certificate.clone()));
    let with = |change: fn(&mut RegistryConfig)| {
        let mut config = RegistryConfig {
            ca_file: ca.clone(),
            ..config(&host)
        };
        change(&mut config);
        only(config)
    };
    let ours = with(|_| ());
    for image in [
        format!("{host}/shop/checkout:v1"),
        format!("{host}/shop/checkout@{digest}"),
        format!("{host}/shop/checkout:v1@{digest}"),
        // Of a registry that was not told to us.
        "registry.invalid/shop/checkout:v9".to_owned(),
        "nginx:1.27".to_owned(),
    ] {
        assert_eq!(ours.has(&image).await, Ok(()), "{image}");
    }
    let none = format!("sha256:{}", "0".repeat(64));
    for image in [
        format!("{host}/shop/checkout:v2"),
        format!("{host}/shop/chekout:v1"),
        format!("{host}/shop/checkout@{none}"),
    ] {
        let error = ours.has(&image).await.expect_err("is not there");
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        let told = error.to_string();
        assert!(
            told.contains(&image) && told.contains("has no such image"),
            "{told}"
        );
    }
    assert_eq!(ours.check(&host).await, Ok(()));

    let wrong: fn(&mut RegistryConfig) =
        |config| config.login = Some(("longshore".into(), "pull-nothing".into()));
    for stranger in [wrong, |config| config.login = None] {
        let stranger = with(stranger);
        let image = format!("{host}/shop/checkout:v1");
        for refused in [stranger.has(&image).await, stranger.check(&host).await] {
            let error = refused.expect_err("may not see it");
            assert_eq!(error.kind, ErrorKind::Denied, "{error}");
            assert!(!error.to_string().contains("pull-nothing"), "{error}");
        }
    }
    let untrusted = with(|config| config.ca_file = None);
    let error = untrusted.check(&host).await.expect_err("is not trusted");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let late = with(|_| ());
    drop(registry);
    let error = late.check(&host).await.expect_err("is gone");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("onnection refused"), "{error}");
}

#[test]
fn certificates_that_cannot_be_used_are_told() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    for file in [empty.path().to_owned(), empty.path().with_extension("gone")] {
        let wrong = RegistryConfig {
            ca_file: Some(file.clone()),
            ..config("registry.example")
        };
        let error = Registries::new([wrong]).expect_err("is refused").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}

/// Hands tokens to who knows the password, and has the image `shop/checkout:v1`.
struct Tokens;

impl Site for Tokens {
    fn answer(&self, request: &Request) -> Reply {
        const REALM: &str = "Bearer realm=\"http://HOST/token\",service=\"registry\"";
        let host = request.header("host").unwrap_or_default();
        let refused = |code: &str| json!({ "errors": [{ "code": code, "message": "no", "detail": null }] });
        if request.path == "/token" {
            // longshore:pull-only
            return match request.header("authorization") {
                Some("Basic bG9uZ3Nob3JlOnB1bGwtb25seQ==") => {
                    Reply::json(200, &json!({ "token": "for-five-minutes" }))
                }
                _ => Reply::json(401, &refused("UNAUTHORIZED")),
            };
        }
        if request.header("authorization") != Some("Bearer for-five-minutes") {
            return Reply::json(401, &refused("UNAUTHORIZED"))
                .header("www-authenticate", REALM.replace("HOST", host));
        }
        match request.path.as_str() {
            "/v2/shop/checkout/manifests/v1" => {
                // Of these two characters.
                let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
                Reply::text(200, "{}").header("docker-content-digest", digest)
            }
            _ => Reply::json(404, &refused("MANIFEST_UNKNOWN")),
        }
    }
    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::text(status, "<html>upstream trouble</html>")
    }
    fn state(&self) -> Value {
        Value::Null
    }
}

#[tokio::test]
async fn a_registry_with_tokens_is_asked_with_one_and_its_trouble_is_told() {
    let peer = Peer::start(Arc::new(Tokens));
    let host = peer.url().replace("http://", "");
    let with = |login: Option<(&str, &str)>| {
        only(RegistryConfig {
            login: login.map(|(name, password)| (name.to_owned(), password.into())),
            plain_http: true,
            timeout: Duration::from_millis(500),
            ..config(&host)
        })
    };
    let ours = with(Some((Registry::USER, Registry::PASSWORD)));
    let image = format!("{host}/shop/checkout:v1");
    assert_eq!(ours.has(&image).await, Ok(()));
    assert_eq!(ours.check(&host).await, Ok(()));
    let missing = ours.has(&format!("{host}/shop/checkout:v2")).await;
    assert_eq!(missing.expect_err("is not there").kind, ErrorKind::NotFound);
    for stranger in [with(None), with(Some((Registry::USER, "wrong")))] {
        for refused in [stranger.has(&image).await, stranger.check(&host).await] {
            assert_eq!(refused.expect_err("may not see it").kind, ErrorKind::Denied);
        }
    }
    for (fault, kind) in [
        (Fault::Status(503), ErrorKind::Unavailable),
        (Fault::Status(429), ErrorKind::RateLimited),
        (Fault::Status(403), ErrorKind::Denied),
        (Fault::Status(404), ErrorKind::NotFound),
        (Fault::Hang, ErrorKind::Unavailable),
    ] {
        // A HEAD that says nothing of a digest is asked again as a GET.
        peer.faults(10, &When::on("HEAD", "/manifests/"), &fault);
        peer.faults(10, &When::on("GET", "/manifests/"), &fault);
        let error = ours.has(&image).await.expect_err("does not say");
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        peer.clear_faults();
    }
    // Who hands out the tokens may be in trouble by itself.
    for (fault, kind) in [
        (Fault::Status(503), ErrorKind::Unavailable),
        (Fault::Hang, ErrorKind::Unavailable),
    ] {
        let fresh = with(Some((Registry::USER, Registry::PASSWORD)));
        peer.faults(10, &When::on("GET", "/token"), &fault);
        let error = fresh.has(&image).await.expect_err("gets no token");
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        peer.clear_faults();
    }
}
