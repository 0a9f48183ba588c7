//! TLS from files, in the form in which kube reads them.

use std::path::{Path, PathBuf};

use http::Uri;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use super::{explain, origin};

/// The files of a TLS connection, as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate authorities of the server. If there is none, those of the machine.
    pub authorities: Option<PathBuf>,
    /// The certificate of this process, and its key.
    pub identity: Option<Identity>,
}

/// The certificate with which this process proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, and what leads to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl TlsFiles {
    /// All files, with what is in each, for people.
    pub fn all(&self) -> Vec<(&'static str, &Path)> {
        let authorities = self.authorities.as_deref().map(|file| ("certificates", file));
        let identity = self.identity.as_ref().map(|identity| {
            [("client certificate", identity.certificate.as_path()), ("client key", identity.key.as_path())]
        });
        authorities.into_iter().chain(identity.into_iter().flatten()).collect()
    }

    /// The configuration of TLS with the server of this URL. The error names no path.
    pub(super) async fn read(&self, url: &Uri) -> Result<Config, String> {
        for (what, file) in self.all() {
            // The error of kube would name the path.
            tokio::fs::read(file).await.map_err(|error| format!("the {what} cannot be read: {error}"))?;
        }
        let config =
            Config::from_custom_kubeconfig(self.kubeconfig(url), &KubeConfigOptions::default()).await;
        let config = config.map_err(|error| explain(&error))?;
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
            return Err("the file contains no certificate as PEM".to_owned());
        }
        Ok(config)
    }

    fn kubeconfig(&self, url: &Uri) -> Kubeconfig {
        let user = self.identity.as_ref().map_or_else(
            || json!({}),
            |Identity { certificate, key }| json!({"client-certificate": certificate, "client-key": key}),
        );
        let cluster: Value = json!({"server": origin(url), "certificate-authority": self.authorities});
        let kubeconfig = json!({
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        });
        serde_json::from_value(kubeconfig).unwrap_or_default()
    }
}
