//! Kinds with more than one pod template, or whose template is elsewhere: what their profiles find in objects as they
//! are written.

mod leader_worker_set;
mod llm_inference_service;
mod ray_service;
mod rollout;

use std::sync::Arc;

use firebreak_engine::facts::{Role, Slots};
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::{Profile, Profiles};

/// apiVersion and kind.
type Kind = (&'static str, &'static str);

fn profile((api_version, kind): Kind) -> Arc<Profile> {
    Arc::clone(Profiles::built_in().unwrap().find(api_version, kind).unwrap())
}

fn slots(kind: Kind, object: &Value) -> Slots {
    super::slots(&profile(kind), object)
}

/// The paths of the fields with a role.
fn paths(kind: Kind, object: &Value, role: &Role) -> Vec<String> {
    slots(kind, object).of(role).map(|slot| slot.path.to_string()).collect()
}

/// Why a role does not apply; none if it does.
fn obstacle(kind: Kind, object: &Value, role: &Role) -> Option<String> {
    let obstacles = slots(kind, object).obstacles;
    obstacles.into_iter().find(|obstacle| obstacle.role == *role).map(|obstacle| obstacle.why)
}

/// The fields that placement on accelerator nodes is released from.
fn placement(kind: Kind, object: &Value) -> Vec<String> {
    let slots = slots(kind, object);
    let placement = slots.fields.iter().filter(|slot| matches!(slot.role, Role::Placement { .. }));
    placement.map(|slot| slot.path.to_string()).collect()
}

fn health(kind: Kind, object: &Value) -> Verdict {
    super::healthy(&profile(kind), object).0
}

fn idle(kind: Kind, object: &Value) -> Option<String> {
    super::idle(Some(&profile(kind)), object)
}

fn paused(kind: Kind, object: &Value) -> Option<String> {
    super::rollout_paused(Some(&profile(kind)), object)
}

fn waits_for(kind: Kind, object: &Value) -> (Verdict, String) {
    super::rollout(&profile(kind), object)
}

/// The object, with this merged into it.
fn with(object: &Value, patch: Value) -> Value {
    fn merge(into: &mut Value, patch: Value) {
        match (into, patch) {
            (Value::Object(into), Value::Object(patch)) => {
                for (key, value) in patch {
                    if value.is_null() {
                        into.remove(&key);
                    } else {
                        merge(into.entry(key).or_insert(Value::Null), value);
                    }
                }
            }
            (into, patch) => *into = patch,
        }
    }
    let mut object = object.clone();
    merge(&mut object, patch);
    object
}
