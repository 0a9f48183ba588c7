//! The operator can do what `deploy/` grants and nothing more. Every other test shows that this is
//! enough for its work, because the operator has nothing else there.

use std::collections::BTreeSet;

use kube::{Api, Client, config::AuthInfo};
use serde_json::{Value, json};

use crate::{
    drill::Drill,
    support::{install, testbed::testbed},
};

/// A verb on a resource of a group, and the name of the object if it is for one alone.
type Right = (String, String, String, String);

/// The client of the owner of the token.
async fn client(token: String) -> Client {
    let mut config = testbed().config().await;
    config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    Client::try_from(config).expect("a client")
}

fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn rights<'a>(rules: impl IntoIterator<Item = &'a Value>) -> BTreeSet<Right> {
    let mut all = BTreeSet::new();
    for rule in rules {
        let mut names = texts(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for name in &names {
                    for verb in texts(&rule["verbs"]) {
                        all.insert((verb, group.clone(), resource.clone(), name.clone()));
                    }
                }
            }
        }
    }
    all
}

/// What the owner of the token may do in the namespace, besides asking what it may do.
async fn granted(client: &Client, namespace: &str) -> BTreeSet<Right> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let request = http::Request::post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews")
        .header("Content-Type", "application/json")
        .body(review.to_string().into_bytes())
        .expect("a request");
    let answer: Value = client.request(request).await.expect("everybody may ask");
    let rules = answer["status"]["resourceRules"].as_array().expect("a list");
    let reviews = ["authorization.k8s.io", "authentication.k8s.io"];
    rights(rules).into_iter().filter(|(_, group, _, _)| !reviews.contains(&group.as_str())).collect()
}

/// What the operator's role of this kind in `deploy/` grants.
fn shipped(kind: &str) -> BTreeSet<Right> {
    let documents = install::shipped().expect("deploy/ can be read");
    let is_its_own = |role: &Value| role["kind"] == kind && role["metadata"]["name"] == "firebreak";
    let roles = documents.into_iter().map(|(_, document)| document).filter(is_its_own);
    roles.flat_map(|role| rights(role["rules"].as_array().expect("rules"))).collect()
}

#[tokio::test]
async fn the_operator_may_do_exactly_what_deploy_says() {
    let drill = Drill::new("s15-exactly").await;
    let operator = drill.world.operator().start().await;
    let home = &drill.world.operator_namespace;
    let itself = client(drill.world.token(home, "firebreak").await).await;
    // What Kubernetes grants to every ServiceAccount differs by its minor.
    let anybody = client(drill.world.token(home, "default").await).await;
    let own = async |namespace: &str| -> BTreeSet<Right> {
        granted(&itself, namespace).await.difference(&granted(&anybody, namespace).await).cloned().collect()
    };
    let everywhere = shipped("ClusterRole");
    assert_eq!(own(&drill.world.a).await, everywhere, "in the namespace of policies");
    let at_home = everywhere.union(&shipped("Role")).cloned().collect();
    assert_eq!(own(home).await, at_home, "in its own namespace");
    assert!(operator.is_running(), "the operator exited");
}

/// Checked from outside, independently of how the roles are written.
#[tokio::test]
async fn the_operator_may_not_do_what_would_make_it_an_administrator() {
    let drill = Drill::new("s15-never").await;
    let _operator = drill.world.operator().start().await;
    let (a, home) = (drill.world.a.as_str(), drill.world.operator_namespace.as_str());
    let user = format!("system:serviceaccount:{home}:firebreak");
    let may = async |question: &[&str]| {
        let question = [&["auth", "can-i", "--as", &user], question].concat();
        let asked = drill.world.kubectl_answer(&question).await;
        String::from_utf8_lossy(&asked.stdout).trim() == "yes"
    };
    let mut wrong = Vec::new();
    for never in [
        "list pods",
        "get pods",
        "list nodes",
        "get secrets",
        "list secrets",
        "create pods",
        "create pods/exec",
        "patch deployments.apps",
        "patch llmdeployments.inference.llm-d.io",
        "list llmdeployments.inference.llm-d.io",
        "impersonate users",
        "impersonate groups",
        "impersonate serviceaccounts",
        "impersonate serviceaccounts/default",
        "get serviceaccounts",
        "get serviceaccounts/firebreak-responder",
        "create serviceaccounts/token",
        "bind clusterroles.rbac.authorization.k8s.io",
        "escalate clusterroles.rbac.authorization.k8s.io",
        "create rolebindings.rbac.authorization.k8s.io",
        "update remediationpolicies.firebreak.dev",
        "delete remediationpolicies.firebreak.dev",
        "deletecollection incidents.firebreak.dev",
        "get configmaps",
        "create configmaps",
        "update leases.coordination.k8s.io",
        "list namespaces",
        "update namespaces",
        "list events.events.k8s.io",
    ] {
        let question: Vec<&str> = never.split(' ').chain(["--namespace", a]).collect();
        if may(&question).await {
            wrong.push(format!("may {never} in {a}"));
        }
    }
    for never in ["get secrets", "list pods", "update configmaps", "delete leases.coordination.k8s.io"] {
        let question: Vec<&str> = never.split(' ').chain(["--namespace", home]).collect();
        if may(&question).await {
            wrong.push(format!("may {never} in {home}"));
        }
    }
    let responder = ["impersonate", "serviceaccounts/firebreak-responder", "--namespace", a];
    if !may(&responder).await {
        wrong.push("may not impersonate firebreak-responder, so the questions are asked wrongly".to_owned());
    }
    assert!(wrong.is_empty(), "{user}: {wrong:#?}");
}

#[tokio::test]
async fn nobody_but_the_responder_can_be_impersonated() {
    let drill = Drill::new("s15-as").await;
    let _operator = drill.world.operator().start().await;
    let token = drill.world.token(&drill.world.operator_namespace, "firebreak").await;
    let as_user = async |user: String, group: Option<&str>| {
        let mut config = testbed().config().await;
        config.auth_info = AuthInfo {
            token: Some(token.clone().into()),
            impersonate: Some(user),
            impersonate_groups: group.map(|group| vec![group.to_owned()]),
            ..AuthInfo::default()
        };
        let client = Client::try_from(config).expect("a client");
        let maps = Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client, &drill.world.a);
        maps.list(&kube::api::ListParams::default()).await
    };
    let responder = format!("system:serviceaccount:{}:firebreak-responder", drill.world.a);
    as_user(responder.clone(), None).await.expect("the responder may list ConfigMaps");
    let account = |namespace: &str, name: &str| (format!("system:serviceaccount:{namespace}:{name}"), None);
    let (a, home) = (drill.world.a.as_str(), drill.world.operator_namespace.as_str());
    let others = [
        account(a, "default"),
        account(a, "firebreak-responder-2"),
        account(a, "firebreak"),
        account(home, "firebreak"),
        account("kube-system", "namespace-controller"),
        account("kube-system", "clusterrole-aggregation-controller"),
        ("system:admin".to_owned(), None),
        ("system:kube-controller-manager".to_owned(), None),
        ("system:node:node-0".to_owned(), None),
        ("firebreak-responder".to_owned(), None),
        ("alice".to_owned(), None),
        (responder, Some("system:masters")),
    ];
    for (user, group) in others {
        match as_user(user.clone(), group).await {
            Err(kube::Error::Api(status)) => assert_eq!(status.code, 403, "{user}: {}", status.message),
            answer => panic!("impersonating {user} {group:?} was answered {answer:?}"),
        }
    }
}

#[tokio::test]
async fn a_response_is_made_as_the_responder_and_asks_for_nothing_that_is_forbidden() {
    let drill = Drill::new("s15-response").await;
    let models = drill.models(2).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    drill.recover(&incident).await;
    models.assert_reverted().await;
    let responder = format!("system:serviceaccount:{}:firebreak-responder", drill.world.a);
    let home = &drill.world.operator_namespace;
    for each in operator.proxy.calls() {
        assert_ne!(each.client, Some(403), "forbidden: {each}");
        let target = &each.call.target;
        let is_its_own = match target.resource.as_str() {
            "" => true, // discovery
            "remediationpolicies" | "incidents" | "events" => true,
            "namespaces" => each.call.target.name == drill.world.a,
            "leases" | "configmaps" => target.namespace == *home,
            _ => false,
        };
        match &each.call.user {
            Some(user) => assert_eq!(*user, responder, "{each}"),
            None => assert!(is_its_own, "not as the responder: {each}"),
        }
    }
}
