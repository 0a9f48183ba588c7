//! What users write and read: the custom resources, their conditions, who may
//! say what in them, and the names that Firebreak leaves on other objects.
//!
//! Only shapes: nothing here calls anything. The insides of spec and status
//! are the engine's plain data, so that no type exists twice.

mod admission;
pub mod condition;
mod expect;
mod flat;
pub mod format;
pub mod incident;
pub mod lean;
mod manifests;
pub mod names;
pub mod policy;
#[cfg(test)]
mod reference;

pub use admission::SHIPPED_NAMESPACE;
pub use condition::{Condition, ConditionType};
pub use firebreak_engine::intent::{Approval, Response};
pub use incident::{Incident, IncidentSpec, IncidentStatus, PolicyRef};
pub use manifests::{crds, files, manifests};
pub use policy::{RemediationPolicy, RemediationPolicySpec, RemediationPolicyStatus};

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    /// The status of an Incident without the changes, whose own form is tested with the engine.
    fn beside_changes(status: &Value) -> Value {
        let mut status = status.clone();
        status.as_object_mut().unwrap().remove("changes");
        status
    }

    #[test]
    fn what_the_release_before_has_stored_is_written_again_as_it_was() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/upgrade/fixtures");
        let mut read = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stored: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            let policy: RemediationPolicy = serde_json::from_value(stored["policy"].clone()).unwrap();
            assert_eq!(json!(policy.spec), stored["policy"]["spec"], "{}", path.display());
            assert_eq!(json!(policy.status), stored["policy"]["status"], "{}", path.display());
            for incident in stored["incidents"].as_array().unwrap() {
                let decoded: Incident = serde_json::from_value(incident.clone()).unwrap();
                assert_eq!(json!(decoded.spec), incident["spec"], "{}", path.display());
                assert_eq!(
                    beside_changes(&json!(decoded.status)),
                    beside_changes(&incident["status"]),
                    "{}",
                    path.display()
                );
                read += 1;
            }
        }
        assert!(read >= 11, "{read} Incidents");
    }
}
