//! Kinds with controllers of their own, which do not run here: the value is written where they look for it.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{RESTARTED, drill, step, wait_until_done};
use crate::{drill::change_of, support::object::Object};

async fn create(drill: &crate::drill::Drill, kind: (&str, &str), name: &str, spec: Value) -> Object {
    let metadata = json!({"name": name, "namespace": drill.world.a});
    let manifest = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": metadata, "spec": spec});
    drill.world.create("gitops", &manifest.to_string()).await.remove(0)
}

#[tokio::test]
async fn each_kind_is_restarted_where_its_controller_looks_and_an_owner_instead_of_what_it_owns() {
    let drill = drill("restarts-kinds").await;
    let pod = json!({"spec": {"containers": [{"name": "server", "image": "example.com/server:1"}]}});
    let (lws, rollout, service) = (
        ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"),
        ("argoproj.io/v1alpha1", "Rollout"),
        ("serving.kserve.io/v1beta1", "InferenceService"),
    );
    let groups =
        create(&drill, lws, "groups", json!({"leaderWorkerTemplate": {"workerTemplate": pod}})).await;
    let canary = create(&drill, rollout, "canary", json!({"template": pod})).await;
    let before = canary.get().await.data["spec"].clone();
    let model =
        create(&drill, service, "model", json!({"predictor": {"model": {}}, "transformer": {}})).await;
    let owner = model.get().await;
    let owned = json!({"apiVersion": service.0, "kind": service.1, "name": "model", "controller": true,
        "uid": owner.metadata.uid});
    let mut predictor = super::workload(&drill, "Deployment", "model-predictor", json!({"replicas": 0}));
    predictor["spec"]["replicas"] = json!(1);
    predictor["metadata"]["ownerReferences"] = json!([owned]);
    let predictor = drill.world.create("kserve", &predictor.to_string()).await.remove(0);

    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| {
            spec["steps"] = json!([
                step("groups", lws.0, lws.1, &["groups"]),
                step("rollouts", rollout.0, rollout.1, &["canary"]),
                step("predictor", "apps/v1", "Deployment", &["model-predictor"]),
            ]);
        })
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let seen = wait_until_done(&incident, &["groups", "model"]).await;
    let refused = change_of(&seen, "canary");
    assert_eq!(refused["reason"], "NotApplicable", "{refused}");
    assert!(
        refused["message"].as_str().is_some_and(|why| why.contains("kubectl argo rollouts restart canary"))
    );
    assert_eq!(change_of(&seen, "model-predictor"), &Value::Null, "its owner is restarted instead");

    let template = |object: &DynamicObject| {
        object.data["spec"]["leaderWorkerTemplate"]["workerTemplate"]["metadata"]["annotations"][RESTARTED]
            .clone()
    };
    assert!(template(&groups.get().await).is_string(), "{groups}");
    assert_eq!(canary.get().await.data["spec"], before, "{canary}: it is refused");
    let spec = model.get().await.data["spec"].clone();
    for component in ["predictor", "transformer"] {
        assert!(spec[component]["annotations"][RESTARTED].is_string(), "{model}: {component}: {spec}");
    }
    assert!(spec["explainer"].is_null(), "{model}: {spec}");
    let own = predictor.get().await.data["spec"]["template"]["metadata"]["annotations"].clone();
    assert!(own.is_null(), "{predictor}: {own}");
    drill.recover(&incident).await;
}
