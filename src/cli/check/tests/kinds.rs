//! Kinds of Kubernetes that do not exist.

use super::*;

#[test]
fn a_misspelled_kind_of_kubernetes_is_a_fault_wherever_a_policy_names_it() {
    let scaled = "cpuFallback:\n        targets: {apiVersion: apps/v1, kind: Deployment, namespaces: {names: [gateways, llm-serving]}}";
    assert!(POLICY.contains(scaled));
    let step = |targets: &str| {
        faults(&POLICY.replace(scaled, &format!("scale: {{replicas: 1, targets: {{{targets}}}}}")))
    };
    assert_eq!(step("apiVersion: apps/v1, kind: ReplicaSet"), Vec::<String>::new());
    assert_eq!(step("apiVersion: space.example.com/v1, kind: Deploymnet"), Vec::<String>::new());
    assert_eq!(
        step("apiVersion: apps/v1, kind: Deploymnet"),
        [
            "spec.steps[1].action.scale.targets.kind: Kubernetes has no kind Deploymnet in apps/v1; did you mean \
             Deployment? Or if your cluster has it, run `firebreak check --cluster`"
        ]
    );
    assert_eq!(
        step("apiVersion: app/v1, kind: Deployment"),
        ["spec.steps[1].action.scale.targets.kind: Kubernetes has no API group app; did you mean apps/v1 \
             Deployment? Or if your cluster has it, run `firebreak check --cluster`"]
    );
    let (_, grants) = check(&POLICY.replace("space.example.com/v1, kind: Rocket", "v1, kind: Pods"));
    assert_eq!(grants.len(), 0, "it is granted nothing");
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_says_nothing_about_a_kind() {
    let rules = |kind: &str| {
        let spec = serde_json::json!({"signals": [{"name": "web", "objects": {"apiVersion": "apps/v1", "kind": kind}}]});
        Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap()
    };
    let answers = async |code: u16| {
        let service = tower::service_fn(move |_: http::Request<kube::client::Body>| async move {
            let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": code, "reason": "Unknown",
                "message": "no"});
            let body = kube::client::Body::from(status.to_string().into_bytes());
            Ok::<_, tower::BoxError>(http::Response::builder().status(code).body(body)?)
        });
        let discovery = Discovery::new(kube::Client::new(service, "default"));
        unknown_kinds(&rules("Deploymnet"), Some(&discovery)).await
    };
    let unreachable = answers(403).await.unwrap_err().to_string();
    assert!(
        unreachable.contains("cannot check spec.signals[0].objects.kind on the cluster"),
        "{unreachable}"
    );
    let unknown = answers(404).await.unwrap();
    let [fault] = unknown.as_slice() else { panic!("{unknown:?}") };
    assert!(
        fault.contains("objects.kind: the cluster does not serve Deploymnet in apps/v1; ")
            && !fault.contains("--cluster"),
        "{fault}"
    );
}
