//! Where each kind is restarted.

use firebreak_engine::change::ValueForm;
use firebreak_engine::facts::Role;
use firebreak_engine::verdict::Verdict;
use serde_json::{Value, json};

use super::{Kind, obstacle, paths, profile, slots};
use crate::workloads::rollout;

const ROLLOUT: Kind = ("argoproj.io/v1alpha1", "Rollout");
const SERVICE: Kind = ("serving.kserve.io/v1beta1", "InferenceService");

fn restart(kind: Kind, spec: Value) -> Vec<String> {
    paths(kind, &json!({"metadata": {"name": "x", "namespace": "serving"}, "spec": spec}), &Role::Restart)
}

#[test]
fn each_kind_is_restarted_in_its_template_and_a_rollout_by_a_time() {
    let annotation = |map: &str| format!("{map}/annotations/kubectl.kubernetes.io~1restartedAt");
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        assert_eq!(restart(("apps/v1", kind), json!({})), [annotation("/spec/template/metadata")], "{kind}");
    }
    let groups = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet");
    assert_eq!(
        restart(groups, json!({"leaderWorkerTemplate": {"leaderTemplate": {}}})),
        [annotation("/spec/leaderWorkerTemplate/workerTemplate/metadata")]
    );
    assert_eq!(restart(SERVICE, json!({"predictor": {}})), [annotation("/spec/predictor")]);
    let both = [annotation("/spec/predictor"), annotation("/spec/transformer")];
    assert_eq!(restart(SERVICE, json!({"predictor": {}, "transformer": {}, "explainer": null})), both);
    assert_eq!(restart(ROLLOUT, json!({})), ["/spec/restartAt"]);
    assert_eq!(slots(ROLLOUT, &json!({})).restart_form, ValueForm::Time);
}

#[test]
fn what_cannot_be_restarted_says_why() {
    let autoscaler = ("autoscaling/v2", "HorizontalPodAutoscaler");
    let why = obstacle(autoscaler, &json!({}), &Role::Restart).unwrap();
    assert_eq!(why, "a HorizontalPodAutoscaler has no field that restarts its pods");
    let paused = json!({"metadata": {"name": "chat", "namespace": "serving"}, "spec": {"paused": true}});
    assert!(obstacle(ROLLOUT, &paused, &Role::Restart).unwrap().contains("spec.paused"));
    assert_eq!(obstacle(ROLLOUT, &json!({"spec": {"paused": false}}), &Role::Restart), None);
    let odd = json!({"spec": {"template": {"metadata": {"annotations": "none"}}}});
    let problem = slots(("apps/v1", "Deployment"), &odd).fields.pop().unwrap().out_of_bounds;
    assert!(problem.unwrap().contains("is not a map"));
}

#[test]
fn a_rollout_has_not_rolled_out_before_its_pods_are_restarted() {
    let rolled_out = |at: Value, done: Value| {
        let status = json!({"observedGeneration": "4", "restartedAt": done, "updatedReplicas": 1,
            "availableReplicas": 1, "stableRS": "a", "currentPodHash": "a", "phase": "Healthy"});
        let mut object = json!({"metadata": {"generation": 4}, "spec": {"replicas": 1}, "status": status});
        if !at.is_null() {
            object["spec"]["restartAt"] = at;
        }
        rollout(&profile(ROLLOUT), &object)
    };
    let (early, late) = (json!("2026-03-01T10:00:00Z"), json!("2026-03-01T11:00:00Z"));
    assert_eq!(
        rolled_out(Value::Null, Value::Null).0,
        Verdict::True,
        "{:?}",
        rolled_out(Value::Null, Value::Null)
    );
    assert_eq!(rolled_out(late.clone(), early.clone()).1, "not all pods are restarted yet");
    assert_eq!(rolled_out(early.clone(), early.clone()).0, Verdict::True);
    assert_eq!(rolled_out(early, late).0, Verdict::True);
}
