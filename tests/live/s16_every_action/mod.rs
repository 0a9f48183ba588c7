//! Every action on every kind: where it applies, exactly the fields change that a person would change by
//! hand, and they are reverted exactly; where it does not, nothing is written and the field is named.
//!
//! The values that an action must set are in the tables of this folder, field by field. No code
//! of the product computes what is expected.

mod autoscalers;
mod by_configuration;
mod by_definition;
mod daemon_sets;
mod models;
mod served_models;
mod workloads;

use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

use crate::{
    drill::{Drill, change_of, touches},
    support::{
        object::{Object, Snapshot},
        operator::Operator,
        rights::Rule,
    },
};

/// What a test tells the world about a kind.
struct Kind {
    api_version: &'static str,
    kind: &'static str,
    /// Its name in a request.
    resource: &'static str,
    /// The status that its controller would set, if there is none.
    status: Option<Value>,
    /// No writer but Firebreak has a reason to write the object any more.
    is_settled: fn(&DynamicObject) -> bool,
}

/// A step of the policy, with the objects that it is about.
struct Step {
    name: &'static str,
    /// The action, without its targets.
    action: Value,
    objects: Vec<Case>,
}

/// An object, and the plan of the action for it.
struct Case {
    name: &'static str,
    spec: Value,
    outcome: Outcome,
}

enum Outcome {
    /// These fields of the spec change, by JSON pointer; null stands for a field that is removed.
    Changes(Value),
    /// Nothing is written. The reason in one word, and text in the message.
    Refused(&'static str, &'static [&'static str]),
}

/// An object of the test, and its state before the emergency.
struct Subject {
    object: Object,
    before: Snapshot,
    outcome: Outcome,
    /// What the server counts for one change of the spec. Before Kubernetes 1.37 it counts those of an HPA not at all.
    generations: i64,
}

impl Step {
    /// Another scheduler is reverted when a person withdraws, and a limit when no autoscaler needs it, which
    /// is not known here.
    fn goes_back_by_itself(&self) -> bool {
        ["schedulerFallback", "raiseAutoscalerLimit"].iter().all(|action| self.action.get(action).is_none())
    }

    /// As in a policy.
    fn manifest(&self, kind: &Kind) -> Value {
        let names: Vec<&str> = self.objects.iter().map(|case| case.name).collect();
        let mut action = self.action.clone();
        let parameters = action.as_object_mut().and_then(|action| action.values_mut().next());
        parameters.expect("an action")["targets"] =
            json!({"apiVersion": kind.api_version, "kind": kind.kind, "names": names, "where": "true"});
        // None of them helps, so each is followed by the next one.
        json!({"name": self.name, "action": action, "settle": "0s"})
    }
}

/// Plays one emergency in which every step is taken, and looks at each object during and after it.
async fn play(drill: &Drill, operator: &Operator, kind: &Kind, steps: Vec<Step>) {
    let manifests: Vec<Value> = steps.iter().map(|step| step.manifest(kind)).collect();
    let by_themselves: Vec<&str> =
        steps.iter().filter(|step| step.goes_back_by_itself()).map(|step| step.name).collect();
    let mut subjects = Vec::new();
    for case in steps.iter().flat_map(|step| &step.objects) {
        create(drill, kind, case).await;
    }
    for case in steps.into_iter().flat_map(|step| step.objects) {
        let object = drill.world.object(kind.api_version, kind.kind, &drill.world.a, case.name);
        let before = Snapshot::of(&object.wait_until("settled", kind.is_settled).await);
        let generations = before.generation.min(1);
        subjects.push(Subject { object, before, outcome: case.outcome, generations });
    }

    let policy = drill.policy_with(|spec| spec["steps"] = json!(manifests)).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let decided =
        incident.wait_until("every change is decided", |i| subjects.iter().all(|s| s.is_decided(i)));
    let during = decided.await;
    for subject in &subjects {
        subject.assert_during(operator, &during).await;
    }

    drill.hush().await;
    let is_back = |incident: &DynamicObject| {
        let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
        let mut own =
            changes.iter().filter(|change| by_themselves.iter().any(|step| change["step"] == *step));
        own.all(|change| ["Reverted", "Skipped"].iter().any(|state| change["state"] == *state))
    };
    incident.wait_until("all automatic reverts are done", is_back).await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    for subject in &subjects {
        subject.assert_after(operator).await;
    }
}

/// Creates the object as its owner would, with a label and an annotation of the owner's.
async fn create(drill: &Drill, kind: &Kind, case: &Case) {
    let manifest = json!({
        "apiVersion": kind.api_version, "kind": kind.kind,
        "metadata": {"name": case.name, "namespace": drill.world.a, "labels": {"tier": "gold"},
                     "annotations": {"team": "serving"}},
        "spec": case.spec,
    });
    let made = drill.world.apply("flux", &manifest.to_string()).await;
    if let Some(status) = &kind.status {
        made[0].merge_status("its-controller", json!({"status": status})).await;
    }
}

impl Subject {
    fn is_decided(&self, incident: &DynamicObject) -> bool {
        let change = change_of(incident, self.object.name());
        match self.outcome {
            Outcome::Changes(_) => ["Applied", "Verified"].iter().any(|state| change["state"] == *state),
            Outcome::Refused(..) => change["state"] == "Skipped",
        }
    }

    async fn assert_during(&self, operator: &Operator, incident: &DynamicObject) {
        let Self { object, before, outcome, generations } = self;
        let now = object.snapshot().await;
        match outcome {
            Outcome::Changes(changes) => {
                assert_eq!(now.spec, changed(&before.spec, changes), "{object}: spec during the emergency");
                assert_eq!(now.generation, before.generation + generations, "{object}: generation");
                let uid = incident.metadata.uid.as_deref();
                assert_eq!(
                    now.labels.get("firebreak.dev/incident").map(String::as_str),
                    uid,
                    "{object}: label"
                );
                assert!(now.annotations.contains_key("firebreak.dev/undo"), "{object}: no record on it");
            }
            Outcome::Refused(reason, words) => {
                let change = change_of(incident, object.name());
                assert_eq!(change["reason"], *reason, "{object}: {change}");
                let message = change["message"].as_str().unwrap_or_default();
                for word in *words {
                    assert!(message.contains(word), "{object}: no {word} in {message:?}");
                }
                self.assert_untouched(operator, &now);
            }
        }
    }

    async fn assert_after(&self, operator: &Operator) {
        let Self { object, before, outcome, generations } = self;
        let now = object.snapshot().await;
        if let Outcome::Refused(..) = outcome {
            return self.assert_untouched(operator, &now);
        }
        assert_eq!(now.spec, before.spec, "{object}: spec after the emergency");
        // The pace of a rollout goes back in a write of its own.
        let has_pace =
            matches!(outcome, Outcome::Changes(changes) if changes.to_string().contains("/maxSurge"));
        let writes = if has_pace { 3 } else { 2 };
        assert_eq!(now.generation, before.generation + writes * generations, "{object}: generation");
        assert_eq!(now.traces(), Vec::<&str>::new(), "{object}: traces");
        assert_eq!(now.labels, before.labels, "{object}: labels");
        assert_eq!(owners_annotations(&now), owners_annotations(before), "{object}: annotations");
        assert_eq!(now.managers, before.managers, "{object}: managers");
    }

    fn assert_untouched(&self, operator: &Operator, now: &Snapshot) {
        let object = &self.object;
        let writes: Vec<String> = operator
            .proxy
            .calls()
            .iter()
            .filter(|exchange| touches(&exchange.call, object.name()))
            .map(ToString::to_string)
            .collect();
        assert_eq!(writes, Vec::<String>::new(), "{object}: writes");
        assert_eq!(now.version, self.before.version, "{object}: resourceVersion");
    }
}

/// The annotations, without those in which Kubernetes counts the templates of a Deployment and of a DaemonSet.
fn owners_annotations(snapshot: &Snapshot) -> Map<String, Value> {
    let counters = ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
    let own = snapshot.annotations.iter().filter(|(key, _)| !counters.contains(&key.as_str()));
    own.map(|(key, value)| (key.clone(), json!(value))).collect()
}

/// The spec with these fields changed.
fn changed(spec: &Value, changes: &Value) -> Value {
    let mut spec = spec.clone();
    for (pointer, value) in changes.as_object().expect("fields by JSON pointer") {
        let (holder, key) = pointer.rsplit_once('/').expect("a JSON pointer");
        let key = key.replace("~1", "/");
        let holder = spec.pointer_mut(holder).and_then(Value::as_object_mut);
        let holder = holder.unwrap_or_else(|| panic!("{pointer}: nothing there that could hold it"));
        match value {
            Value::Null => assert!(holder.remove(&key).is_some(), "{pointer}: it is not there"),
            value => drop(holder.insert(key, value.clone())),
        }
    }
    spec
}

/// The permissions of `firebreak-responder` in these tests: change objects of this kind, and see the autoscalers.
async fn grant(drill: &Drill, kind: &Kind) {
    let group = kind.api_version.split_once('/').map_or("", |(group, _)| group);
    let resources = [kind.resource];
    let own = Rule { group, resources: &resources, verbs: &["get", "list", "watch", "patch"] };
    let hpas = Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: &["list"] };
    let scaled_objects = Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: &["list"] };
    let rollouts = Rule { group: "argoproj.io", resources: &["rollouts"], verbs: &["list"] };
    let pods = Rule { group: "", resources: &["pods"], verbs: &["list", "delete"] };
    let all = [crate::drill::rights(), vec![own, hpas, scaled_objects, rollouts, pods]].concat();
    drill.world.grant(&drill.world.a, &all).await;
}
