//! A kind without a profile can still be scaled: its definition says where its replicas are.

use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, change_of},
    support::{object::Object, rights::Rule},
};

const API_VERSION: &str = "s16scale.example.com/v1";

/// A kind of the test's own, kept until the test ends.
async fn define(drill: &Drill, kind: &str, plural: &str, subresources: Value) -> Object {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.s16scale.example.com")},
        "spec": {
            "group": "s16scale.example.com", "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": subresources,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
            }],
        },
    });
    drill.world.define(&definition).await
}

/// A few of them.
async fn create(drill: &Drill, kind: &str) -> Object {
    let manifest = json!({
        "apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": "cache", "namespace": drill.world.a}, "spec": {"size": 2},
    });
    let object = drill.world.create("flux", &manifest.to_string()).await.remove(0);
    object.merge_status("its-operator", json!({"status": {"size": 2}})).await;
    object
}

fn step(name: &str, kind: &str) -> Value {
    let targets = json!({"apiVersion": API_VERSION, "kind": kind});
    json!({"name": name, "settle": "0s", "action": {"scale": {"targets": targets, "replicas": 5, "allowRestart": true}}})
}

#[tokio::test]
async fn a_kind_without_a_profile_is_scaled_where_its_definition_says() {
    let drill = Drill::new("s16-definition").await;
    let scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
    let scaled = define(&drill, "Cache", "caches", json!({"status": {}, "scale": scale})).await;
    let plain = define(&drill, "Store", "stores", json!({"status": {}})).await;
    let rule = |group, resources, verbs| Rule { group, resources, verbs };
    let own = rule("s16scale.example.com", &["caches", "stores"], &["get", "list", "watch", "patch"]);
    let hpas = rule("autoscaling", &["horizontalpodautoscalers"], &["list"]);
    let keda = rule("keda.sh", &["scaledobjects"], &["list"]);
    drill.world.grant(&drill.world.a, &[drill::rights(), vec![own, hpas, keda]].concat()).await;
    let (cache, store) = (create(&drill, "Cache").await, create(&drill, "Store").await);
    let (before, untouched) = (cache.snapshot().await, store.snapshot().await);
    let _operator = drill.world.operator().start().await;
    let policy = drill
        .policy_with(|spec| spec["steps"] = json!([step("caches", "Cache"), step("stores", "Store")]))
        .await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    cache.wait_until("five of them", |cache| cache.data["spec"]["size"] == 5).await;
    let refused = incident
        .wait_until("the other kind is refused", |incident| {
            let changes = incident.data["status"]["changes"].as_array().map_or(&[][..], Vec::as_slice);
            changes.iter().any(|c| c["target"]["kind"] == "Store" && c["reason"] == "NotApplicable")
        })
        .await;
    assert!(refused.data["status"].to_string().contains("no readable scale subresource"), "{incident}");
    assert_eq!(change_of(&refused, "cache")["target"]["kind"], "Cache", "{incident}");
    drill.hush().await;
    // Its operator follows, in both directions.
    cache.merge_status("its-operator", json!({"status": {"size": 2}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    let after = cache.snapshot().await;
    assert_eq!((&after.spec, after.generation), (&before.spec, before.generation + 2), "{cache}");
    drill::models::assert_no_trace(&cache, &before, &after);
    assert_eq!(store.snapshot().await.version, untouched.version, "{store}");
    scaled.delete().await;
    plain.delete().await;
}
