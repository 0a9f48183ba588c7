//! A response that starts other pods, and its revert.

use std::{collections::BTreeSet, fs};

use kube::{ResourceExt, api::DynamicObject};

use crate::{
    node::{Node, measured},
    support::object::Object,
};

/// What the servers run with. Each of them says so itself.
async fn flags(node: &Node) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for pod in node.pods("serving", "app=chat").await {
        let answer = node.ask(&pod, 8000, "/flags").await.unwrap_or_else(|error| panic!("{error}"));
        all.push(serde_json::from_str(&answer).expect("a list"));
    }
    all
}

async fn pods(node: &Node) -> BTreeSet<String> {
    node.pods("serving", "app=chat").await.iter().map(ResourceExt::name_any).collect()
}

fn has_rolled_out(deployment: &DynamicObject) -> bool {
    let (status, generation) = (&deployment.data["status"], deployment.metadata.generation);
    status["observedGeneration"].as_i64() == generation
        && ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|count| status[*count] == 2)
        && status["terminatingReplicas"].as_i64().unwrap_or_default() == 0
}

fn incident(node: &Node) -> Object {
    node.site.object("firebreak.dev/v1alpha1", "Incident", Some("serving"), "chat-is-slow")
}

/// The batch size of a model server is a flag of its process.
pub async fn pods_roll_and_return(node: &Node) {
    for (file, text) in
        [("scene.yaml", include_str!("scene.yaml")), ("incident.yaml", include_str!("incident.yaml"))]
    {
        fs::write(node.site.clone.join(file), text).expect("a file");
    }
    node.site
        .type_in(
            "kubectl apply -f scene.yaml
            firebreak check -f scene.yaml | kubectl apply -f -
            kubectl rollout status deployment/chat -n serving --timeout=60s
            kubectl wait --for=condition=Ready rpol/chat-slow -n serving --timeout=60s",
        )
        .await;
    let chat = node.site.object("apps/v1", "Deployment", Some("serving"), "chat");
    let before = chat.snapshot().await;
    let first = pods(node).await;
    let with = |batch: &str| vec![vec!["--port=8000".to_owned(), format!("--max-num-seqs={batch}")]; 2];
    assert_eq!(flags(node).await, with("256"));

    let start = std::time::Instant::now();
    node.site.type_in("kubectl create -f incident.yaml").await;
    incident(node).wait_for_condition("Verified", "True").await;
    measured("from the Incident to its verification", format!("{:.1} s", start.elapsed().as_secs_f64()));
    chat.wait_until("has rolled out", has_rolled_out).await;
    assert_eq!(flags(node).await, with("8"));
    let second = pods(node).await;
    assert!(first.is_disjoint(&second), "{first:?}, {second:?}");

    let start = std::time::Instant::now();
    node.site.type_in("firebreak withdraw chat-is-slow -n serving").await;
    incident(node).wait_for_condition("Resolved", "True").await;
    measured("from the withdrawal to the end", format!("{:.1} s", start.elapsed().as_secs_f64()));
    chat.wait_until("has rolled out", has_rolled_out).await;
    assert_eq!(flags(node).await, with("256"));
    assert!(pods(node).await.is_disjoint(&second), "the old pods were started again");
    let after = chat.snapshot().await;
    assert_eq!(after.spec, before.spec, "exactly");
    assert_eq!(after.traces(), Vec::<&str>::new());
}
