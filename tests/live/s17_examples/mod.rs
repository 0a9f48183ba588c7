//! The shipped policies, with the shipped permissions and the shipped Incidents: each example changes the
//! cluster as the commands of its runbook intend, and reverts it exactly. What they intend is
//! written down here by hand, from the runbook.
//!
//! Only times are shorter, as in an edit of the file.

mod hydatis;
mod llm_d;
mod nodes;
mod vllm;

use serde_json::{Value, json};

use crate::support::{
    object::{Object, Snapshot, condition},
    world::World,
};

/// The permissions and one policy of a folder of examples, once it watches.
async fn install(world: &World, folder: &str, policy: &str) -> Object {
    world.apply_example(&format!("{folder}/rbac.yaml"), |_| {}).await;
    let policies = world.apply_example(&format!("{folder}/{policy}.yaml"), hasty).await;
    assert_eq!(policies.len(), 1, "one policy");
    policies[0].wait_for_condition("Ready", "True").await;
    policies[0].clone()
}

/// Shorter times, and nothing else.
fn hasty(policy: &mut Value) {
    let spec = &mut policy["spec"];
    for rule in spec["severity"].as_array_mut().into_iter().flatten() {
        rule["for"] = json!("1s");
    }
    spec["recovery"]["for"] = json!("2s");
    spec["recovery"]["between"] = json!("0s");
    // When the second step starts.
    let steps = spec["steps"].as_array_mut().expect("steps");
    if steps.len() > 1 {
        steps[0]["verify"]["within"] = json!("1s");
    }
}

/// Ends the response as the READMEs say, with kubectl alone.
async fn withdraw(world: &World, incident: &Object) {
    let patch = r#"{"spec":{"response":"Withdrawn"}}"#;
    let arguments = ["patch", "inc", incident.name(), "-n", &world.a, "--type", "merge", "-p", patch];
    world.kubectl(&arguments).await;
    assert_closed(incident, "Withdrawn").await;
}

async fn assert_closed(incident: &Object, why: &str) {
    let closed = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(condition(&closed, "Returned"), Some("True"), "{incident}");
    assert_eq!(closed.data["status"]["closing"], why, "{incident}");
}

/// Objects, and how they were before the emergency.
struct Before(Vec<(Object, Snapshot)>);

impl Before {
    async fn of(objects: &[Object]) -> Self {
        let mut all = Vec::new();
        for object in objects {
            all.push((object.clone(), object.snapshot().await));
        }
        Self(all)
    }

    /// All of them are as they were, and nothing of Firebreak's is left on them.
    async fn assert_reverted(&self) {
        for (object, before) in &self.0 {
            let after = object.snapshot().await;
            assert_eq!(after.uid, before.uid, "{object}: uid");
            assert_eq!(after.spec, before.spec, "{object}: spec");
            assert_eq!(after.traces(), Vec::<&str>::new(), "{object}: traces");
            assert_eq!(after.labels, before.labels, "{object}: labels");
            let ours = |manager: &&String| manager.starts_with("firebreak/");
            assert_eq!(after.managers.iter().find(ours), None, "{object}: managers");
        }
    }
}
