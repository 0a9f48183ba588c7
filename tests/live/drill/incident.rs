//! Questions about the state of an Incident.

use kube::api::DynamicObject;
use serde_json::Value;

/// The journal entry of the object with this name; null if there is none.
pub fn change_of<'a>(incident: &'a DynamicObject, name: &str) -> &'a Value {
    let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
    changes.iter().find(|change| change["target"]["name"] == name).unwrap_or(&Value::Null)
}

/// The journal entry of a step for the object with this name; null if there is none.
pub fn change_in<'a>(incident: &'a DynamicObject, step: &str, name: &str) -> &'a Value {
    let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
    let is_it = |change: &&Value| change["step"] == step && change["target"]["name"] == name;
    changes.iter().find(is_it).unwrap_or(&Value::Null)
}

/// How often an entry is on the timeline.
pub fn times(incident: &DynamicObject, type_: &str) -> usize {
    let timeline = incident.data["status"]["timeline"].as_array().map_or(&[][..], Vec::as_slice);
    timeline.iter().filter(|entry| entry["type"] == type_).count()
}

/// The present condition; null if there is none.
fn condition_of<'a>(object: &'a DynamicObject, type_: &str) -> &'a Value {
    let conditions = object.data["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

/// The message of a condition, empty if there is none.
pub fn message_of<'a>(object: &'a DynamicObject, type_: &str) -> &'a str {
    condition_of(object, type_)["message"].as_str().unwrap_or_default()
}

/// A person must act for this reason.
pub fn is_stalled(object: &DynamicObject, reason: &str) -> bool {
    let stalled = condition_of(object, "Stalled");
    stalled["status"] == "True" && stalled["reason"] == reason
}

/// It continues without a person, and waits for this reason.
pub fn is_waiting(object: &DynamicObject, reason: &str) -> bool {
    let [reconciling, stalled] = ["Reconciling", "Stalled"].map(|type_| condition_of(object, type_));
    reconciling["status"] == "True" && reconciling["reason"] == reason && stalled["status"] == "False"
}

/// Nothing more happens.
pub fn closed(object: &DynamicObject) -> bool {
    condition_of(object, "Resolved")["status"] == "True"
}

/// A model that runs without GPUs.
pub fn has_fallen(model: &Value) -> bool {
    model["spec"]["resources"]["limits"]["nvidia.com/gpu"] == "0"
}
