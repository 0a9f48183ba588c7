//! Undo records that belong to another object or make no sense.

use serde_json::{Value, json};

use super::Response;
use crate::drill::{Models, models};

/// A record as we write it, with these values for the object's uid and the Incident.
fn record(uid: &str, incident: &str) -> Value {
    json!({"v": 1, "loans": [{
        "id": "0123456789abcdef", "incident": incident, "step": "cpu-fallback", "uid": uid,
        "apiVersion": "inference.llm-d.io/v1alpha1", "appliedAt": "2026-01-01T00:00:00Z",
        "fields": [{"path": "/spec/resources/limits/nvidia.com~1gpu", "before": "64", "after": "1"}],
    }]})
}

/// A model that has this in the annotation.
async fn annotated(response: &Response, name: &str, record: impl FnOnce(&str) -> String) -> Models {
    let made = models::manifest(name);
    let made = response.drill.world.apply("flux", &made).await.remove(0);
    let uid = made.snapshot().await.uid;
    let labels = json!({"firebreak.dev/incident": "11111111-1111-1111-1111-111111111111"});
    let annotations = json!({"firebreak.dev/undo": record(&uid)});
    made.merge("mallory", json!({"metadata": {"annotations": annotations, "labels": labels}})).await;
    Models::of(vec![made]).await
}

#[tokio::test]
async fn an_object_whose_record_does_not_parse_is_left_alone() {
    let response = Response::prepare("s12-parse").await;
    let mut all = Vec::new();
    let no_loans = json!({"v": 1}).to_string();
    let too_new = json!({"v": 3, "loans": []}).to_string();
    let bad_path = record("x", "a/b/c").to_string().replace("/spec/resources", "spec/resources");
    let records = [
        ("empty", String::new()),
        ("half", "{\"v\":1,\"loa".to_owned()),
        ("no-loans", no_loans),
        ("too-new", too_new),
        ("bad-path", bad_path),
        ("deep", "[".repeat(30_000)),
    ];
    for (name, text) in records {
        all.extend(annotated(&response, name, |_| text).await.objects);
    }
    let broken = Models::of(all).await;
    let incident =
        response.skips(&broken, "RecordUnreadable", &["firebreak.dev/undo", "undo", "--forget"]).await;
    response.end(&incident, &broken).await;
}

#[tokio::test]
async fn an_object_with_the_record_of_another_object_is_left_alone() {
    let response = Response::prepare("s12-uid").await;
    let other = "22222222-2222-2222-2222-222222222222";
    let copied = annotated(&response, "copied", |_| record(other, "ns/name/uid").to_string()).await;
    let incident = response.skips(&copied, "RecordOfAnotherObject", &[other, "--forget"]).await;
    response.end(&incident, &copied).await;
}

#[tokio::test]
async fn an_object_with_the_record_of_another_incident_is_held_by_it() {
    let response = Response::prepare("s12-incident").await;
    let other = "elsewhere/outage/33333333-3333-3333-3333-333333333333";
    let held = annotated(&response, "held", |uid| record(uid, other).to_string()).await;
    let incident = response.skips(&held, "HeldBy", &[other, "firebreak undo"]).await;
    response.end(&incident, &held).await;
}

#[tokio::test]
async fn a_value_that_is_out_of_bounds_is_never_lent() {
    let response = Response::prepare("s12-bounds").await;
    let mut all = Vec::new();
    for (name, value) in
        [("too-many", json!("5000")), ("negative", json!("-1")), ("no-number", json!("many"))]
    {
        let mut model = models::document(&response.drill.world, name);
        model["spec"]["resources"]["limits"]["nvidia.com/gpu"] = value;
        all.extend(response.drill.world.create("flux", &model.to_string()).await);
    }
    let strange = Models::of(all).await;
    let path = "/spec/resources/limits/nvidia.com~1gpu";
    let incident = response.skips(&strange, "OutOfBounds", &[path]).await;
    response.end(&incident, &strange).await;
}
