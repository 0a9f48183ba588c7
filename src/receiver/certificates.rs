//! The certificate of the receiver, which is read again when its files change: certificates are renewed while the process runs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are read again.
const EVERY: Duration = Duration::from_secs(60);

/// The files of a certificate, as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPair {
    /// The certificate, and what leads to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// The files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the certificate {} with the key {}: {why}; name PEM files with --alerts-tls-cert and --alerts-tls-key", pair.certificate.display(), pair.key.display())]
pub struct CertificatesError {
    pair: TlsPair,
    why: String,
}

/// The certificate as it was last read.
pub struct Certificates {
    pair: TlsPair,
    present: Mutex<Present>,
}

struct Present {
    read_at: Instant,
    acceptor: TlsAcceptor,
    /// Why the files could not be read the last time; none if they were.
    trouble: Option<String>,
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(pair: TlsPair) -> Result<Self, CertificatesError> {
        match acceptor(&pair) {
            Ok(acceptor) => {
                let present = Mutex::new(Present { read_at: Instant::now(), acceptor, trouble: None });
                Ok(Self { pair, present })
            }
            Err(why) => Err(CertificatesError { pair, why }),
        }
    }

    /// What accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if present.read_at.elapsed() >= EVERY {
            present.read_at = Instant::now();
            match acceptor(&self.pair) {
                Ok(acceptor) => {
                    present.acceptor = acceptor;
                    if present.trouble.take().is_some() {
                        tracing::info!("the certificate of the receiver can be read again");
                    }
                }
                Err(why) => {
                    if present.trouble.as_ref() != Some(&why) {
                        tracing::warn!(
                            why,
                            "cannot read the certificate of the receiver again; the last one stays"
                        );
                    }
                    present.trouble = Some(why);
                }
            }
        }
        present.acceptor.clone()
    }
}

fn acceptor(pair: &TlsPair) -> Result<TlsAcceptor, String> {
    let chain =
        CertificateDer::pem_file_iter(&pair.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| format!("the certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_file(&pair.key).map_err(|error| format!("the key: {error}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
