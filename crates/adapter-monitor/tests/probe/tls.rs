//! Checks of what speaks TLS.

use std::sync::Arc;

use adapter_monitor::{ProbeConfig, Probes};
use domain::ErrorKind;
use ports::{Probe, Seen};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use testkit::Certificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{Server, TIMEOUT, get, probes};

async fn server(of: &Certificate) -> Server {
    let certificates = vec![CertificateDer::from_pem_file(&of.certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(&of.key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    Server::start(move |connection| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut connection) = acceptor.accept(connection).await else {
                return;
            };
            let mut start = [0; 16];
            let _ = connection.read(&mut start).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = connection.write_all(answer).await;
            let _ = connection.shutdown().await;
        }
    })
    .await
}

async fn see(config: &ProbeConfig, url: String) -> Seen {
    probes(config).check(&get(url, TIMEOUT)).await.expect("looks")
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_be_for_the_address_that_is_asked() {
    let certificate = Certificate::for_loopback();
    let server = server(&certificate).await;
    let trusting = ProbeConfig {
        ca_file: Some(certificate.certificate.clone()),
        ..ProbeConfig::default()
    };
    let seen = see(&trusting, format!("https://{}/", server.address)).await;
    assert!(seen.well, "{seen:?}");

    let seen = see(&ProbeConfig::default(), format!("https://{}/", server.address)).await;
    assert!(!seen.well && seen.what.contains("UnknownIssuer"), "{seen:?}");

    let elsewhere = server.address.replace("127.0.0.1", "localhost");
    let seen = see(&trusting, format!("https://{elsewhere}/")).await;
    assert!(!seen.well && seen.what.contains("not valid for name"), "{seen:?}");
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_told_at_the_start() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    for file in [empty.path().to_owned(), empty.path().with_extension("missing")] {
        let config = ProbeConfig {
            ca_file: Some(file.clone()),
            ..ProbeConfig::default()
        };
        let error = Probes::new(&config).err().expect("is refused");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }
}
