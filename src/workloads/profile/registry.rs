//! All profiles: the built-in ones, and those in the operator's configuration.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use super::{AcceleratorNames, Profile};

const ACCELERATORS: &str = include_str!("../accelerators.yaml");
pub(super) const BUILT_IN: &[(&str, &str)] = &[
    ("daemonset.yaml", include_str!("../profiles/daemonset.yaml")),
    ("deployment.yaml", include_str!("../profiles/deployment.yaml")),
    ("horizontalpodautoscaler.yaml", include_str!("../profiles/horizontalpodautoscaler.yaml")),
    ("inferenceservice.yaml", include_str!("../profiles/inferenceservice.yaml")),
    ("leaderworkerset.yaml", include_str!("../profiles/leaderworkerset.yaml")),
    ("llmdeployment.yaml", include_str!("../profiles/llmdeployment.yaml")),
    ("llminferenceservice.yaml", include_str!("../profiles/llminferenceservice.yaml")),
    ("node.yaml", include_str!("../profiles/node.yaml")),
    ("rayservice.yaml", include_str!("../profiles/rayservice.yaml")),
    ("rollout.yaml", include_str!("../profiles/rollout.yaml")),
    ("scaledobject.yaml", include_str!("../profiles/scaledobject.yaml")),
    ("statefulset.yaml", include_str!("../profiles/statefulset.yaml")),
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

/// The profiles of all kinds that Firebreak can change or judge.
#[derive(Clone, Debug)]
pub struct Profiles {
    names: Arc<AcceleratorNames>,
    by_kind: BTreeMap<(String, String), Arc<Profile>>,
}

impl Profiles {
    /// The built-in profiles, which are parsed once in a process.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn built_in() -> Result<Self, ProfileError> {
        static PARSED: OnceLock<Profiles> = OnceLock::new();
        if let Some(profiles) = PARSED.get() {
            return Ok(profiles.clone());
        }
        let profiles = Self::parse_built_in()?;
        Ok(PARSED.get_or_init(|| profiles).clone())
    }

    fn parse_built_in() -> Result<Self, ProfileError> {
        let names = Arc::new(parse::<AcceleratorNames>("accelerators.yaml", ACCELERATORS)?);
        let empty = Self { names, by_kind: BTreeMap::new() };
        BUILT_IN.iter().try_fold(empty, |all, &(file, text)| Ok(all.with(parse(file, text)?)))
    }

    /// These profiles with one more, which replaces the profile of its kind.
    #[must_use]
    pub fn with(mut self, profile: Profile) -> Self {
        let profile = Profile { names: Arc::clone(&self.names), ..profile };
        self.by_kind.insert((profile.api_version.clone(), profile.kind.clone()), Arc::new(profile));
        self
    }

    /// The profile of a kind, if it has one.
    pub fn find(&self, api_version: &str, kind: &str) -> Option<&Arc<Profile>> {
        self.by_kind.get(&(api_version.to_owned(), kind.to_owned()))
    }

    /// All of them, ordered by apiVersion and kind.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.by_kind.values()
    }
}

pub(super) fn parse<'a, T: Deserialize<'a>>(file: &str, text: &'a str) -> Result<T, ProfileError> {
    serde_saphyr::from_str(text)
        .map_err(|error| ProfileError { file: file.to_owned(), problem: error.to_string() })
}
