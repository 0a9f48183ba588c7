//! The only kind of workload in these proofs, and what a profile would find in it.

use std::rc::Rc;
use std::sync::Arc;

use firebreak_engine::change::Delivery;
use firebreak_engine::expression::{FieldValue, ObjectCondition};
use firebreak_engine::facts::{
    Absent, Container, Demand, Part, Purpose, Reading, Revision, Role, Runs, ScaledBy, Slot, Slots, Stage,
    Target,
};
use firebreak_engine::id::{ResourceVersion, TargetId};
use firebreak_engine::path::FieldPath;
use firebreak_engine::period::Period;
use firebreak_engine::placement::Nodes;
use firebreak_engine::pods::Pods;
use firebreak_engine::policy::{PolicySpec, StepSpec};
use firebreak_engine::rules::Rules;
use firebreak_engine::story::world::Translate;
use firebreak_engine::undo;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

pub const LIMIT: &str = "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu";
pub const REQUEST: &str = "/spec/template/spec/containers/[name=main]/resources/requests/nvidia.com~1gpu";
pub const SELECTOR: &str = "/spec/template/spec/nodeSelector/gpu";
pub const SURGE: &str = "/spec/strategy/rollingUpdate/maxSurge";
pub const UNAVAILABLE: &str = "/spec/strategy/rollingUpdate/maxUnavailable";
/// Where a restart is written.
pub const RESTARTED: &str = "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt";
pub const ENABLED: &str = "/spec/model/quantization/enabled";
pub const PRECISION: &str = "/spec/model/quantization/precision";

/// A model server with this many GPUs.
pub fn model_server(name: &str, gpus: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "serving", "labels": {"app": name}},
        "spec": {
            "replicas": 2,
            "model": {"uri": "s3://models/a"},
            "template": {"spec": {
                "nodeSelector": {"gpu": "true", "disk": "ssd"},
                "containers": [
                    {"name": "proxy", "image": "proxy:1"},
                    {"name": "main", "image": "vllm:1", "resources": {
                        "limits": {"nvidia.com/gpu": gpus.to_string(), "memory": "16Gi"},
                        "requests": {"nvidia.com/gpu": gpus.to_string()}}},
                ],
            }},
        },
        "status": {"phase": "Ready", "observedGeneration": 1},
    })
}

pub fn rules(yaml: &str) -> Rules {
    let spec: PolicySpec = serde_saphyr::from_str(yaml).unwrap();
    Rules::parse(&spec).unwrap()
}

/// The same policy, with one step before its own that rehearses an operation.
pub fn rehearsing(yaml: &str, delivery: Delivery) -> Rules {
    let mut spec: PolicySpec = serde_saphyr::from_str(yaml).unwrap();
    let first = StepSpec {
        name: "rehearsal".to_owned(),
        verify: None,
        settle: Some(Period::seconds(1)),
        rehearse: Some(delivery),
        ..spec.steps[0].clone()
    };
    spec.steps.insert(0, first);
    Rules::parse(&spec).unwrap()
}

/// The same policy, with one step before its own that restarts its targets.
pub fn restarting(yaml: &str) -> Rules {
    let mut spec: PolicySpec = serde_saphyr::from_str(yaml).unwrap();
    let action = r#"{rolloutRestart: {targets: {apiVersion: apps/v1, kind: Deployment}}}"#;
    let first = StepSpec {
        name: "restart".to_owned(),
        verify: None,
        settle: Some(Period::seconds(1)),
        action: serde_saphyr::from_str(action).unwrap(),
        ..spec.steps[0].clone()
    };
    spec.steps.insert(0, first);
    Rules::parse(&spec).unwrap()
}

pub fn reading(values: &[(&str, i64)]) -> Reading {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), FieldValue::Int(*value)));
    Reading::Known { values: values.collect() }
}

pub fn translate() -> Translate {
    Rc::new(target)
}

pub fn path(text: &str) -> FieldPath {
    text.parse().unwrap()
}

pub fn id_of(object: &Value) -> TargetId {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    TargetId {
        api_version: text("/apiVersion"),
        kind: text("/kind"),
        // A cluster-scoped object has none.
        namespace: object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        name: text("/metadata/name"),
        uid: text("/metadata/uid"),
    }
}

fn is_autoscaler(object: &Value) -> bool {
    object["kind"] == "HorizontalPodAutoscaler"
}

pub fn is_healthy(object: &Value) -> Verdict {
    if is_autoscaler(object) {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let is_blind = |condition: &Value| condition["status"] == "False";
        return (!conditions.is_some_and(|conditions| conditions.iter().any(is_blind))).into();
    }
    match object.pointer("/status/phase").and_then(Value::as_str) {
        Some("Ready") => Verdict::True,
        Some(_) => Verdict::False,
        None => Verdict::Unknown,
    }
}

/// The target that the translation makes from a live object.
pub fn target(object: &Arc<Value>, condition: Option<&ObjectCondition>) -> Target {
    let absent = object.pointer("/spec/absentLimit").and_then(Value::as_i64);
    let slot = |role, text: &str| Slot {
        absent: match role {
            Role::AutoscalerLimit => absent.map(Absent::Is),
            _ => Some(Absent::Unlimited),
        },
        role,
        path: path(text),
        out_of_bounds: None,
    };
    let fields = vec![
        slot(Role::Accelerator, LIMIT),
        slot(Role::Accelerator, REQUEST),
        slot(Role::Placement { released: None }, SELECTOR),
        slot(Role::QuantizationEnabled, ENABLED),
        slot(Role::QuantizationPrecision, PRECISION),
        slot(Role::Scheduler, "/spec/template/spec/schedulerName"),
        slot(Role::AutoscalerLimit, "/spec/maxReplicas"),
        slot(Role::BatchSize, "/spec/batchSize"),
        slot(Role::MaxConcurrency, "/spec/maxConcurrency"),
        slot(Role::Replicas, "/spec/replicas"),
        slot(Role::Restart, RESTARTED),
        slot(Role::Pace { in_place: json!(0) }, SURGE),
        slot(Role::Pace { in_place: json!(1) }, UNAVAILABLE),
    ];
    let matched = condition.map(|condition| condition.evaluate(object, Some(is_healthy(object))));
    let version = object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let observed = object.pointer("/status/observedGeneration") == object.pointer("/metadata/generation");
    let in_order = object.pointer("/spec/podManagementPolicy").is_some_and(|policy| policy == "OrderedReady");
    let is_paused = object.pointer("/spec/paused") == Some(&json!(true));
    let rollout = match () {
        () if is_autoscaler(object) => Verdict::True,
        () if observed => is_healthy(object),
        () => Verdict::False,
    };
    let rolled_out = rollout == Verdict::True;
    Target {
        id: id_of(object),
        version: ResourceVersion::try_from(version).unwrap(),
        object: object.clone(),
        matched: matched.as_ref().map_or(Verdict::Unknown, |found| found.verdict),
        match_problem: matched.and_then(|found| found.why),
        purpose: Purpose::Change,
        exempt: undo::annotation(object, undo::EXEMPT) == Some("true"),
        owned_by: None,
        resolved_from: Vec::new(),
        stage: Stage::Targets,
        idle: idle(object),
        rollout_paused: is_paused.then(|| "its rollout is paused; `kubectl rollout resume`".to_owned()),
        healthy: is_healthy(object),
        unhealthy_since: object
            .pointer("/status/sickSince")
            .and_then(Value::as_str)
            .and_then(|since| since.parse().ok())
            .filter(|_| is_healthy(object) == Verdict::False),
        demand: Demand::None,
        scaled_by: ScaledBy::Nobody,
        revision: Revision::NotAsked,
        nodes: Nodes::NotAsked,
        pods: if in_order { Pods::InOrder } else { Pods::Free },
        slots: Slots {
            fields: fields.into_iter().filter(|slot| exists(object, &slot.path)).collect(),
            metadata_propagates: object["kind"] == "InferenceService",
            containers: containers(object),
            ..Slots::default()
        },
        rollout: (rollout, if rolled_out { String::new() } else { "not rolled out".to_owned() }),
    }
}

/// The container with the model.
fn containers(object: &Value) -> Vec<Container> {
    let main = path("/spec/template/spec/containers/[name=main]");
    let there = main.node(object).map(|_| Container {
        name: "main".to_owned(),
        part: Part::Server,
        path: main.clone(),
        new_flags: Ok("args"),
        unread_variables: Vec::new(),
        unread_files: Vec::new(),
        runs: Runs::ModelServer,
    });
    there.into_iter().collect()
}

/// Why the object is off on purpose: it is parked, deleted or scaled to 0.
fn idle(object: &Value) -> Option<String> {
    let is_parked = undo::annotation(object, "parked") == Some("true");
    let is_scaled_to_0 = object.pointer("/spec/replicas") == Some(&json!(0));
    (is_parked || is_scaled_to_0).then(|| "it is parked".to_owned())
}

fn exists(object: &Value, path: &FieldPath) -> bool {
    let text = path.to_string();
    if text == "/spec/maxReplicas" && object.pointer("/spec/absentLimit").is_some() {
        return true;
    }
    if text == UNAVAILABLE && path.read(object).as_deref() != Some(&json!(0)) {
        return false;
    }
    if is_autoscaler(object) {
        return text == "/spec/maxReplicas" && path.read(object).is_some();
    }
    if text == RESTARTED {
        return object.pointer("/spec/template").is_some();
    }
    text == PRECISION || path.read(object).is_some_and(|value| !value.is_null())
}
