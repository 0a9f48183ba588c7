//! Settlements from the command line. The test plays the controller, so that it can produce an unknown outcome of an
//! operation.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{firebreak, run};
use crate::{drill::Drill, support::object::Object};

const CHANGE: &str = "5f2c0d6a1b3e4f70";

/// Writes the outcome of the operation, as the controller would.
async fn operation(incident: &Object, state: &str, settlement: Value) {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "namespace": "b", "name": "cache-0", "uid": "u"});
    let mut change = json!({
        "id": CHANGE, "step": "flush", "state": state, "round": 1, "tries": 1, "target": pod,
        "kind": "Operation", "operation": "DeletePod", "delivery": "AtMostOnce",
    });
    if !settlement.is_null() {
        change["settlement"] = settlement;
    }
    let step = json!({"name": "flush", "state": "Held", "targets": {"matched": 1}});
    incident.merge_status("harness", json!({"status": {"steps": [step], "changes": [change]}})).await;
}

fn settlements(incident: &DynamicObject) -> Value {
    incident.data["spec"].get("settlements").cloned().unwrap_or_else(|| json!([]))
}

#[tokio::test]
async fn a_settlement_speaks_for_one_operation_whose_outcome_is_unknown() {
    let drill = Drill::new("s22-settle").await;
    let world = &drill.world;
    let incident = drill.open("outage", json!({})).await;
    let settle = ["settle", "outage", CHANGE, "-n", world.a.as_str()];
    let happened = [&settle[..], &["--happened"]].concat();

    assert_eq!(firebreak(world, &settle).await.code, 2, "it must say what became of it");
    assert_eq!(firebreak(world, &[&happened[..], &["--did-not-happen"]].concat()).await.code, 2);
    firebreak(world, &happened).await.assert_refused(&happened, &["it has no change of that id"]);
    operation(&incident, "Done", Value::Null).await;
    firebreak(world, &happened)
        .await
        .assert_refused(&happened, &["the outcome of the deletion of Pod b/cache-0 is known: Done"]);

    operation(&incident, "Unclear", Value::Null).await;
    let tree = run(world, &["describe", "outage"]).await;
    assert!(tree.contains("deletion of Pod b/cache-0  Unclear"), "{tree}");
    let taken = async {
        let given = incident.wait_until("has a settlement", |seen| settlements(seen) != json!([])).await;
        let given = settlements(&given)[0].clone();
        let settlement = json!({"outcome": given["outcome"], "settledBy": given["settledBy"], "at": "2026-03-01T10:00:00Z"});
        operation(&incident, "Done", settlement).await;
        given
    };
    let (said, given) = tokio::join!(firebreak(world, &happened), taken);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("deletion of Pod b/cache-0: happened"), "{}", said.out);
    let whoami: Value =
        serde_json::from_str(&world.kubectl(&["auth", "whoami", "-o", "json"]).await).expect("JSON");
    let me = &whoami["status"]["userInfo"]["username"];
    assert_eq!(given, json!({"change": CHANGE, "outcome": "Happened", "settledBy": me}));

    // Repeating it is no error, and nobody settles it otherwise afterwards.
    let said = firebreak(world, &happened).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let other = [&settle[..], &["--did-not-happen"]].concat();
    firebreak(world, &other).await.assert_refused(&other, &["has settled it as Happened"]);
}
