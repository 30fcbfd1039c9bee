//! A certificate of this test's own, for 127.0.0.1.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A self-signed certificate and its key, as files in PEM form that go with it.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    _dir: TempDir,
}

impl Certificate {
    /// For the address 127.0.0.1 alone, and no name.
    pub fn for_loopback() -> Self {
        let dir = tempfile::tempdir().expect("make a folder for a certificate");
        let (certificate, key) = (dir.path().join("certificate.pem"), dir.path().join("key.pem"));
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(' '))
            .args([
                "-subj",
                "/CN=longshore test",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("run openssl; it is installed by scripts/test");
        assert!(
            made.status.success(),
            "openssl made no certificate: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Self {
            certificate,
            key,
            _dir: dir,
        }
    }
}
