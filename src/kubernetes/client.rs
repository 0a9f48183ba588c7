//! The base client: which cluster, as which user, and with which limits.
//!
//! An explicit kubeconfig wins; then the Pod's own ServiceAccount; then `~/.kube/config`.
//! `kube::Config::infer` is not used: it prefers `~/.kube/config` inside a Pod, and it lets
//! environment variables meant for debugging replace the server and the user.
//!
//! Guarantees: no request is repeated automatically, because a repeated write is a second change (kube's
//! default repeats POST up to 15 times); every request but a stream ends within [`DEADLINE`], its body
//! included; every request is counted. Reads that may be repeated use [`super::retry::read`].

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::layer::layer_fn;

use super::metered::Metered;
pub use super::metered::{DEADLINE, DeadlineExceeded, Streamed};
use crate::telemetry::metrics::Metrics;

/// The cluster to connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterChoice {
    /// Explicit kubeconfig files, merged in this order; files of a list that do not exist
    /// are ignored, as in kubectl.
    pub kubeconfigs: Vec<PathBuf>,
    /// The context to use instead of the current one.
    pub context: Option<String>,
}

/// Why no client could be created. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The explicit kubeconfig cannot be used.
    #[error("cannot use kubeconfig {path}: {source}; check --kubeconfig, KUBECONFIG and --context")]
    Kubeconfig {
        /// The file, or the list of files.
        path: String,
        /// What kube says.
        source: Box<KubeconfigError>,
    },
    /// The process runs in a Pod whose ServiceAccount is not mounted completely.
    #[error("cannot use this Pod's ServiceAccount: {0}; set automountServiceAccountToken, or --kubeconfig")]
    InCluster(#[source] InClusterError),
    /// There is neither a kubeconfig nor a Pod.
    #[error(
        "no cluster: not running in a Pod, and there is no usable ~/.kube/config ({0}); set --kubeconfig"
    )]
    Nothing(#[source] Box<KubeconfigError>),
    /// The configuration was read, but no client can be created from it.
    #[error("cannot create a client for {cluster}: {source}")]
    Client {
        /// The server's URL.
        cluster: String,
        /// What kube says.
        source: Box<kube::Error>,
    },
}

/// Creates the client of the process. Needs a tokio runtime; sends nothing.
///
/// # Errors
/// When no usable configuration is found.
pub async fn connect(choice: &ClusterChoice, metrics: Arc<Metrics>) -> Result<Client, ConnectError> {
    let config = harden(configuration(choice).await?);
    let cluster = config.cluster_url.to_string();
    let builder = ClientBuilder::try_from(config)
        .map_err(|source| ConnectError::Client { cluster, source: Box::new(source) })?;
    let metered = layer_fn(|inner| Metered::new(inner, Arc::clone(&metrics)));
    Ok(builder.with_layer(&metered).build())
}

async fn configuration(choice: &ClusterChoice) -> Result<Config, ConnectError> {
    if let Some(files) = named(&choice.kubeconfigs) {
        let merged = merge(&files);
        return load(merged, choice).await.map_err(|source| {
            let path: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            ConnectError::Kubeconfig { path: path.join(", "), source: Box::new(source) }
        });
    }
    if choice.context.is_some() {
        // A context can only be in a kubeconfig, so the Pod is not considered.
        return load(home(), choice).await.map_err(|source| ConnectError::Kubeconfig {
            path: "~/.kube/config".to_owned(),
            source: Box::new(source),
        });
    }
    match Config::incluster() {
        Ok(config) => Ok(config),
        Err(InClusterError::ReadEnvironmentVariable(_)) => {
            load(home(), choice).await.map_err(|source| ConnectError::Nothing(Box::new(source)))
        }
        Err(error) => Err(ConnectError::InCluster(error)),
    }
}

/// The files to read, or `None` if there is no explicit one. Of a list, those that exist; a single file
/// that does not exist is kept, so that it is named in the error.
fn named(kubeconfigs: &[PathBuf]) -> Option<Vec<&Path>> {
    let existing: Vec<&Path> =
        kubeconfigs.iter().map(PathBuf::as_path).filter(|file| file.exists()).collect();
    if existing.is_empty() { kubeconfigs.first().map(|file| vec![file.as_path()]) } else { Some(existing) }
}

fn merge(files: &[&Path]) -> Result<Kubeconfig, KubeconfigError> {
    files.iter().try_fold(Kubeconfig::default(), |merged, file| merged.merge(Kubeconfig::read_from(file)?))
}

fn home() -> Result<Kubeconfig, KubeconfigError> {
    let path = std::env::home_dir().ok_or(KubeconfigError::FindPath)?.join(".kube/config");
    if path.exists() {
        Kubeconfig::read_from(path)
    } else {
        let missing = io::Error::from(io::ErrorKind::NotFound);
        Err(KubeconfigError::ReadConfig(missing, path))
    }
}

async fn load(
    kubeconfig: Result<Kubeconfig, KubeconfigError>,
    choice: &ClusterChoice,
) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions { context: choice.context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig?, &options).await
}

fn harden(mut config: Config) -> Config {
    config.default_retry = false;
    // One attempt to connect must leave time within the caller's deadline.
    config.connect_timeout = Some(Duration::from_secs(10));
    let agent = concat!("firebreak/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    // kube uses HTTPS_PROXY for every cluster; kubectl never does for the local machine.
    if is_loopback(config.cluster_url.host()) {
        config.proxy_url = None;
    }
    config
}

fn is_loopback(host: Option<&str>) -> bool {
    host.is_some_and(|host| {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r"
apiVersion: v1
kind: Config
current-context: one
clusters:
- {name: c, cluster: {server: 'http://127.0.0.1:1'}}
- {name: d, cluster: {server: 'http://127.0.0.1:2'}}
users:
- {name: u, user: {token: t}}
contexts:
- {name: one, context: {cluster: c, user: u, namespace: serving}}
- {name: two, context: {cluster: d, user: u}}
";

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        std::fs::write(&file, KUBECONFIG).unwrap();
        (folder, file)
    }

    #[tokio::test]
    async fn a_named_kubeconfig_wins_and_its_context_can_be_chosen() {
        let (_folder, file) = written();
        let mut choice = ClusterChoice { kubeconfigs: vec![file], context: None };
        let current = configuration(&choice).await.unwrap();
        assert_eq!(current.cluster_url.port_u16(), Some(1));
        assert_eq!(current.default_namespace, "serving");

        choice.context = Some("two".into());
        let chosen = configuration(&choice).await.unwrap();
        assert_eq!(chosen.cluster_url.port_u16(), Some(2));
    }

    #[tokio::test]
    async fn a_missing_file_in_a_list_is_passed_over_and_a_missing_single_file_is_named() {
        let (_folder, file) = written();
        let list = ClusterChoice { kubeconfigs: vec!["/does/not/exist".into(), file], context: None };
        assert!(configuration(&list).await.is_ok());

        let single = ClusterChoice { kubeconfigs: vec!["/does/not/exist".into()], context: None };
        let error = configuration(&single).await.unwrap_err();
        assert!(error.to_string().contains("/does/not/exist"), "{error}");
    }

    #[test]
    fn nothing_is_sent_twice_by_itself_and_the_local_machine_is_never_proxied() {
        let mut config = Config::new(http::Uri::from_static("https://[::1]:6443"));
        config.proxy_url = Some(http::Uri::from_static("http://proxy:3128"));
        let hardened = harden(config);
        assert!(!hardened.default_retry);
        assert_eq!(hardened.proxy_url, None);
        assert!(!is_loopback(Some("10.0.0.1")));
    }
}
