//! Whether an image is there, asked of the registries that were told to us.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::{Error, ErrorKind, Result, Span};
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference, RegistryOperation};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretString};

/// A registry, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// As it stands before the first `/` in the names of its images; Docker Hub is `docker.io`.
    pub host: String,
    /// Nobody's name asks for what everybody may pull.
    pub login: Option<(String, SecretString)>,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    pub plain_http: bool,
    /// Longest time for a question and its answer.
    pub timeout: Duration,
}

/// Of images of other registries nothing is known, and nothing is said.
#[derive(Clone, Default)]
pub struct Registries {
    by_host: Arc<BTreeMap<String, Registry>>,
}

struct Registry {
    host: String,
    client: Client,
    auth: RegistryAuth,
    timeout: Duration,
}

impl Registries {
    /// Asks nobody anything yet.
    pub fn new(configs: impl IntoIterator<Item = RegistryConfig>) -> Result<Self> {
        let registry = |config: RegistryConfig| Ok((config.host.clone(), Registry::new(config)?));
        Ok(Self {
            by_host: Arc::new(configs.into_iter().map(registry).collect::<Result<_>>()?),
        })
    }

    /// Whether it is of a registry that was told to us.
    pub(crate) fn know(&self, image: &str) -> bool {
        image
            .parse::<Reference>()
            .is_ok_and(|reference| self.by_host.contains_key(reference.registry()))
    }

    /// An error when its registry says that there is no such image, or cannot say.
    pub async fn has(&self, image: &str) -> Result<()> {
        let Ok(reference) = image.parse::<Reference>() else {
            return Err(Error::not_found(format!("no image can have the name `{image}`")));
        };
        match self.by_host.get(reference.registry()) {
            None => Ok(()),
            Some(registry) => registry.has(image, &reference).await,
        }
    }

    /// Whether a registry answers and takes our credentials.
    pub async fn check(&self, host: &str) -> Result<()> {
        match self.by_host.get(host) {
            None => Err(Error::not_found(format!("no registry `{host}` is configured"))),
            Some(registry) => registry.check().await,
        }
    }
}

impl std::fmt::Debug for Registries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_host.keys()).finish()
    }
}

impl Registry {
    fn new(config: RegistryConfig) -> Result<Self> {
        let client = ClientConfig {
            protocol: match config.plain_http {
                true => ClientProtocol::Http,
                false => ClientProtocol::Https,
            },
            extra_root_certificates: match &config.ca_file {
                Some(file) => certificates(&config.host, file)?,
                None => Vec::new(),
            },
            connect_timeout: Some(config.timeout),
            read_timeout: Some(config.timeout),
            user_agent: concat!("longshore/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(client).map_err(|error| {
            Error::invalid(format!(
                "no client could be made for the registry {}",
                config.host
            ))
            .because(&error)
        })?;
        Ok(Self {
            auth: match &config.login {
                Some((username, password)) => {
                    RegistryAuth::Basic(username.clone(), password.expose_secret().to_owned())
                }
                None => RegistryAuth::Anonymous,
            },
            host: config.host,
            client,
            timeout: config.timeout,
        })
    }

    async fn has(&self, image: &str, reference: &Reference) -> Result<()> {
        let asked = async {
            // By itself the client goes on without a token that it did not get, and is told that it may not.
            self.token(reference).await?;
            self.in_time(self.client.fetch_manifest_digest(reference, &self.auth))
                .await
        };
        asked
            .await
            .map(drop)
            .map_err(|error| error.context(format!("could not find the image {image}")))
    }

    async fn token(&self, reference: &Reference) -> Result<Option<String>> {
        let token = self.client.auth(reference, &self.auth, RegistryOperation::Pull);
        self.in_time(token).await
    }

    async fn check(&self) -> Result<()> {
        // Who asks for a token must say what for; whether it is there does not matter.
        let any = Reference::with_tag(
            self.host.clone(),
            "longshore/doctor".to_owned(),
            "latest".to_owned(),
        );
        if self.token(&any).await?.is_some() {
            return Ok(());
        }
        // Without tokens a login is looked at when something is asked for.
        match self
            .in_time(self.client.fetch_manifest_digest(&any, &self.auth))
            .await
        {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = std::result::Result<T, OciDistributionError>>,
    ) -> Result<T> {
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.map_err(|error| self.told(&error)),
            // It was a question: whatever became of it, nothing was changed.
            Err(_) => Err(Error::unavailable(format!(
                "the registry {} did not answer within {}",
                self.host,
                Span(self.timeout)
            ))),
        }
    }

    fn told(&self, error: &OciDistributionError) -> Error {
        let host = &self.host;
        let missing = || {
            Error::not_found(format!("the registry {host} has no such image"))
                .next("Push it, or correct the version")
        };
        let denied = || {
            Error::denied(format!("the registry {host} does not let longshore see that image"))
                .next("Is its name right? Otherwise give `username` and `password` of one who may pull it, under [registries]")
        };
        let busy = || Error::rate_limited(format!("the registry {host} was asked too much"), None);
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => missing(),
            OciDistributionError::RegistryError { envelope, .. } => {
                let says = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|told| {
                        codes
                            .iter()
                            .any(|code| std::mem::discriminant(code) == std::mem::discriminant(&told.code))
                    })
                };
                use OciErrorCode::{
                    Denied, ManifestUnknown, NameUnknown, NotFound, Toomanyrequests, Unauthorized,
                };
                match () {
                    () if says(&[ManifestUnknown, NameUnknown, NotFound]) => missing(),
                    () if says(&[Unauthorized, Denied]) => denied(),
                    () if says(&[Toomanyrequests]) => busy(),
                    () => Error::rejected(format!("the registry {host} refused the question")).because(error),
                }
            }
            OciDistributionError::ServerError { code, .. } => match code {
                404 => missing(),
                401 | 403 => denied(),
                429 => busy(),
                500.. => Error::unavailable(format!("the registry {host} answered with {code}")),
                _ => Error::rejected(format!("the registry {host} answered with {code}")),
            },
            OciDistributionError::UnauthorizedError { .. } => denied(),
            // All that is known of the answer of who hands out tokens is its text.
            OciDistributionError::AuthenticationFailure(text) => {
                let says = |word: &str| text.contains(word);
                match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
                    _ if says("TOOMANYREQUESTS") => busy(),
                    Ok(_) if !says("UNAVAILABLE") && !says("UNKNOWN") => denied().because(error),
                    _ => Error::unavailable(format!("the registry {host} hands out no token")).because(error),
                }
            }
            OciDistributionError::RequestError(request) => {
                // What is above it names the address, which we have said.
                let why = request.source().unwrap_or(request);
                Error::unavailable(format!("the registry {host} could not be asked")).because(why)
            }
            _ => Error::rejected(format!(
                "the registry {host} said something that cannot be understood"
            ))
            .because(error),
        }
    }
}

fn certificates(host: &str, file: &Path) -> Result<Vec<Certificate>> {
    let refused = |why: &dyn std::error::Error| {
        Error::invalid(format!(
            "the certificates for the registry {host} in {} cannot be used",
            file.display()
        ))
        .because(why)
        .next("Give a file that we may read, with certificates in PEM form")
    };
    let in_it = CertificateDer::pem_file_iter(file).map_err(|error| refused(&error))?;
    let trusted: Vec<Certificate> = in_it
        .map(|certificate| {
            Ok(Certificate {
                encoding: CertificateEncoding::Der,
                data: certificate.map_err(|error| refused(&error))?.to_vec(),
            })
        })
        .collect::<Result<_>>()?;
    if trusted.is_empty() {
        return Err(refused(&std::io::Error::other("it holds none")));
    }
    Ok(trusted)
}
