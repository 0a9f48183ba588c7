//! Follows the file while the process runs, and activates its changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::file::{Configuration, ConfigurationError, text};
use crate::endpoints::Endpoints;
use crate::report::ReportTemplate;
use crate::telemetry::metrics::Metrics;
use crate::workloads::Profiles;

/// How often the file is read. A changed ConfigMap arrives by a swap of symbolic links, which a file watch
/// easily misses, and the kubelet needs a minute for it anyway.
const EVERY: Duration = Duration::from_secs(5);

/// Reads the file at intervals.
#[derive(Debug)]
pub struct Follower {
    file: PathBuf,
    /// The text in force.
    in_force: String,
    /// The last content of the file, or why it could not be read. It is read at once.
    last: Result<String, String>,
}

/// What replaces each part of the configuration in force.
pub struct Parts {
    /// The profiles.
    pub profiles: watch::Sender<Arc<Profiles>>,
    /// The endpoints.
    pub endpoints: watch::Sender<Arc<Endpoints>>,
    /// The template of reports.
    pub report: watch::Sender<Arc<ReportTemplate>>,
}

impl Parts {
    fn replace(&self, configuration: Configuration) {
        let Configuration { profiles, endpoints, report } = configuration;
        self.profiles.send_replace(Arc::new(profiles));
        let endpoints = Endpoints::of(endpoints, &self.endpoints.borrow());
        self.endpoints.send_replace(Arc::new(endpoints));
        self.report.send_replace(Arc::new(report));
    }
}

/// The result of reading the file.
#[derive(Debug)]
enum News {
    /// The same as before.
    None,
    /// The configuration in force, after one that was rejected.
    BackInForce,
    /// Another configuration.
    Changed(Configuration),
    /// An invalid configuration; the previous one stays in force.
    Refused(ConfigurationError),
}

impl Follower {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// It cannot be read, or it is invalid.
    pub fn start(file: PathBuf) -> Result<(Configuration, Self), ConfigurationError> {
        let in_force = text(&file)?;
        let configuration = Configuration::parse(&file, &in_force)?;
        let last = Ok(in_force.clone());
        Ok((configuration, Self { file, in_force, last }))
    }

    /// Activates changes of the file, until it is dropped.
    pub async fn run(mut self, parts: Parts, metrics: Arc<Metrics>) {
        loop {
            sleep(EVERY).await;
            match self.look() {
                News::None => {}
                News::BackInForce => {
                    tracing::info!("the configuration file matches the active configuration again");
                    metrics.configuration_valid(true);
                }
                News::Changed(configuration) => {
                    let kinds = configuration.profiles.iter().count();
                    tracing::info!(kinds, "the configuration was reloaded and is active");
                    metrics.configuration_valid(true);
                    parts.replace(configuration);
                }
                News::Refused(error) => {
                    tracing::warn!("{error}; the last valid configuration stays active");
                    metrics.configuration_valid(false);
                }
            }
        }
    }

    /// A small file, so reading it delays nobody.
    fn look(&mut self) -> News {
        let read = text(&self.file);
        let said = read.as_ref().map(String::clone).map_err(ToString::to_string);
        if said == self.last {
            return News::None;
        }
        self.last = said;
        let text = match read {
            Ok(text) if text == self.in_force => return News::BackInForce,
            Ok(text) => text,
            Err(error) => return News::Refused(error),
        };
        match Configuration::parse(&self.file, &text) {
            Ok(configuration) => {
                self.in_force = text;
                News::Changed(configuration)
            }
            Err(error) => News::Refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use firebreak_engine::signal::EndpointType;

    use super::*;
    use crate::configuration::{EndpointsInForce, ProfilesInForce, TemplateInForce};
    use crate::report::markdown;
    use crate::view::IncidentView;

    const EMPTY: &str = "apiVersion: config.firebreak.dev/v1alpha1\nkind: OperatorConfiguration\n";

    fn with_kind(kind: &str) -> String {
        format!("{EMPTY}profiles: [{{apiVersion: x/v1, kind: {kind}, healthy: 'true', rollout: []}}]\n")
    }

    /// The name of the new configuration.
    fn news(follower: &mut Follower) -> &'static str {
        match follower.look() {
            News::None => "none",
            News::BackInForce => "back",
            News::Changed(_) => "changed",
            News::Refused(_) => "refused",
        }
    }

    #[test]
    fn what_changes_is_taken_and_what_is_wrong_is_refused_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let say = |text: &str| fs::write(&file, text).unwrap();
        say(EMPTY);
        let (_, mut follower) = Follower::start(file.clone()).unwrap();
        assert_eq!(news(&mut follower), "none");
        say(&with_kind("Rocket"));
        assert_eq!((news(&mut follower), news(&mut follower)), ("changed", "none"));
        say("kind: [");
        assert_eq!((news(&mut follower), news(&mut follower)), ("refused", "none"));
        say(&with_kind("Rocket"));
        assert_eq!((news(&mut follower), news(&mut follower)), ("back", "none"));
        fs::remove_file(&file).unwrap();
        assert_eq!((news(&mut follower), news(&mut follower)), ("refused", "none"));
        say(EMPTY);
        assert_eq!(news(&mut follower), "changed");
    }

    #[test]
    fn a_file_that_is_wrong_at_the_start_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        assert!(matches!(Follower::start(file.clone()), Err(ConfigurationError::Unreadable { .. })));
        fs::write(&file, "kind: [").unwrap();
        assert!(matches!(Follower::start(file), Err(ConfigurationError::Invalid { .. })));
    }

    /// As the kubelet mounts a ConfigMap: the file is a link into a folder, which is a link too.
    fn mount(folder: &Path, version: &str, text: &str) {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("config.yaml"), text).unwrap();
        symlink(version, folder.join("..new")).unwrap();
        fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_config_map_is_in_force_for_every_reader() {
        let folder = tempfile::tempdir().unwrap();
        mount(folder.path(), "..1", EMPTY);
        symlink("..data/config.yaml", folder.path().join("config.yaml")).unwrap();
        let (configuration, follower) = Follower::start(folder.path().join("config.yaml")).unwrap();
        let (sender, mut profiles) = ProfilesInForce::new(configuration.profiles);
        let metrics = Arc::new(Metrics::new().unwrap());
        let (templates, template) = TemplateInForce::new(configuration.report);
        let (senders, endpoints) = EndpointsInForce::new(Endpoints::default());
        let parts = Parts { profiles: sender, endpoints: senders, report: templates };
        let following = tokio::spawn(follower.run(parts, Arc::clone(&metrics)));
        let report = || {
            let incident = IncidentView::of(&crate::api::Incident::new("x", Default::default()));
            markdown(&template.now(), &incident, jiff::Timestamp::UNIX_EPOCH).unwrap().text
        };
        let valid =
            || String::from_utf8(metrics.render().unwrap()).unwrap().contains("configuration_valid 1");
        let other = profiles.clone();
        assert!(other.now().find("x/v1", "Rocket").is_none() && valid());

        mount(folder.path(), "..2", &with_kind("Rocket"));
        profiles.changed().await;
        assert!(profiles.now().find("x/v1", "Rocket").is_some());
        assert!(other.now().find("x/v1", "Rocket").is_some() && valid());

        mount(folder.path(), "..3", "profiles: 3\n");
        while valid() {
            sleep(Duration::from_secs(1)).await;
        }
        assert!(other.now().find("x/v1", "Rocket").is_some(), "the last good one stays");

        assert!(report().starts_with("# Incident Report"));
        let own = format!("{EMPTY}reportTemplate: 'Incident {{{{ incident.name }}}} was here'\n");
        mount(folder.path(), "..4", &own);
        profiles.changed().await;
        assert!(other.now().find("x/v1", "Rocket").is_none() && valid());
        assert_eq!(report(), "Incident x was here");

        mount(folder.path(), "..5", &own.replace(".name", ".nmae"));
        while valid() {
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(report(), "Incident x was here", "the last good template stays");

        let find = || endpoints.now().find("main", EndpointType::Prometheus);
        assert!(find().is_err());
        let named =
            |url: &str| format!("{EMPTY}endpoints: [{{name: main, type: Prometheus, url: '{url}'}}]\n");
        mount(folder.path(), "..6", &named("http://a:1"));
        profiles.changed().await;
        let first = find().unwrap();
        mount(folder.path(), "..7", &format!("{}# the same\n", named("http://a:1")));
        profiles.changed().await;
        assert!(Arc::ptr_eq(&first, &find().unwrap()), "what is the same keeps its connections");
        mount(folder.path(), "..8", &named("http://b:1"));
        profiles.changed().await;
        assert!(!Arc::ptr_eq(&first, &find().unwrap()));
        following.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn profiles_without_a_file_never_change() {
        let mut profiles = ProfilesInForce::from(Arc::new(Profiles::built_in().unwrap()));
        let forever = tokio::time::timeout(Duration::from_secs(3600), profiles.changed());
        assert!(forever.await.is_err());
        assert!(profiles.now().find("apps/v1", "Deployment").is_some());
    }
}
