use serde_json::json;

use super::super::Profiles;
use super::*;

fn pods(kind: &str) -> PodsOf {
    let profiles = Profiles::built_in().unwrap();
    profiles.find("apps/v1", kind).unwrap().pods.clone().unwrap()
}

fn now() -> Timestamp {
    "2026-01-01T00:01:00Z".parse().unwrap()
}

/// A pod that asks for this number of accelerators, or for none.
fn pod(gpu: Option<&str>, edit: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": "chat-7d9-x", "namespace": "serving", "creationTimestamp": "2026-01-01T00:00:10Z",
                     "labels": {"pod-template-hash": "7d9"}},
        "spec": {"schedulerName": "ml", "containers": [{"name": "main", "resources": {"limits": {}}}]},
        "status": {"phase": "Pending"},
    });
    if let Some(gpu) = gpu {
        pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = json!(gpu);
    }
    edit(&mut pod);
    pod
}

fn unscheduled(pod: &mut Value) {
    let why = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.";
    pod["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "False",
                                          "reason": "Unschedulable", "message": why}]);
}

/// What is said of the pod while the template asks for this number of accelerators.
fn said(strategy: &str, gpu: &str, pod: &Value) -> Option<String> {
    let path = "/spec/template/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu".parse().unwrap();
    let outside = "/spec/strategy/rollingUpdate/maxSurge".parse().unwrap();
    let containers = json!([{"name": "main", "resources": {"limits": {"nvidia.com/gpu": gpu}}}]);
    let object =
        json!({"spec": {"strategy": {"type": strategy}, "template": {"spec": {"containers": containers}}}});
    let pods = pods("Deployment");
    let fresh = pods.fresh(&object, [&path, &outside].into_iter());
    pods.trouble(&object, pod, &fresh, now()).map(|trouble| trouble.text)
}

#[test]
fn a_new_pod_that_is_not_scheduled_quotes_the_scheduler() {
    let found = said("RollingUpdate", "1", &pod(Some("1"), unscheduled)).unwrap();
    assert_eq!(
        found,
        "pod chat-7d9-x is not scheduled: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    );
}

#[test]
fn an_old_pod_says_nothing() {
    assert_eq!(said("RollingUpdate", "0", &pod(Some("1"), unscheduled)), None);
    assert!(said("RollingUpdate", "0", &pod(Some("0"), unscheduled)).is_some());
    let ends = |pod: &mut Value| {
        unscheduled(pod);
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:50Z");
    };
    assert_eq!(said("RollingUpdate", "1", &pod(Some("1"), ends)), None);
}

#[test]
fn a_pod_that_no_scheduler_looks_at_names_the_scheduler_after_a_while() {
    let found = said("RollingUpdate", "1", &pod(Some("1"), |_| {})).unwrap();
    assert!(found.ends_with("no scheduler named ml has tried to schedule it"), "{found}");
    let young = |pod: &mut Value| pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:40Z");
    assert_eq!(said("RollingUpdate", "1", &pod(Some("1"), young)), None);
}

#[test]
fn a_container_that_does_not_start_says_its_state() {
    let state = |reason: &str, message: &str, code: Option<i64>| {
        pod(Some("1"), |pod| {
            pod["spec"]["nodeName"] = json!("gpu-1");
            let mut status =
                json!({"name": "main", "state": {"waiting": {"reason": reason, "message": message}}});
            if let Some(code) = code {
                status["lastState"] = json!({"terminated": {"exitCode": code}});
            }
            pod["status"]["containerStatuses"] = json!([status]);
        })
    };
    let found = |reason: &str, message: &str, code| said("RollingUpdate", "1", &state(reason, message, code));
    assert_eq!(found("ContainerCreating", "", None), None);
    assert_eq!(
        found("CrashLoopBackOff", "back-off 5m0s", Some(127)).unwrap(),
        "pod chat-7d9-x does not start: container main is in CrashLoopBackOff (it ended with exit code 127)"
    );
    assert!(found("ImagePullBackOff", "no such image", None).unwrap().contains("(no such image)"));
    let refused = |pod: &mut Value| {
        pod["status"] =
            json!({"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no device"});
    };
    let found = said("RollingUpdate", "1", &pod(Some("1"), refused)).unwrap();
    assert_eq!(found, "pod chat-7d9-x has failed: UnexpectedAdmissionError no device");
}

#[test]
fn only_where_all_old_pods_go_first_does_one_that_does_not_end_matter() {
    let lost = pod(Some("1"), |pod| {
        pod["spec"]["nodeName"] = json!("gpu-1");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:10Z");
    });
    assert_eq!(said("RollingUpdate", "0", &lost), None);
    let found = said("Recreate", "0", &lost).unwrap();
    for words in ["node gpu-1", "`kubectl delete pod chat-7d9-x -n serving --force --grace-period=0`"] {
        assert!(found.contains(words), "no {words} in {found}");
    }
}

#[test]
fn a_condition_says_why_pods_are_refused_and_long_text_is_cut() {
    let profiles = Profiles::built_in().unwrap();
    let profile = profiles.find("apps/v1", "Deployment").unwrap();
    let says = |message: &str| {
        refused(
            profile,
            &json!({"status": {"conditions": [
                {"type": "Available", "status": "False", "message": "x"},
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message},
            ]}}),
        )
    };
    assert_eq!(says("exceeded\n quota: gpu"), Some("exceeded quota: gpu".to_owned()));
    assert!(says(&"x".repeat(5000)).unwrap().len() <= QUOTE);
    assert_eq!(refused(profile, &json!({"status": {"conditions": []}})), None);
    let set = profiles.find("apps/v1", "StatefulSet").unwrap();
    assert_eq!(refused(set, &json!({})), None);
}

#[test]
fn a_pod_belongs_to_its_controller_and_to_the_deployment_of_its_replica_set() {
    let owned = pod(None, |pod| {
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "chat-7d9", "uid": "r", "controller": true}]);
    });
    let has = |pod: &Value, name: &str, uid: &str| pods("Deployment").has(pod, name, uid);
    assert!(has(&owned, "chat", "d") && has(&owned, "x", "r"));
    assert!(!has(&owned, "chat-7d9", "d") && !has(&owned, "other", "d"));
    assert!(!has(&pod(None, |_| {}), "chat", "d"));
    assert!(!pods("StatefulSet").has(&owned, "chat", "d"));
}

#[test]
fn what_runs_the_pods_of_another_object_names_them() {
    let profiles = Profiles::built_in().unwrap();
    let rollout = profiles.find("argoproj.io/v1alpha1", "Rollout").unwrap().pods.clone().unwrap();
    let borrowed = pods("Deployment").run_by(&rollout);
    let of = |label: &str| {
        pod(None, |pod| {
            pod["metadata"]["labels"] = json!({label: "7d9"});
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "runs-7d9", "uid": "r", "controller": true}]);
        })
    };
    assert!(borrowed.has(&of("rollouts-pod-template-hash"), "runs", "d"));
    assert!(!borrowed.has(&of("pod-template-hash"), "runs", "d"));
    let recreate = json!({"spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(
        borrowed.old_pods_first(&recreate),
        None,
        "it is not the strategy of the Deployment that counts"
    );
}

#[test]
fn a_template_that_no_change_touches_says_nothing_of_its_pods() {
    let profiles = Profiles::built_in().unwrap();
    let pods = profiles.find("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet").unwrap().pods.clone().unwrap();
    let template =
        json!({"spec": {"containers": [{"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]}});
    let object =
        json!({"spec": {"leaderWorkerTemplate": {"leaderTemplate": template, "workerTemplate": template}}});
    let worker = pod(Some("1"), unscheduled);
    let said = |paths: &[&str]| {
        let paths: Vec<FieldPath> = paths.iter().map(|path| path.parse().unwrap()).collect();
        pods.trouble(&object, &worker, &pods.fresh(&object, paths.iter()), now()).is_some()
    };
    let gpu = "spec/containers/[name=main]/resources/limits/nvidia.com~1gpu";
    assert!(said(&[&format!("/spec/leaderWorkerTemplate/workerTemplate/{gpu}")]));
    assert!(!said(&[&format!("/spec/leaderWorkerTemplate/leaderTemplate/{gpu}")]));
    assert!(said(&["/spec/replicas"]), "a change outside of the templates may need more pods");
}
