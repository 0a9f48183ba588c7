//! Approvals from the command line. The test plays the controller, so that it can produce every state of an
//! approval.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{firebreak, run};
use crate::{drill::Drill, support::object::Object};

fn hash(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

/// Writes the state of the step, as the controller would.
async fn step(incident: &Object, status: Value) {
    let mut step = json!({"name": "cpu-fallback", "state": "AwaitingApproval", "targets": {"matched": 1}});
    step.as_object_mut().expect("an object").extend(status.as_object().cloned().unwrap_or_default());
    let change = json!({
        "id": "a", "step": "cpu-fallback", "state": "Planned", "round": 0,
        "target": {
            "apiVersion": "apps/v1", "kind": "Deployment", "namespace": "b", "name": "chat", "uid": "u",
        },
        "fields": [{"path": "/spec/replicas", "before": 4, "after": 0}],
    });
    incident.merge_status("harness", json!({"status": {"steps": [step], "changes": [change]}})).await;
}

fn approvals(incident: &DynamicObject) -> Value {
    incident.data["spec"].get("approvals").cloned().unwrap_or_else(|| json!([]))
}

/// Writes the state of the approval in the spec, as the controller would.
async fn record(incident: &Object, seen: &DynamicObject, state: &str) {
    let given = &approvals(seen)[0];
    let approval = json!({
        "planHash": given["planHash"], "approvedBy": given["approvedBy"],
        "at": "2026-03-01T10:00:00Z", "state": state,
    });
    step(incident, json!({"planHash": hash('1'), "approval": approval})).await;
}

#[tokio::test]
async fn an_approval_counts_for_the_plan_that_is_shown_and_for_no_other() {
    let drill = Drill::new("s22-approve").await;
    let world = &drill.world;
    let incident = drill.open("outage", json!({})).await;
    let approve = ["approve", "outage", "cpu-fallback", "-n", world.a.as_str()];

    firebreak(world, &approve).await.assert_refused(&approve, &["no such step", "the operator is running"]);
    step(&incident, json!({"state": "Pending", "reason": "NoTargets", "message": "nothing to change"})).await;
    let said = firebreak(world, &approve).await;
    said.assert_refused(
        &approve,
        &["it does not wait for approval: it is Pending (NoTargets: nothing to change)"],
    );
    let other = ["approve", "outage", "none", "-n", world.a.as_str()];
    firebreak(world, &other).await.assert_refused(&other, &["no such step", "its steps are cpu-fallback"]);

    step(&incident, json!({"planHash": hash('1')})).await;
    let tree = run(world, &["describe", "outage"]).await;
    for words in [
        &format!("plan {}", hash('1')),
        &format!("`firebreak approve outage cpu-fallback -n {}`", world.a),
        "/spec/replicas  4 → 0",
    ] {
        assert!(tree.contains(words), "no {words} in {tree}");
    }
    let other_plan = hash('2');
    let changed = [&approve[..], &["--plan-hash", &other_plan]].concat();
    let said = firebreak(world, &changed).await;
    said.assert_refused(&changed, &[&format!("its plan is now {}", hash('1')), "firebreak describe outage"]);
    assert_eq!(approvals(&incident.get().await), json!([]));

    let me = {
        let spent = async {
            let given = incident.wait_until("has an approval", |seen| approvals(seen) != json!([])).await;
            record(&incident, &given, "Valid").await;
            approvals(&given)[0]["approvedBy"].clone()
        };
        let (said, me) = tokio::join!(firebreak(world, &approve), spent);
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        assert!(said.out.contains("/spec/replicas  4 → 0") && said.out.contains("approved"), "{}", said.out);
        me
    };
    let mine = json!({"step": "cpu-fallback", "planHash": hash('1'), "approvedBy": me});
    assert_eq!(approvals(&incident.get().await), json!([mine]));
    let whoami: Value =
        serde_json::from_str(&world.kubectl(&["auth", "whoami", "-o", "json"]).await).expect("JSON");
    assert_eq!(me, whoami["status"]["userInfo"]["username"], "the name of whoever approves");

    // Another step has an approval, and that of this step is spent: it is removed and given again.
    let others = json!({"step": "later", "planHash": hash('3'), "approvedBy": "bob"});
    incident.merge("harness", json!({"spec": {"approvals": [mine, others]}})).await;
    record(&incident, &incident.get().await, "Expired").await;
    let approves_again = async {
        let dropped = |seen: &DynamicObject| approvals(seen) == json!([others]);
        incident.wait_until("has dropped the spent approval", dropped).await;
        step(&incident, json!({"planHash": hash('1')})).await;
        let both = |seen: &DynamicObject| approvals(seen) == json!([others, mine]);
        let given = incident.wait_until("has the new approval", both).await;
        let mut given = given;
        given.data["spec"]["approvals"] = json!([mine]);
        record(&incident, &given, "Void").await;
    };
    let (said, ()) = tokio::join!(firebreak(world, &approve), approves_again);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(
        said.err.contains("removing the approval by") && said.err.contains("which is Expired"),
        "{}",
        said.err
    );
    assert!(said.err.contains("the plan or the policy has changed in the meantime"), "{}", said.err);
}
