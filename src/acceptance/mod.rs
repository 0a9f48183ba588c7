//! Whether a policy can be used with the present profiles, and which permissions its ServiceAccount then needs.
//! Takes no client.

mod rights;

use firebreak_engine::action::{Fields, Named};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Fault, Rules};
use firebreak_engine::signal::{Source, Watched};

use crate::kubernetes::built_in;
use crate::workloads::Profiles;

pub use rights::{Presence, Used, known_rights, rights, used};

/// The rules of a policy.
///
/// # Errors
/// Its faults, each with its field.
pub fn rules(spec: &PolicySpec, profiles: &Profiles) -> Result<Rules, Vec<String>> {
    accept(spec, profiles).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The rules of a policy.
///
/// # Errors
/// Its faults: those of the engine, else those that only the profiles show.
pub fn accept(spec: &PolicySpec, profiles: &Profiles) -> Result<Rules, Vec<Fault>> {
    let rules = Rules::parse(spec)?;
    let faults = check_profiles(&rules, profiles);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// The faults that only the profiles show, in the same form as the engine's.
fn check_profiles(rules: &Rules, profiles: &Profiles) -> Vec<Fault> {
    let signals = rules.signals.iter().enumerate().filter_map(|(at, signal)| {
        let (field, so) = signal.kind.kind().needs_profile()?;
        let Source::Watch(Watched { api_version, kind, .. }) = signal.kind.kind().source() else {
            return None;
        };
        profiles.find(api_version, kind).is_none().then(|| Fault {
            field: format!("spec.signals[{at}].{}.{field}", signal.kind.name()),
            problem: without_profile(profiles, api_version, kind, so),
        })
    });
    let steps = rules.steps.iter().enumerate().filter_map(|(at, step)| {
        let scope = &step.targets().scope;
        // For a kind that is only scaled, its definition in the cluster says where the replicas are.
        let is_unknown = profiles.find(&scope.api_version, &scope.kind).is_none();
        let needs_profile = step.action.descriptor().fields == Fields::Profile;
        (is_unknown && needs_profile).then(|| Fault {
            field: format!("spec.steps[{at}].action.{}.targets.kind", step.action.name()),
            problem: without_profile(profiles, &scope.api_version, &scope.kind, UNKNOWN_FIELDS),
        })
    });
    let before = rules.steps.iter().enumerate().flat_map(|(at, step)| {
        let unknown = step.action.kind().before().iter();
        let unknown =
            unknown.filter(|Named { object, .. }| profiles.find(&object.api_version, &object.kind).is_none());
        unknown.map(move |Named { field, object }| Fault {
            field: format!("spec.steps[{at}].action.{}.{field}.kind", step.action.name()),
            problem: without_profile(profiles, &object.api_version, &object.kind, UNKNOWN_FIELDS),
        })
    });
    signals.chain(steps).chain(before).collect()
}

/// The meaning of a missing profile for a kind whose fields are changed.
const UNKNOWN_FIELDS: &str = "so Firebreak does not know its fields";

/// That a kind has no profile and what follows, and the kind that was probably meant.
fn without_profile(profiles: &Profiles, api_version: &str, kind: &str, so: &str) -> String {
    let profiled = profiles.iter().map(|profile| (profile.api_version.as_str(), profile.kind.as_str()));
    let meant = match built_in::is_served(api_version, kind) {
        true => None,
        false => built_in::meant(api_version, kind, profiled),
    };
    let meant = meant.map(|meant| format!("; {meant}")).unwrap_or_default();
    format!("{api_version} {kind} has no profile, {so}{meant}")
}

/// A kind that a policy names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedKind {
    /// The field that has `apiVersion` and `kind`.
    pub field: String,
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
}

/// The kinds that a policy names, each with its field.
pub fn named_kinds(rules: &Rules) -> Vec<NamedKind> {
    let of = |field: String, api_version: &str, kind: &str| NamedKind {
        field,
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    };
    let signals = rules.signals.iter().enumerate().filter_map(|(at, signal)| {
        let Source::Watch(Watched { api_version, kind, .. }) = signal.kind.kind().source() else {
            return None;
        };
        Some(of(format!("spec.signals[{at}].{}", signal.kind.name()), api_version, kind))
    });
    let steps = rules.steps.iter().enumerate().flat_map(|(at, step)| {
        let action = format!("spec.steps[{at}].action.{}", step.action.name());
        let scope = &step.targets().scope;
        let targets = of(format!("{action}.targets"), &scope.api_version, &scope.kind);
        let before = step.action.kind().before().iter();
        let before = before.map(move |Named { field, object }| {
            of(format!("{action}.{field}"), &object.api_version, &object.kind)
        });
        std::iter::once(targets).chain(before)
    });
    signals.chain(steps).collect()
}
