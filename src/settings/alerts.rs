//! The flags of the receiver of alerts.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::receiver::TlsPair;

/// Whether and how alerts are received.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct AlertsArgs {
    /// The address to which Alertmanager sends alerts, such as 0.0.0.0:8090 [default: alerts are not received]
    #[arg(id = "alerts_listen", long = "alerts-listen", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// The certificate of that address, as PEM; it is read again when it is renewed [default: no TLS]
    #[arg(id = "alerts_tls_cert", long = "alerts-tls-cert", value_name = "FILE", requires_all = ["alerts_listen", "alerts_tls_key"])]
    certificate: Option<PathBuf>,
    /// The key of that certificate, as PEM
    #[arg(id = "alerts_tls_key", long = "alerts-tls-key", value_name = "FILE", requires = "alerts_tls_cert")]
    key: Option<PathBuf>,
}

impl AlertsArgs {
    /// The certificate; none without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<TlsPair> {
        let (certificate, key) = self.certificate.clone().zip(self.key.clone())?;
        Some(TlsPair { certificate, key })
    }
}
