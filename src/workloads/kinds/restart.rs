//! Where each kind is restarted.

use firebreak_engine::facts::Role;
use serde_json::{Value, json};

use super::{Kind, obstacle, paths, slots};

const ROLLOUT: Kind = ("argoproj.io/v1alpha1", "Rollout");
const SERVICE: Kind = ("serving.kserve.io/v1beta1", "InferenceService");

fn restart(kind: Kind, spec: Value) -> Vec<String> {
    paths(kind, &json!({"metadata": {"name": "x", "namespace": "serving"}, "spec": spec}), &Role::Restart)
}

#[test]
fn each_kind_is_restarted_in_its_template() {
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
}

#[test]
fn what_cannot_be_restarted_says_why() {
    let autoscaler = ("autoscaling/v2", "HorizontalPodAutoscaler");
    let why = obstacle(autoscaler, &json!({}), &Role::Restart).unwrap();
    assert_eq!(why, "a HorizontalPodAutoscaler has no field that restarts its pods");
    let canary = json!({"metadata": {"name": "chat", "namespace": "serving"}, "spec": {}});
    let why = obstacle(ROLLOUT, &canary, &Role::Restart).unwrap();
    assert!(why.ends_with("restart it with `kubectl argo rollouts restart chat -n serving`"), "{why}");
    assert_eq!(restart(ROLLOUT, json!({})), [""; 0]);
    let odd = json!({"spec": {"template": {"metadata": {"annotations": "none"}}}});
    let problem = slots(("apps/v1", "Deployment"), &odd).fields.pop().unwrap().out_of_bounds;
    assert!(problem.unwrap().contains("is not a map"));
}
