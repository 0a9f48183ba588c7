//! The profile of a kind: where its fields are and how its health is read.
//!
//! One YAML file per kind in `profiles/`, compiled in. The documentation of
//! the structs is the documentation of the files; a field that they do not
//! know is an error. Names of accelerators are the same for every kind and
//! stand in `accelerators.yaml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use firebreak_engine::expression::{ObjectCondition, ObjectScope};
use firebreak_engine::path::FieldPath;
use serde::{Deserialize, Deserializer};

const ACCELERATORS: &str = include_str!("accelerators.yaml");
const BUILT_IN: [(&str, &str); 2] = [
    ("deployment.yaml", include_str!("profiles/deployment.yaml")),
    ("llmdeployment.yaml", include_str!("profiles/llmdeployment.yaml")),
];

/// A profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("workload profile {file}: {problem}")]
pub struct ProfileError {
    /// The file.
    pub file: String,
    /// What is wrong, and where.
    pub problem: String,
}

/// The profiles of all kinds that Firebreak can change or judge by itself.
#[derive(Clone, Debug)]
pub struct Profiles(BTreeMap<(String, String), Arc<Profile>>);

impl Profiles {
    /// Reads the profiles that are compiled in.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn built_in() -> Result<Self, ProfileError> {
        let names = Arc::new(parse::<AcceleratorNames>("accelerators.yaml", ACCELERATORS)?);
        let mut profiles = BTreeMap::new();
        for (file, text) in BUILT_IN {
            let profile = Profile::parse(file, text, &names)?;
            profiles.insert((profile.api_version.clone(), profile.kind.clone()), Arc::new(profile));
        }
        Ok(Self(profiles))
    }

    /// The profile of a kind, if it has one.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&Arc<Profile>> {
        self.0.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// All of them, ordered by apiVersion and kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.0.values()
    }
}

/// One kind. Paths are field paths as in the undo record: `/spec/resources`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Group and version, such as `apps/v1`. Another version of the kind needs another profile.
    pub api_version: String,
    /// Kind, such as `Deployment`.
    pub kind: String,
    /// Where the object asks for accelerators.
    pub accelerators: Accelerators,
    /// Where the quantization of its model is, if the kind has such a field.
    #[serde(default)]
    pub quantization: Option<Quantization>,
    /// What decides on which nodes its pods may start.
    #[serde(default)]
    pub placement: Placement,
    /// Where its numbers of replicas are, if it has any.
    #[serde(default)]
    pub replicas: Option<Replicas>,
    /// Where it says how many replicas its own autoscaler wants, if it has one that it reports on.
    #[serde(default)]
    pub wants: Option<FieldPath>,
    /// CEL over `object`: true for a healthy one.
    #[serde(deserialize_with = "condition")]
    pub healthy: ObjectCondition,
    /// CEL over `object`: true for one whose rollout will not finish by itself, if the kind says so.
    #[serde(default, deserialize_with = "optional_condition")]
    pub stuck: Option<ObjectCondition>,
    /// When it has finished rolling out: every stage is done. Asked in order, so a stage may rely on
    /// those before it.
    pub rollout: Vec<RolloutStage>,
    /// What counts as an accelerator; the same for every kind.
    #[serde(skip)]
    pub names: Arc<AcceleratorNames>,
}

/// Where an object asks for accelerators.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accelerators {
    /// Maps that have `limits` and `requests`.
    #[serde(default)]
    pub resources: Vec<FieldPath>,
    /// Lists of containers, told apart by `name`, each with `resources` of that kind.
    #[serde(default)]
    pub containers: Vec<FieldPath>,
    /// A quantity is a whole number from 0 to this; any other is not lent.
    pub at_most: u32,
    /// Lists that ask for devices in another way. They cannot be lent, so an entry is a pin.
    #[serde(default)]
    pub claims: Vec<Pin>,
}

/// Where the numbers of replicas are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replicas {
    /// How many there should be; not given it is 1.
    pub spec: FieldPath,
    /// How many are ready; not given it is none.
    pub ready: FieldPath,
}

/// Where the quantization of the model is.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quantization {
    /// A Boolean: whether it is on.
    pub enabled: FieldPath,
    /// A text: which.
    pub precision: FieldPath,
    /// The text has at most this many characters; a longer one is not lent.
    pub max_length: usize,
}

/// What decides on which nodes pods may start. Only the part that asks for accelerator nodes (see
/// `accelerators.yaml`) is ever changed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// Maps of node labels.
    #[serde(default)]
    pub node_selector: Vec<FieldPath>,
    /// `requiredDuringSchedulingIgnoredDuringExecution` of a node affinity.
    #[serde(default)]
    pub required_node_affinity: Vec<FieldPath>,
    /// Names of a runtime class.
    #[serde(default)]
    pub runtime_class_name: Vec<FieldPath>,
    /// What keeps pods that use accelerators where they are and cannot be released.
    #[serde(default)]
    pub pins: Vec<Pin>,
}

/// A field that, when it is there and not empty, makes a fallback useless.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pin {
    /// The field.
    pub path: FieldPath,
    /// What people are told.
    pub because: String,
}

/// One stage of a rollout.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutStage {
    /// CEL over `object`: true when the stage is done.
    #[serde(deserialize_with = "condition")]
    pub done: ObjectCondition,
    /// What people are told while it is not.
    pub otherwise: String,
}

/// What counts as an accelerator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceleratorNames {
    /// Names of resources in limits and requests.
    pub resources: Vec<Pattern>,
    /// Labels that only nodes with accelerators have.
    pub placement_keys: Vec<Pattern>,
    /// Runtime classes that only nodes with accelerators have.
    pub runtime_classes: Vec<Pattern>,
}

/// A name, or with a `*` at the end all names that begin so.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    start: String,
    open: bool,
}

impl Pattern {
    /// Whether any of the patterns fits the name.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.iter().any(|pattern| {
            if pattern.open { name.starts_with(&pattern.start) } else { name == pattern.start }
        })
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let open = text.ends_with('*');
        let start = text.strip_suffix('*').unwrap_or(&text);
        if start.is_empty() || start.contains('*') {
            return Err(format!("{text:?} is not a name with at most one * at its end"));
        }
        Ok(Self { start: start.to_owned(), open })
    }
}

impl Profile {
    fn parse(file: &str, text: &str, names: &Arc<AcceleratorNames>) -> Result<Self, ProfileError> {
        let profile = parse::<Self>(file, text)?;
        Ok(Self { names: Arc::clone(names), ..profile })
    }
}

fn parse<'a, T: Deserialize<'a>>(file: &str, text: &'a str) -> Result<T, ProfileError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ProfileError { file: file.to_owned(), problem: error.to_string() })
}

fn condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectCondition, D::Error> {
    let source = String::deserialize(deserializer)?;
    ObjectCondition::parse(&source, ObjectScope::Object).map_err(serde::de::Error::custom)
}

fn optional_condition<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ObjectCondition>, D::Error> {
    condition(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_compiled_in_and_loads() {
        let profiles = Profiles::built_in().unwrap();
        assert_eq!(profiles.iter().count(), BUILT_IN.len());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/workloads/profiles");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, BUILT_IN.map(|(file, _)| file.to_owned()));
        assert!(profiles.find("apps/v1", "Deployment").is_some());
        assert!(profiles.find("apps/v1beta1", "Deployment").is_none());
    }

    #[test]
    fn an_unknown_field_is_an_error_that_names_file_and_field() {
        let (file, text) = BUILT_IN[1];
        let error = Profile::parse(file, &format!("{text}\nreplica: /spec/replicas\n"), &Arc::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("llmdeployment.yaml") && error.contains("replica"), "{error}");
    }

    #[test]
    fn a_malformed_path_is_an_error() {
        let (file, text) = BUILT_IN[1];
        let text = text.replace("[/spec/resources]", "[spec.resources]");
        assert!(Profile::parse(file, &text, &Arc::default()).is_err());
    }

    #[test]
    fn a_star_stands_at_the_end_only() {
        for text in ["", "*", "a*b", "*a", "a**"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
        let patterns = [
            Pattern::try_from("nvidia.com/gpu".to_owned()).unwrap(),
            Pattern::try_from("nvidia.com/mig-*".to_owned()).unwrap(),
        ];
        assert!(Pattern::any(&patterns, "nvidia.com/gpu"));
        assert!(Pattern::any(&patterns, "nvidia.com/mig-1g.5gb"));
        assert!(!Pattern::any(&patterns, "nvidia.com/gpu.shared"));
    }
}
