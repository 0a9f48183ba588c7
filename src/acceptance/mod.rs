//! Whether a policy can be used with the present profiles, and which permissions its ServiceAccount then needs.
//! Takes no client.

mod rights;

use firebreak_engine::action::{Fields, Named};
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Fault, Rules};
use firebreak_engine::signal::{Source, Watched};

use crate::workloads::Profiles;

pub use rights::{Presence, Purpose, Used, rights, used};

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
        let Source::Watch(Watched { api_version, kind, .. }) = signal.kind.kind().source();
        profiles.find(api_version, kind).is_none().then(|| Fault {
            field: format!("spec.signals[{at}].{}.{field}", signal.kind.name()),
            problem: format!("{api_version} {kind} has no profile, {so}"),
        })
    });
    let steps = rules.steps.iter().enumerate().filter_map(|(at, step)| {
        let scope = &step.targets().scope;
        // For a kind that is only scaled, its definition in the cluster says where the replicas are.
        let is_unknown = profiles.find(&scope.api_version, &scope.kind).is_none();
        let needs_profile = step.action.descriptor().fields == Fields::Profile;
        (is_unknown && needs_profile).then(|| Fault {
            field: format!("spec.steps[{at}].action.{}.targets.kind", step.action.name()),
            problem: format!(
                "{} {} has no profile, so Firebreak does not know its fields",
                scope.api_version, scope.kind
            ),
        })
    });
    let before = rules.steps.iter().enumerate().flat_map(|(at, step)| {
        let unknown = step.action.kind().before().iter();
        let unknown =
            unknown.filter(|Named { object, .. }| profiles.find(&object.api_version, &object.kind).is_none());
        unknown.map(move |Named { field, object }| Fault {
            field: format!("spec.steps[{at}].action.{}.{field}.kind", step.action.name()),
            problem: format!(
                "{} {} has no profile, so Firebreak does not know its fields",
                object.api_version, object.kind
            ),
        })
    });
    signals.chain(steps).chain(before).collect()
}
