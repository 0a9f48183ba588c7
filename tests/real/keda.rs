//! KEDA makes a HorizontalPodAutoscaler for a ScaledObject and copies the limit, the labels and the annotations to it,
//! and with them the undo record. A step may select either of the two: the limit is changed on the ScaledObject, once.

use std::fs;

use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::{
    drill::{Drill, History, change_of, rights, touches},
    server::{self, Server},
    support::{
        object::{Object, Snapshot, condition},
        operator::Operator,
        rights::Rule,
        testbed::testbed,
        world::World,
    },
};

const SCALED_OBJECT: (&str, &str) = ("keda.sh/v1alpha1", "ScaledObject");
const AUTOSCALER: (&str, &str) = ("autoscaling/v2", "HorizontalPodAutoscaler");

/// KEDA's operator, for the first namespace of a world.
fn keda(world: &World) -> Server {
    server::define("keda");
    let certificates = world.files().join("keda-certificates");
    fs::create_dir_all(&certificates).expect("the testbed's directory is writable");
    // It serves metrics to its adapter, which does not run here, and does not start without certificates.
    for (ours, its) in [("ca.crt", "ca.crt"), ("admin.crt", "tls.crt"), ("admin.key", "tls.key")] {
        fs::copy(testbed().dir.join("pki").join(ours), certificates.join(its)).expect("a certificate");
    }
    Server::start(world, "keda", |command| {
        command
            .args(["--metrics-bind-address=127.0.0.1:0", "--metrics-service-bind-address=127.0.0.1:0"])
            .args(["--health-probe-bind-address=127.0.0.1:0", "--enable-cert-rotation=false"])
            .arg("--cert-dir")
            .arg(&certificates)
            .env("KUBECONFIG", &testbed().kubeconfig)
            .env("WATCH_NAMESPACE", &world.a)
            .env("KEDA_CLUSTER_OBJECT_NAMESPACE", &world.a)
            .env("POD_NAMESPACE", &world.a);
    })
}

/// A ScaledObject, the HorizontalPodAutoscaler that KEDA has made for it, and how both were before the emergency.
struct Scene {
    drill: Drill,
    scaled: Object,
    child: Object,
    before: (Snapshot, Snapshot),
    /// The states of both, from before the emergency on.
    histories: (History, History),
    operator: Operator,
    _keda: Server,
}

impl Scene {
    /// The ScaledObject has this limit; null for none. Its Deployment is scaled to 0, so that nothing needs the limit.
    async fn set(name: &str, limit: Value) -> Self {
        let drill = Drill::new(name).await;
        let world = &drill.world;
        let change = &["get", "list", "watch", "patch"];
        let more = vec![
            Rule { group: "keda.sh", resources: &["scaledobjects"], verbs: change },
            Rule { group: "autoscaling", resources: &["horizontalpodautoscalers"], verbs: change },
        ];
        world.grant(&world.a, &[rights(), more].concat()).await;
        let keda = keda(world);
        let idle = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": world.a},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": {
                "metadata": {"labels": {"app": "idle"}},
                "spec": {"containers": [{"name": "main", "image": "example.com/server:1"}]},
            }},
        });
        world.create("flux", &idle.to_string()).await;
        let mut scaled = json!({
            "apiVersion": SCALED_OBJECT.0, "kind": SCALED_OBJECT.1,
            "metadata": {"name": "queue", "namespace": world.a, "labels": {"tier": "gold"}, "annotations": {"team": "serving"}},
            "spec": {"scaleTargetRef": {"name": "idle"}, "triggers": [
                {"type": "kubernetes-workload", "metadata": {"podSelector": "app=work", "value": "1"}},
            ]},
        });
        if !limit.is_null() {
            scaled["spec"]["maxReplicaCount"] = limit;
        }
        let scaled = world.apply("flux", &scaled.to_string()).await.remove(0);
        let child = world.object(AUTOSCALER.0, AUTOSCALER.1, &world.a, "keda-hpa-queue");
        let is_idle = |child: &DynamicObject| child.data["status"].to_string().contains("ScalingDisabled");
        let child_before = Snapshot::of(&child.wait_until("idle", is_idle).await);
        let is_settled = |scaled: &DynamicObject| {
            condition(scaled, "Ready") == Some("True") && condition(scaled, "Active") == Some("False")
        };
        let before = Snapshot::of(&scaled.wait_until("settled", is_settled).await);
        let histories = (
            History::of(world, SCALED_OBJECT.0, SCALED_OBJECT.1),
            History::of(world, AUTOSCALER.0, AUTOSCALER.1),
        );
        let operator = world.operator().start().await;
        let before = (before, child_before);
        Self { drill, scaled, child, before, histories, operator, _keda: keda }
    }

    /// Rings for a policy with these steps, and waits until the Incident is so.
    async fn ring(&self, steps: Value, wish: &str, so: impl FnMut(&DynamicObject) -> bool) -> Object {
        let policy = self.drill.policy_with(|spec| spec["steps"] = steps).await;
        self.drill.ring().await;
        let incident = self.drill.world.incident_of(&policy).await;
        let during = incident.wait_until(wish, so).await;
        assert_eq!(
            change_of(&during, self.child.name()),
            &Value::Null,
            "{incident}: only the owner is changed"
        );
        incident
    }

    /// KEDA has copied the limit and the record, and Firebreak knows that this is no loan.
    async fn assert_copied(&self, incident: &Object, limit: i64) {
        let Self { scaled, child, .. } = self;
        assert_eq!(number(&scaled.get().await, "maxReplicaCount"), Some(limit), "{scaled}");
        let is_copied = |child: &DynamicObject| {
            let annotations = child.metadata.annotations.as_ref();
            number(child, "maxReplicas") == Some(limit)
                && annotations.is_some_and(|all| all.contains_key("firebreak.dev/undo"))
        };
        let copied = child.wait_until("KEDA follows", is_copied).await;
        let labels = copied.metadata.labels.clone().unwrap_or_default();
        let uid = incident.get().await.metadata.uid;
        assert_eq!(labels.get("firebreak.dev/incident"), uid.as_ref(), "{child}");
        self.assert_undo_names_the_owner().await;
    }

    async fn assert_undo_names_the_owner(&self) {
        let a = &self.drill.world.a;
        let undo = self.drill.world.firebreak(&["undo", "hpa/keda-hpa-queue", "-n", a]).await;
        let said = String::from_utf8_lossy(&undo.stderr).into_owned();
        assert_eq!(undo.status.code(), Some(1), "{}: {said}", self.child);
        let command = format!(
            "a copy of the one on ScaledObject {a}/queue, which controls it; revert that with `firebreak undo \
             scaledobject/queue -n {a}`"
        );
        assert!(said.contains(&command), "{}: {said}", self.child);
    }

    /// The emergency ends: the ScaledObject is as before, and KEDA has followed with the limit. Returns every limit that
    /// each of them ever had, in order.
    async fn recover(&self, incident: &Object) -> [Vec<Option<i64>>; 2] {
        let Self { scaled, child, before, histories, .. } = self;
        self.drill.recover(incident).await;
        let after = scaled.snapshot().await;
        assert_eq!((&after.spec, after.traces()), (&before.0.spec, Vec::new()), "{scaled}");
        assert_eq!(
            (&after.labels, &after.annotations),
            (&before.0.labels, &before.0.annotations),
            "{scaled}"
        );
        assert_eq!(after.managers, before.0.managers, "{scaled}: managers");
        child.wait_until("KEDA follows", |child| Snapshot::of(child).spec == before.1.spec).await;
        let writes =
            self.operator.proxy.calls().iter().filter(|call| touches(&call.call, child.name())).count();
        assert_eq!(writes, 0, "{child}: writes");
        let limits = async |history: &History, object: &Object, field: &str| {
            let states = history.up_to_now(object).await;
            let mut limits: Vec<Option<i64>> = states.iter().map(|state| number(state, field)).collect();
            limits.dedup();
            limits
        };
        [
            limits(&histories.0, scaled, "maxReplicaCount").await,
            limits(&histories.1, child, "maxReplicas").await,
        ]
    }

    /// The autoscaler has nothing of Firebreak, and everything else.
    async fn assert_clean(&self) {
        let Self { child, before, .. } = self;
        let after = child.snapshot().await;
        assert_eq!(after.traces(), Vec::<&str>::new(), "{child}");
        assert_eq!((&after.labels, &after.annotations), (&before.1.labels, &before.1.annotations), "{child}");
    }
}

fn number(object: &DynamicObject, field: &str) -> Option<i64> {
    object.data["spec"][field].as_i64()
}

fn raise(name: &str, (api_version, kind): (&str, &str), factor: i64) -> Value {
    let targets = json!({"apiVersion": api_version, "kind": kind});
    let action = json!({"targets": targets, "factor": factor, "ceiling": 500});
    json!({"name": name, "settle": "0s", "action": {"raiseAutoscalerLimit": action}})
}

fn has_nothing_to_do(incident: &DynamicObject, step: usize) -> bool {
    incident.data["status"]["steps"][step]["reason"] == "NothingToDo"
}

#[tokio::test]
async fn steps_for_scaled_objects_and_for_autoscalers_double_one_limit_once() {
    let scene = Scene::set("keda-once", json!(4)).await;
    let steps = json!([raise("scaled-objects", SCALED_OBJECT, 2), raise("autoscalers", AUTOSCALER, 2)]);
    let is_over = |incident: &DynamicObject| has_nothing_to_do(incident, 1);
    let incident = scene.ring(steps, "the second step has nothing to do", is_over).await;
    scene.assert_copied(&incident, 8).await;
    let limits = scene.recover(&incident).await;
    assert_eq!(
        limits,
        [[Some(4), Some(8), Some(4)], [Some(4), Some(8), Some(4)]],
        "at no time more than twice 4"
    );
    scene.assert_clean().await;
}

#[tokio::test]
async fn an_absent_limit_is_a_hundred_and_is_absent_again_after_the_revert() {
    let scene = Scene::set("keda-absent", Value::Null).await;
    let steps = json!([raise("autoscalers", AUTOSCALER, 2)]);
    let is_changed = |incident: &DynamicObject| change_of(incident, "queue")["state"] == "Applied";
    let incident = scene.ring(steps, "the owner is changed", is_changed).await;
    scene.assert_copied(&incident, 200).await;
    let limits = scene.recover(&incident).await;
    assert_eq!(limits, [[None, Some(200), None], [Some(100), Some(200), Some(100)]]);
    scene.assert_clean().await;
}

/// KEDA never removes a label or an annotation alone: it replaces everything when a limit or another value differs.
/// The record of the first of two steps that changed the limit goes later than the limit, so a copy of it stays.
#[tokio::test]
async fn a_copy_that_keda_leaves_behind_is_named_and_dropped() {
    let scene = Scene::set("keda-copy", json!(4)).await;
    let steps = json!([raise("scaled-objects", SCALED_OBJECT, 2), raise("more", AUTOSCALER, 3)]);
    let is_applied = |incident: &DynamicObject| {
        let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
        changes.iter().any(|change| change["step"] == "more" && change["state"] == "Applied")
    };
    let incident = scene.ring(steps, "the last step has started", is_applied).await;
    scene.assert_copied(&incident, 12).await;
    let [limits, _] = scene.recover(&incident).await;
    assert_eq!(limits, [Some(4), Some(8), Some(12), Some(4)]);
    let a = &scene.drill.world.a;
    scene.drill.world.firebreak(&["undo", "hpa/keda-hpa-queue", "-n", a, "--forget"]).await;
    scene.assert_clean().await;
}
