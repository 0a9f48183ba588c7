//! ScaledObjects and InferenceServices create HorizontalPodAutoscalers and overwrite every change of them: the
//! limit is changed on the owner, and never on the child.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::grant;
use crate::{
    drill::{Drill, change_of, touches},
    support::object::{Object, Snapshot},
};

/// An owner, its autoscaler, and how both were before the emergency.
struct Family {
    owner: Object,
    child: Object,
    before: (Snapshot, Snapshot),
}

/// The owner with a status that says that it is healthy, and its autoscaler, for which there is nothing to do.
async fn family(drill: &Drill, api_version: &str, kind: &str, name: &str, spec: Value) -> Family {
    let owner = json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": drill.world.a}, "spec": spec,
    });
    let owner = drill.world.apply("flux", &owner.to_string()).await.remove(0);
    let status =
        json!({"conditions": [{"type": "Ready", "status": "True"}], "observedGeneration": 1_000_000});
    owner.merge_status("its-controller", json!({"status": status})).await;
    let owners = json!([{
        "apiVersion": api_version, "kind": kind, "name": name, "uid": owner.snapshot().await.uid,
        "controller": true, "blockOwnerDeletion": true,
    }]);
    let child = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": format!("keda-hpa-{name}"), "namespace": drill.world.a, "ownerReferences": owners},
        "spec": {"minReplicas": 1, "maxReplicas": 4,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "idle"}},
    });
    let child = drill.world.create("its-controller", &child.to_string()).await.remove(0);
    let idle = |child: &DynamicObject| {
        let conditions = child.data["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        conditions.iter().any(|one| one["reason"] == "ScalingDisabled")
    };
    let settled = Snapshot::of(&child.wait_until("idle", idle).await);
    let before = (owner.snapshot().await, settled);
    Family { owner, child, before }
}

#[tokio::test]
async fn the_limit_is_raised_on_the_owner_of_an_autoscaler_and_the_autoscaler_is_left_alone() {
    let drill = Drill::new("s18-children").await;
    grant(&drill).await;
    let idle = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": drill.world.a},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "idle"}}, "template": {
            "metadata": {"labels": {"app": "idle"}},
            "spec": {"containers": [{"name": "main", "image": "example.com/server:1"}]},
        }},
    });
    drill.world.create("flux", &idle.to_string()).await;
    let scaled_object = json!({
        "scaleTargetRef": {"name": "idle"}, "maxReplicaCount": 4,
        "triggers": [{"type": "cron", "metadata": {"timezone": "Etc/UTC"}}],
    });
    let service =
        json!({"predictor": {"minReplicas": 1, "maxReplicas": 4, "model": {"storageUri": "hf://m"}}});
    let families = tokio::join!(
        family(&drill, "keda.sh/v1alpha1", "ScaledObject", "queue", scaled_object),
        family(&drill, "serving.kserve.io/v1beta1", "InferenceService", "chat", service),
    );
    let families = [(families.0, "/maxReplicaCount"), (families.1, "/predictor/maxReplicas")];

    let operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            let targets = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"});
            let action = json!({"targets": targets, "factor": 3, "ceiling": 50, "allowRestart": true});
            spec["steps"][0]["action"] = json!({"raiseAutoscalerLimit": action});
        })
        .await;
    let incident = drill.respond(&policy).await;
    let during = incident.get().await;
    for (Family { owner, child, before }, field) in &families {
        let mut raised = before.0.spec.clone();
        *raised.pointer_mut(field).expect("a limit") = json!(12);
        assert_eq!(owner.snapshot().await.spec, raised, "{owner}: spec during the emergency");
        assert_eq!(change_of(&during, owner.name())["state"], "Verified", "{incident}: {owner}");
        assert_eq!(change_of(&during, child.name()), &Value::Null, "{incident}: {child}");
    }

    // The child wants what its owner needs: no more than before, so all changes are reverted automatically.
    drill.recover(&incident).await;
    for (Family { owner, child, before }, _) in &families {
        let after = owner.snapshot().await;
        assert_eq!((&after.spec, after.traces()), (&before.0.spec, Vec::new()), "{owner}");
        assert_eq!(after.generation, before.0.generation + 2, "{owner}: generation");
        assert_eq!(after.managers, before.0.managers, "{owner}: managers");
        assert_eq!(child.snapshot().await, before.1, "{child}: touched");
        let writes =
            operator.proxy.calls().iter().filter(|exchange| touches(&exchange.call, child.name())).count();
        assert_eq!(writes, 0, "{child}: writes");
    }
}
