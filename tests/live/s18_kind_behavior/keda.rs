//! KEDA copies the labels and annotations of a ScaledObject to the HorizontalPodAutoscaler that it creates, and with
//! them the undo record. The copy is no loan, and the limit is multiplied once, whichever of the two a step selects.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::grant;
use crate::{
    drill::{Drill, change_of, touches},
    support::object::{Object, Snapshot},
};

fn raise(name: &str, (api_version, kind): (&str, &str), factor: i64) -> Value {
    let targets = json!({"apiVersion": api_version, "kind": kind});
    let action = json!({"targets": targets, "factor": factor, "ceiling": 50});
    json!({"name": name, "settle": "0s", "action": {"raiseAutoscalerLimit": action}})
}

/// The autoscaler as KEDA has made it, once its controller has nothing to do: the Deployment is scaled to 0.
async fn autoscaler(drill: &Drill) -> (Object, Snapshot) {
    let child =
        drill.world.object("autoscaling/v2", "HorizontalPodAutoscaler", &drill.world.a, "keda-hpa-queue");
    let is_idle = |child: &DynamicObject| child.data["status"].to_string().contains("ScalingDisabled");
    let settled = Snapshot::of(&child.wait_until("idle", is_idle).await);
    (child, settled)
}

#[tokio::test]
async fn steps_for_a_scaled_object_and_for_its_autoscaler_multiply_one_limit_once() {
    const SCALED_OBJECT: (&str, &str) = ("keda.sh/v1alpha1", "ScaledObject");
    const AUTOSCALER: (&str, &str) = ("autoscaling/v2", "HorizontalPodAutoscaler");
    let drill = Drill::new("s18-keda").await;
    grant(&drill).await;
    let a = &drill.world.a;
    let idle = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": a},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": {
            "metadata": {"labels": {"app": "idle"}},
            "spec": {"containers": [{"name": "main", "image": "example.com/server:1"}]},
        }},
    });
    drill.world.create("flux", &idle.to_string()).await;
    let scaled = json!({
        "apiVersion": SCALED_OBJECT.0, "kind": SCALED_OBJECT.1,
        "metadata": {"name": "queue", "namespace": a, "labels": {"tier": "gold"}, "annotations": {"team": "serving"}},
        "spec": {"scaleTargetRef": {"name": "idle"}, "maxReplicaCount": 4,
                 "triggers": [{"type": "cron", "metadata": {"timezone": "Etc/UTC"}}]},
    });
    let scaled = drill.world.apply("flux", &scaled.to_string()).await.remove(0);
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    scaled.merge_status("keda", json!({"status": ready})).await;
    let _keda = drill.world.keda();
    let (child, child_before) = autoscaler(&drill).await;
    let before = scaled.snapshot().await;

    let operator = drill.world.operator().start().await;
    let steps = json!([
        raise("scaled-objects", SCALED_OBJECT, 2),
        raise("autoscalers", AUTOSCALER, 2),
        raise("more", AUTOSCALER, 3),
    ]);
    let policy = drill.policy_with(|spec| spec["steps"] = steps).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let all = incident
        .wait_until("the last step has started", |incident| {
            let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
            changes.iter().any(|change| change["step"] == "more" && change["state"] == "Applied")
        })
        .await;
    let limit = |object: &DynamicObject, field: &str| object.data["spec"][field].as_i64();
    let steps = all.data["status"]["steps"].as_array().cloned().unwrap_or_default();
    assert_eq!(steps[1]["reason"], "NothingToDo", "{incident}: {}", steps[1]);
    assert_eq!(change_of(&all, child.name()), &Value::Null, "{incident}: only the owner is changed");
    assert_eq!(limit(&scaled.get().await, "maxReplicaCount"), Some(12), "{scaled}: three times 4");

    // Meanwhile the copy is on the autoscaler.
    let copied = child
        .wait_until("KEDA follows", |child| {
            limit(child, "maxReplicas") == Some(12)
                && child
                    .metadata
                    .annotations
                    .as_ref()
                    .is_some_and(|all| all.contains_key("firebreak.dev/undo"))
        })
        .await;
    let labels = copied.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels.get("firebreak.dev/incident"), incident.get().await.metadata.uid.as_ref(), "{child}");
    let undo = drill.world.firebreak(&["undo", "hpa/keda-hpa-queue", "-n", a]).await;
    let said = String::from_utf8_lossy(&undo.stderr).into_owned();
    assert_eq!(undo.status.code(), Some(1), "{child}: {said}");
    let command = format!(
        "a copy of the one on ScaledObject {a}/queue, which controls it; revert that with `firebreak undo \
         scaledobject/queue -n {a}`"
    );
    assert!(said.contains(&command), "{child}: {said}");

    drill.recover(&incident).await;
    let after = scaled.snapshot().await;
    assert_eq!((&after.spec, after.traces()), (&before.spec, Vec::new()), "{scaled}");
    assert_eq!(after.managers, before.managers, "{scaled}: managers");
    child.wait_until("KEDA follows", |child| Snapshot::of(child).spec == child_before.spec).await;
    let writes = operator.proxy.calls().iter().filter(|call| touches(&call.call, child.name())).count();
    assert_eq!(writes, 0, "{child}: writes");
    // KEDA never removes a label or an annotation alone: it replaces everything when a limit or another value differs. The
    // record of the first step, which had nothing left to revert, went later than the limit, so a copy may be left.
    drill.world.firebreak(&["undo", "hpa/keda-hpa-queue", "-n", a, "--forget"]).await;
    let after = child.snapshot().await;
    assert_eq!(after.traces(), Vec::<&str>::new(), "{child}");
    assert_eq!(
        (&after.labels, &after.annotations),
        (&child_before.labels, &child_before.annotations),
        "{child}"
    );
}
