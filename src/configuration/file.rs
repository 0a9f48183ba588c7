//! The content of the file.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::endpoints::EndpointSpec;
use crate::report::{ReportTemplate, TemplateError};
use crate::workloads::{Profile, ProfileError, Profiles};

const API_VERSION: &str = "config.firebreak.dev/v1alpha1";
const KIND: &str = "OperatorConfiguration";

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The built-in profiles, extended or replaced by those of the file.
    pub profiles: Profiles,
    /// The endpoints that signals may ask.
    pub endpoints: Vec<EndpointSpec>,
    /// The template of the file, or else the shipped one.
    pub report: ReportTemplate,
}

/// Why a configuration cannot be used, in one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; name a readable file with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is invalid.
    #[error("the configuration {} is refused: {problem}; docs/endpoints.md, docs/profiles.md and docs/report.md explain each field", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, and the fault.
        problem: String,
    },
    /// A built-in profile is invalid.
    #[error("{0}; this is a bug, please report it")]
    BuiltIn(#[from] ProfileError),
    /// The shipped template is invalid.
    #[error("the built-in template of reports: {0}; this is a bug, please report it")]
    BuiltInTemplate(#[from] TemplateError),
}

/// The file, as users write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(deserialize_with = "api_version")]
    #[expect(dead_code, reason = "checked while it is read")]
    api_version: (),
    #[serde(deserialize_with = "kind")]
    #[expect(dead_code, reason = "checked while it is read")]
    kind: (),
    #[serde(default, deserialize_with = "endpoints")]
    endpoints: Vec<EndpointSpec>,
    #[serde(default, deserialize_with = "profiles")]
    profiles: Vec<Profile>,
    #[serde(default, deserialize_with = "report_template")]
    report_template: Option<ReportTemplate>,
}

impl Configuration {
    /// The configuration without a file.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn built_in() -> Result<Self, ConfigurationError> {
        Ok(Self {
            profiles: Profiles::built_in()?,
            endpoints: Vec::new(),
            report: ReportTemplate::shipped()?,
        })
    }

    /// The configuration with the text of this file.
    ///
    /// # Errors
    /// It is invalid.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigurationError> {
        let said: File = serde_saphyr::from_str(text).map_err(|error| {
            // The rest of the message is a picture of the place in the file.
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let problem = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            ConfigurationError::Invalid { file: file.to_owned(), problem }
        })?;
        let built_in = Self::built_in()?;
        Ok(Self {
            profiles: said.profiles.into_iter().fold(built_in.profiles, Profiles::with),
            endpoints: said.endpoints,
            report: said.report_template.unwrap_or(built_in.report),
        })
    }
}

/// The configuration from the present content of the file.
///
/// # Errors
/// It cannot be read.
pub(super) fn text(file: &Path) -> Result<String, ConfigurationError> {
    fs::read_to_string(file)
        .map_err(|source| ConfigurationError::Unreadable { file: file.to_owned(), source })
}

fn api_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    exactly(API_VERSION, "apiVersion", deserializer)
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    exactly(KIND, "kind", deserializer)
}

fn exactly<'de, D: Deserializer<'de>>(wanted: &str, field: &str, deserializer: D) -> Result<(), D::Error> {
    let found = String::deserialize(deserializer)?;
    if found == wanted { Ok(()) } else { Err(D::Error::custom(format!("{field} must be {wanted}"))) }
}

fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EndpointSpec>, D::Error> {
    let endpoints = Option::<Vec<EndpointSpec>>::deserialize(deserializer)?.unwrap_or_default();
    let mut names = BTreeSet::new();
    for EndpointSpec { name, .. } in &endpoints {
        if !names.insert(name) {
            return Err(D::Error::custom(format!("two endpoints have the name {name}")));
        }
    }
    Ok(endpoints)
}

fn profiles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Profile>, D::Error> {
    let profiles = Option::<Vec<Profile>>::deserialize(deserializer)?.unwrap_or_default();
    let mut kinds = BTreeSet::new();
    for profile in &profiles {
        if !kinds.insert((&profile.api_version, &profile.kind)) {
            let twice = format!("{} {} has two profiles", profile.api_version, profile.kind);
            return Err(D::Error::custom(twice));
        }
    }
    Ok(profiles)
}

fn report_template<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ReportTemplate>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(ReportTemplate::parse)
        .transpose()
        .map_err(|error| D::Error::custom(format!("reportTemplate, in its {error}")))
}

#[cfg(test)]
mod tests {
    use firebreak_engine::verdict::Verdict;

    use super::*;

    const START: &str = "apiVersion: config.firebreak.dev/v1alpha1\nkind: OperatorConfiguration\n";
    const ROCKET: &str = "\
profiles:
- apiVersion: space.example/v1
  kind: Rocket
  replicas: {spec: /spec/engines, ready: /status/running, atMost: 9}
  healthy: has(object.status) && object.status.running > 0
  rollout: []
";

    fn parse(text: &str) -> Result<Profiles, String> {
        let parsed = Configuration::parse(Path::new("config.yaml"), text);
        parsed.map(|configuration| configuration.profiles).map_err(|error| error.to_string())
    }

    #[test]
    fn a_kind_is_added_or_replaced_and_the_others_stay() {
        let built_in = Profiles::built_in().unwrap();
        for empty in ["", "profiles: []\n", "profiles:\n", "endpoints: []\n", "endpoints:\n"] {
            assert_eq!(parse(&format!("{START}{empty}")).unwrap().iter().count(), built_in.iter().count());
        }
        let added = parse(&format!("{START}{ROCKET}")).unwrap();
        assert_eq!(added.iter().count(), built_in.iter().count() + 1);
        let rocket = added.find("space.example/v1", "Rocket").unwrap();
        assert_eq!(rocket.replicas.as_ref().unwrap().at_most, 9);
        assert!(!rocket.names.resources.is_empty(), "accelerators are called the same everywhere");

        let own = ROCKET.replace("space.example/v1", "apps/v1").replace("Rocket", "Deployment");
        let replaced = parse(&format!("{START}{own}")).unwrap();
        assert_eq!(replaced.iter().count(), built_in.iter().count());
        assert_eq!(replaced.find("apps/v1", "Deployment").unwrap().accelerators, None);
        assert!(replaced.find("apps/v1", "StatefulSet").unwrap().accelerators.is_some());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_its_place() {
        let table = [
            ("kind: OperatorConfiguration\n".to_owned(), "apiVersion", None),
            (START.replace("v1alpha1", "v2"), "apiVersion must be config.firebreak.dev/v1alpha1", Some(1)),
            (START.replace(KIND, "ConfigMap"), "kind must be OperatorConfiguration", Some(2)),
            (format!("{START}profile: []\n"), "profile", Some(3)),
            (format!("{START}endpoints:\n- {{name: x}}\n"), "missing field", Some(4)),
            (
                format!("{START}endpoints:\n- {{name: x, type: Prometheus, url: x}}\n"),
                "endpoint x: url is no URL",
                Some(4),
            ),
            (
                format!("{START}endpoints:\n- {{name: x, type: Prometheus, url: 'http://me:s3cret@a'}}\n"),
                "without user, password",
                Some(4),
            ),
            (
                format!(
                    "{START}endpoints:\n- {{name: x, type: Prometheus, url: 'http://a'}}\n\
                     - {{name: x, type: Prometheus, url: 'http://b'}}\n"
                ),
                "two endpoints have the name x",
                None,
            ),
            (format!("{START}{}", ROCKET.replace("/spec/engines", "spec.engines")), "spec.engines", Some(6)),
            (format!("{START}{}", ROCKET.replace("/spec/engines", "/status/x")), "may change", Some(6)),
            (format!("{START}{}", ROCKET.replace("> 0", ">")), "", Some(7)),
            (format!("{START}{}", ROCKET.replace("healthy", "health")), "health", Some(7)),
            (format!("{START}{ROCKET}{}", ROCKET.replace("profiles:\n", "")), "two profiles", None),
            (format!("{START}profiles: ["), "", None),
            (
                format!("{START}reportTemplate: |\n  a\n  {{{{ incident.nmae }}}}\n"),
                "reportTemplate, in its line 2: undefined",
                Some(4),
            ),
            (
                format!("{START}reportTemplate: '{{% if %}}'\n"),
                "reportTemplate, in its line 1: syntax error",
                Some(3),
            ),
            ("42".to_owned(), "", None),
            (String::new(), "", None),
        ];
        for (text, expected, line) in table {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(expected) && error.contains("config.yaml"), "{text}: {error}");
            assert!(!error.contains('\n') && !error.contains("s3cret"), "{error}");
            if let Some(line) = line {
                assert!(error.contains(&format!("line {line}")), "line {line}: {error}");
            }
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = text(Path::new("/nowhere/config.yaml")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/config.yaml") && error.contains("--config"), "{error}");
    }
    const DOCUMENTATION: &str = include_str!("../../docs/profiles.md");

    /// The YAML in the documentation that has this line.
    fn example(line: &str) -> String {
        let blocks = DOCUMENTATION.split("```yaml\n").skip(1);
        let texts = blocks.map(|block| {
            let block = block.split("```").next().unwrap();
            let indent = block.len() - block.trim_start().len();
            let lines = block.lines().map(|line| line.get(indent..).unwrap_or_default());
            lines.collect::<Vec<_>>().join("\n")
        });
        texts.filter(|text| text.lines().any(|found| found.starts_with(line))).last().unwrap()
    }

    #[test]
    fn the_example_in_the_documentation_finds_what_it_says() {
        parse(&example("endpoints: []")).unwrap();
        let profiles = parse(&example("kind: OperatorConfiguration")).unwrap();
        let profile = profiles.find("models.example.com/v1", "ModelServer").unwrap();
        let object: serde_json::Value = serde_saphyr::from_str(&example("kind: ModelServer")).unwrap();
        let slots = crate::workloads::slots(profile, &object);
        assert_eq!((slots.fields.len(), slots.pins.len(), slots.obstacles.len()), (6, 0, 2), "{slots:#?}");
        assert!(slots.fields.iter().all(|slot| slot.out_of_bounds.is_none()));
        assert_eq!(crate::workloads::healthy(profile, &object).0, Verdict::True);
        assert_eq!(crate::workloads::rollout(profile, &object).0, Verdict::True);
    }

    #[test]
    fn every_field_of_a_profile_is_in_the_documentation() {
        let described = |field: &str| {
            let starts = [format!("`{field}`"), format!("`{field}."), format!(".{field}`")];
            starts.iter().any(|start| DOCUMENTATION.contains(start))
        };
        let known = |place: &str| {
            let end = "}".repeat(place.matches('{').count());
            let error = parse(&format!("{START}profiles: [{{{place}nonsense: 1{end}}}]\n")).unwrap_err();
            let (_, fields) = error.split_once("expected one of ").unwrap();
            fields.split(';').next().unwrap().split(", ").map(str::to_owned).collect::<Vec<_>>()
        };
        let parts = ["", "accelerators: {", "placement: {", "batchSize: {flag: {"].map(known);
        for field in parts.concat() {
            assert!(described(&field), "{field}");
        }
    }
}
