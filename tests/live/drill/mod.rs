//! An emergency that the test starts and ends at any time, for tests of what Firebreak
//! does and not of how it detects emergencies.
//!
//! Instead of nodes that fail there is a ConfigMap `alarm`, and no controller reconciles the
//! models, so that a whole response takes a second or two.

mod history;
mod incident;
pub mod models;
mod writes;

use kube::api::DynamicObject;
use serde_json::{Value, json};

pub use self::{
    history::History,
    incident::{change_in, change_of, closed, has_fallen, is_stalled, is_waiting, message_of, times},
    models::Models,
    writes::{SpecWrites, is_apply, is_return, spec_writes, touches},
};
use crate::support::{
    manifest,
    object::{Object, condition},
    operator::Operator,
    proxy::Call,
    rights::Rule,
    world::World,
};

const POLICY: &str = include_str!("policy.yaml");
const ALARM: &str = include_str!("alarm.yaml");

/// The settings of an operator whose heartbeats are counted.
pub const QUICK_HEART: [&str; 2] = ["--lease-duration", "3s"];

/// A world with an alarm.
pub struct Drill {
    pub world: World,
    alarm: Object,
}

/// Whether all replicas of a Deployment run and its controller has reported everything about them.
pub fn has_rolled_out(deployment: &DynamicObject) -> bool {
    let status = &deployment.data["status"];
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    status["observedGeneration"] == json!(deployment.metadata.generation)
        && status["availableReplicas"] == deployment.data["spec"]["replicas"]
        && conditions.iter().any(|one| one["reason"] == "NewReplicaSetAvailable")
}

/// What `firebreak-responder` may do in the namespaces of a drill.
pub fn rights() -> Vec<Rule<'static>> {
    let watch = &["get", "list", "watch"];
    let change = &["get", "list", "watch", "patch"];
    vec![
        Rule { group: "inference.llm-d.io", resources: &["llmdeployments"], verbs: change },
        Rule { group: "apps", resources: &["deployments"], verbs: change },
        // The alarm is a ConfigMap, and so is the report.
        Rule { group: "", resources: &["configmaps"], verbs: watch },
        Rule { group: "", resources: &["configmaps"], verbs: &["create", "update"] },
        // Whether it is exempt.
        Rule { group: "", resources: &["namespaces"], verbs: &["get"] },
    ]
}

impl Drill {
    /// A world in which the alarm is silent.
    pub async fn new(name: &str) -> Self {
        let world = World::new(name).await;
        for namespace in [&world.a, &world.b] {
            world.grant(namespace, &rights()).await;
        }
        let alarm = world.apply("harness", ALARM).await.remove(0);
        Self { world, alarm }
    }

    /// The emergency starts.
    pub async fn ring(&self) {
        self.ring_like("yes").await;
    }

    /// The alarm rings with this tone, for policies that distinguish tones.
    pub async fn ring_like(&self, way: &str) {
        self.alarm.merge("harness", json!({"data": {"rings": way}})).await;
    }

    /// The emergency is over.
    pub async fn hush(&self) {
        self.ring_like("no").await;
    }

    /// This many models in the first namespace: `model-0`, `model-1` …
    pub async fn models(&self, count: usize) -> Models {
        let names: Vec<String> = (0..count).map(|number| format!("model-{number}")).collect();
        self.models_named(&names.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// Models with these names in the first namespace.
    pub async fn models_named(&self, names: &[&str]) -> Models {
        Models::apply(&self.world, names).await
    }

    /// The policy of the drill, once it watches.
    pub async fn policy(&self) -> Object {
        self.policy_with(|_| {}).await
    }

    /// The policy with something changed in its spec, once it watches.
    pub async fn policy_with(&self, edit: impl FnOnce(&mut Value)) -> Object {
        let policy = self.apply_policy(edit).await;
        policy.wait_for_condition("Ready", "True").await;
        policy
    }

    /// The policy with something changed in its spec, whether it is valid or not.
    pub async fn apply_policy(&self, edit: impl FnOnce(&mut Value)) -> Object {
        self.world.apply("flux", &policy_manifest(edit).to_string()).await.remove(0)
    }

    /// Rings, and waits until the response has helped.
    pub async fn respond(&self, policy: &Object) -> Object {
        self.ring().await;
        let incident = self.world.incident_of(policy).await;
        incident.wait_for_condition("Mitigated", "True").await;
        incident
    }

    /// Silences the alarm, and waits until all changes are reverted.
    pub async fn recover(&self, incident: &Object) -> DynamicObject {
        self.hush().await;
        incident.wait_for_condition("Resolved", "True").await
    }

    /// An operator whose heartbeats can be counted.
    pub async fn quick_operator(&self) -> Operator {
        let plan = self.world.operator();
        QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await
    }

    /// An Incident for the policy as a person writes and applies it, with additions to its spec.
    pub async fn open(&self, name: &str, spec: Value) -> Object {
        self.world.apply("alice", &incident_manifest(name, spec).to_string()).await.remove(0)
    }

    /// The Incident is deleted, and its changes stay.
    pub async fn abandon(&self, incident: &Object) {
        let abandon = json!({"metadata": {"annotations": {"firebreak.dev/abandon": "true"}}});
        incident.merge("alice", abandon).await;
        incident.delete().await;
        incident.wait_until_gone().await;
    }

    /// The Incidents of the world.
    pub async fn incidents(&self) -> Vec<DynamicObject> {
        self.world.list("firebreak.dev/v1alpha1", "Incident", &self.world.a).await
    }

    /// The only Incident, which is closed. There was never another one.
    pub async fn assert_one_resolved_incident(&self) -> DynamicObject {
        let incidents = self.incidents().await;
        let names: Vec<_> = incidents.iter().filter_map(|incident| incident.metadata.name.as_ref()).collect();
        assert_eq!(names.len(), 1, "one Incident, but {names:?}");
        let incident = incidents.into_iter().next().expect("one");
        assert_eq!(condition(&incident, "Resolved"), Some("True"), "{}", manifest::readable(&incident));
        incident
    }
}

/// The manifest of the drill's policy, `${a}` and `${b}` not yet filled in.
pub fn policy_manifest(edit: impl FnOnce(&mut Value)) -> Value {
    let mut policy = manifest::documents(POLICY).remove(0);
    edit(&mut policy["spec"]);
    policy
}

/// The manifest of an Incident for the drill's policy, `${a}` not yet filled in.
pub fn incident_manifest(name: &str, spec: Value) -> Value {
    let mut incident = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": "${a}"},
        "spec": {"policyRef": {"name": "drill"}, "summary": "by hand"},
    });
    for (field, value) in spec.as_object().expect("the fields of a spec") {
        incident["spec"][field] = value.clone();
    }
    incident
}

/// Rules for two levels: P0 while the alarm rings `loud`, P2 while it rings at all.
pub fn two_levels(spec: &mut Value) {
    let mut loud = spec["signals"][0].clone();
    loud["name"] = json!("loud");
    loud["objects"]["healthy"] = json!("object.data.rings != 'loud'");
    spec["signals"].as_array_mut().expect("a list").push(loud);
    spec["severity"] = json!([
        {"level": "P0", "reason": "AlarmIsLoud", "when": "signals.loud.unhealthy > 0"},
        {"level": "P2", "reason": "AlarmRings", "when": "signals.alarm.unhealthy > 0"},
    ]);
}

/// The targets of the only step.
pub fn targets(spec: &mut Value) -> &mut Value {
    &mut spec["steps"][0]["action"]["cpuFallback"]["targets"]
}

/// Waits until the operator has renewed its lease this many more times: it was alive, it led
/// and had the time to do everything that it wanted to do.
pub async fn heartbeats(operator: &Operator, count: usize) {
    let so_far = operator.proxy.calls().iter().filter(|exchange| is_heartbeat(&exchange.call)).count();
    let wish = format!("{count} heartbeats");
    operator.proxy.wait_for_nth(so_far + count, &wish, |exchange| is_heartbeat(&exchange.call)).await;
}

/// The renewal of a lease.
pub fn is_heartbeat(call: &Call) -> bool {
    call.is_mutating() && call.target.resource == "leases"
}
