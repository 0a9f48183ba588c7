//! Kinds of Kubernetes that do not exist, and kinds of others that need not be installed.

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

#[test]
fn an_admin_of_a_namespace_may_grant_every_kind_that_need_not_be_installed() {
    let step = |action: &str| {
        let policy = format!(
            "apiVersion: firebreak.dev/v1alpha1\nkind: RemediationPolicy\nmetadata: {{name: p, namespace: serving}}\n\
             spec: {{steps: [{{name: s, action: {{{action}}}}}]}}"
        );
        let (faults, grants) = check(&policy);
        assert_eq!(faults, Vec::<String>::new());
        granted(&grants)
    };
    let targets = "targets: {apiVersion: apps/v1, kind: Deployment}";
    let printed = [
        step(&format!("scale: {{{targets}, replicas: 3}}")),
        step(&format!("cpuFallback: {{{targets}}}")),
        step(&format!("rolloutRestart: {{{targets}}}")),
        step(
            "raiseAutoscalerLimit: {ceiling: 9, targets: {apiVersion: keda.sh/v1alpha1, kind: ScaledObject}}",
        ),
    ]
    .concat();
    let optional = printed.lines().filter_map(|line| {
        let kind = line.strip_prefix("# ")?.strip_suffix(" is needed only if it is installed.")?;
        kind.split_once('.')
    });
    let optional: BTreeSet<(&str, &str)> = optional.collect();
    let people = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/people.yaml")).unwrap();
    let people: Vec<Value> = serde_saphyr::from_multiple(&people).unwrap();
    let admin = people.iter().find(|role| role["metadata"]["name"] == "firebreak-admin").unwrap();
    let rules =
        admin["rules"].as_array().unwrap().iter().filter(|rule| rule["verbs"] == serde_json::json!(["list"]));
    let listed =
        rules.map(|rule| (rule["resources"][0].as_str().unwrap(), rule["apiGroups"][0].as_str().unwrap()));
    assert_eq!(listed.collect::<BTreeSet<_>>(), optional);
    assert_eq!(optional.len(), 2, "{printed}");
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
