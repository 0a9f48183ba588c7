//! The fields of one object that an action may change.
//!
//! A role that the kind has no field for is an obstacle, and so is a field that
//! has a form in this object which must not be changed; then the action does
//! not apply and says why. A value of the wrong size or type is a slot out of
//! bounds, which no action changes. Quantization and placement are no obstacles,
//! because a fallback works without them. Nothing here may panic: kinds with an open
//! schema can hold anything.

mod accelerators;
mod containers;
mod devices;
mod doubts;
mod elsewhere;
mod flags;
mod numbers;
mod pace;
mod placement;
mod places;
mod program;
mod restart;
mod wrappers;

use std::borrow::Cow;

use firebreak_engine::facts::{Obstacle, Role, Slot, Slots};
use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::profile::{Pin, Profile, SchedulerAbsent};

/// The longest path that the status of an Incident can hold.
const LONGEST_PATH: usize = 512;

/// The roles of fields in pod templates, of which an object may have many.
const IN_TEMPLATES: [Role; 5] =
    [Role::Accelerator, Role::Scheduler, Role::BatchSize, Role::MaxConcurrency, Role::Restart];

/// The fields that an action may change in the object, in a stable order.
pub fn slots(profile: &Profile, object: &Value) -> Slots {
    let mut found = Slots {
        metadata_propagates: profile.metadata_propagates,
        obstacles: refused(profile, object).into_iter().chain(missing(profile)).collect(),
        ..Slots::default()
    };
    let profile = match profile.spread(object) {
        Ok(profile) => profile,
        Err(why) => {
            let obstacle = |role| Obstacle { role, why: why.clone() };
            found.obstacles.extend(IN_TEMPLATES.map(obstacle));
            return found;
        }
    };
    let profile = profile.as_ref();
    fallback(profile, object, &mut found);
    found.places = places::places(profile, object);
    let is_node = (profile.api_version.as_str(), profile.kind.as_str()) == ("v1", "Node");
    found.node = is_node.then(|| places::node(&profile.names, object));
    found.containers = containers::containers(profile, object);
    found.doubts = doubts::doubts(profile, object, &found.containers);
    numbers::replicas(profile, object, &mut found);
    numbers::autoscaler_limit(profile, object, &mut found);
    schedulers(profile, object, &mut found);
    numbers::setting(Role::BatchSize, profile, object, &mut found);
    numbers::setting(Role::MaxConcurrency, profile, object, &mut found);
    restart::restart(profile, object, &mut found);
    found
}

/// What a fallback from accelerators changes. For an object that uses none, it is nothing, whatever its
/// placement says. Otherwise only existing fields are listed, with one exception that the runbooks ask for: a
/// kind's quantization fields may be absent.
fn fallback(profile: &Profile, object: &Value, found: &mut Slots) {
    let Some(accelerators) = &profile.accelerators else { return };
    accelerators::accelerators(profile, accelerators, object, found);
    found.fixed.extend(pins(&accelerators.claims, object));
    if found.fields.is_empty() {
        let devices = devices::that_stay(accelerators, &[], object);
        found.other_devices =
            devices.iter().filter(|stays| stays.is_device()).map(devices::Stays::told).collect();
        return;
    }
    found.fields.extend(accelerators::quantization(profile, object));
    found.fields.extend(placement::node_selectors(profile, object));
    found.fields.extend(placement::node_affinities(profile, object));
    found.fields.extend(placement::runtime_classes(profile, object));
    found.fields.extend(pace::pace(profile, object, &accelerators_in(&found.fields, object)));
    found.pins.extend(pins(&profile.placement.pins, object));
}

/// The accelerators of the object, with their numbers.
fn accelerators_in(fields: &[Slot], object: &Value) -> Vec<(FieldPath, Option<Value>)> {
    let accelerators = fields.iter().filter(|slot| slot.role == Role::Accelerator);
    let amount = |path: &FieldPath| path.read(object).map(Cow::into_owned);
    accelerators.map(|slot| (slot.path.clone(), amount(&slot.path))).collect()
}

/// Whether a fallback of what this object runs needs room beside the old pods: where the object has its template in another
/// one, which has these `fields`.
pub fn needs_room(profile: &Profile, object: &Value, fields: &[Slot], template: &Value) -> bool {
    !pace::pace(profile, object, &accelerators_in(fields, template)).is_empty()
}

/// Names of schedulers. An absent one is a field only where it is known what that means: in a pod spec that is there.
fn schedulers(profile: &Profile, object: &Value, found: &mut Slots) {
    let is_named = |path: &FieldPath| path.node(object).is_some_and(|name| !name.is_null());
    let has_pods =
        |path: &FieldPath| around(path).is_some_and(|pod| pod.node(object).is_some_and(Value::is_object));
    let is_slot = |path: &&FieldPath| match profile.scheduler_absent {
        SchedulerAbsent::Unknown => is_named(path),
        SchedulerAbsent::DefaultScheduler => is_named(path) || has_pods(path),
    };
    let there = profile.scheduler.iter().filter(is_slot);
    found.fields.extend(there.map(|path| slot(Role::Scheduler, path.clone(), None)));
}

/// The map that has the field.
fn around(path: &FieldPath) -> Option<FieldPath> {
    let (_, way) = path.segments().split_last()?;
    FieldPath::new(way.to_vec()).ok()
}

/// The roles whose field must not be changed in this object, or in any of its kind.
fn refused(profile: &Profile, object: &Value) -> Vec<Obstacle> {
    let holds = profile.not_applicable.iter().filter(|refusal| refusal.holds(object));
    let obstacles = holds.flat_map(|refusal| {
        let why = refusal.because.about(object);
        refusal.fields.iter().map(move |field| Obstacle { role: field.role(), why: why.clone() })
    });
    obstacles.collect()
}

/// The roles for which a kind has no field.
fn missing(profile: &Profile) -> impl Iterator<Item = Obstacle> {
    let roles = [
        (Role::Accelerator, profile.accelerators.is_some(), "accelerators"),
        (Role::Replicas, profile.replicas.is_some(), "number of replicas"),
        (Role::AutoscalerLimit, profile.autoscaler_limit.is_some(), "autoscaler limit"),
        (Role::Scheduler, !profile.scheduler.is_empty(), "scheduler name"),
        (Role::BatchSize, profile.batch_size.is_some(), "batch size"),
        (Role::MaxConcurrency, profile.max_concurrency.is_some(), "concurrency limit"),
        (Role::Restart, profile.restart.is_some(), "field that restarts its pods"),
    ];
    let kind = with_article(&profile.kind);
    let missing = roles.into_iter().filter(|(_, is_there, _)| !is_there);
    missing.map(move |(role, _, noun)| Obstacle { role, why: format!("{kind} has no {noun}") })
}

/// "a Deployment", "an InferenceService", and as it is pronounced, "an LLMDeployment".
fn with_article(kind: &str) -> String {
    let mut letters = kind.chars();
    let first = letters.next().unwrap_or_default();
    let is_spelt =
        first.is_ascii_uppercase() && letters.next().is_some_and(|second| second.is_ascii_uppercase());
    let vowels = if is_spelt { "AEFHILMNORSX" } else { "AEIOU" };
    let article = if vowels.contains(first.to_ascii_uppercase()) { "an" } else { "a" };
    format!("{article} {kind}")
}

/// Why a field cannot be set: a parent has another type, or is a list without the
/// element that the path names.
fn blocked(path: &FieldPath, object: &Value) -> Option<String> {
    let segments = path.segments();
    let mut at = object;
    for (depth, segment) in segments.iter().enumerate() {
        let here =
            || FieldPath::new(segments[..depth].to_vec()).map_or_else(|_| "it".to_owned(), |p| p.to_string());
        let fits = match segment {
            Segment::Key(_) => at.is_object(),
            Segment::Element { .. } | Segment::Flag(_) => at.is_array(),
        };
        if !fits {
            let shape = if matches!(segment, Segment::Key(_)) { "map" } else { "list" };
            return Some(format!("cannot be set: {} is not a {shape}", here()));
        }
        let next = FieldPath::new(vec![segment.clone()]).ok().and_then(|step| step.node(at));
        at = match (next.filter(|next| !next.is_null()), segment) {
            (Some(next), _) => next,
            (None, Segment::Element { .. }) => {
                return Some(format!("cannot be set: {} has no such element", here()));
            }
            (None, Segment::Key(_) | Segment::Flag(_)) => {
                let elements = segments[depth..].iter().any(|left| matches!(left, Segment::Element { .. }));
                return elements
                    .then(|| "cannot be set: the list on the way to it does not exist".to_owned());
            }
        };
    }
    None
}

fn pins(pins: &[Pin], object: &Value) -> Vec<String> {
    let holds = |pin: &&Pin| match pin.path.node(object) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => true,
    };
    pins.iter().filter(holds).map(|pin| pin.because.clone()).collect()
}

fn slot(role: Role, path: FieldPath, out_of_bounds: Option<String>) -> Slot {
    let too_long = path.to_string().len() > LONGEST_PATH;
    let out_of_bounds =
        out_of_bounds.or_else(|| too_long.then(|| "is too long a path to be recorded".to_owned()));
    Slot { role, path, out_of_bounds, absent: None }
}

#[cfg(test)]
mod any_tests;
#[cfg(test)]
mod flags_tests;
#[cfg(test)]
mod numbers_tests;
#[cfg(test)]
mod program_tests;
#[cfg(test)]
mod tests;
