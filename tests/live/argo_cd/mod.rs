//! Whoever writes a policy learns in quiet times which of its objects Argo CD applies, and what their Applications lack.

mod check;

use http::Method;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, heartbeats, message_of, targets},
    support::{
        object::{Object, condition},
        operator::Operator,
        proxy::{Call, Fault, Rule},
    },
};

/// A field manager of Argo CD.
const MANAGER: &str = "argocd-controller";

/// A healthy model that this manager applies, with something in its metadata.
async fn model(drill: &Drill, manager: &str, name: &str, edit: impl FnOnce(&mut Value)) -> Object {
    let mut document = drill::models::document(&drill.world, name);
    edit(&mut document["metadata"]);
    let model = drill.world.apply(manager, &document.to_string()).await.remove(0);
    drill::models::serve(&model).await;
    model
}

/// Models that Argo CD tracks in every way, and one that it does not apply: it has the copy of an annotation.
async fn models(drill: &Drill, application: impl Fn(&str) -> String) -> Vec<Object> {
    let kind = "inference.llm-d.io/LLMDeployment";
    let annotate = |name: &'static str, of: &'static str| {
        let id = format!("{}:{kind}:{}/{of}", application(name), drill.world.a);
        move |metadata: &mut Value| metadata["annotations"]["argocd.argoproj.io/tracking-id"] = json!(id)
    };
    let label = |name: &'static str, key: &'static str| {
        let instance = application(name);
        move |metadata: &mut Value| metadata["labels"][key] = json!(instance)
    };
    let instance = "app.kubernetes.io/instance";
    vec![
        model(drill, "flux", "annotated", annotate("annotated", "annotated")).await,
        model(drill, MANAGER, "labelled", label("labelled", instance)).await,
        model(drill, "flux", "alone", label("alone", instance)).await,
        model(drill, "flux", "copied", annotate("copied", "another")).await,
    ]
}

/// None of the models is ill, so that no step would change one now.
fn only_ill_models(spec: &mut Value) {
    targets(spec)["where"] = json!("!healthy");
}

fn lists_models(call: &Call) -> bool {
    call.method == Method::GET && call.target.resource == "llmdeployments" && !call.is_watch()
}

fn lists_of_models(operator: &Operator) -> usize {
    operator.proxy.calls().iter().filter(|each| lists_models(&each.call)).count()
}

/// Nobody has written the object since.
fn assert_is_the_same(now: &kube::api::DynamicObject, known: &kube::api::DynamicObject) {
    assert_eq!(now.data["status"], known.data["status"]);
    assert_eq!(now.resource_version(), known.resource_version());
}

#[tokio::test]
async fn an_accepted_policy_says_once_which_objects_argo_cd_applies() {
    let drill = Drill::new("argo-accepted").await;
    let models = models(&drill, str::to_owned).await;
    let operator = drill.quick_operator().await;
    let policy = drill.policy_with(only_ill_models).await;
    let warns = |policy: &kube::api::DynamicObject| message_of(policy, "Accepted").contains("Argo CD");
    let warned = policy.wait_until("warns", warns).await;
    let a = &drill.world.a;
    let expected = format!(
        "Argo CD applies 2 (LLMDeployment {a}/annotated, LLMDeployment {a}/labelled) and possibly 1 (LLMDeployment \
         {a}/alone), and may restore its own values there at once: `firebreak check --cluster -f FILE`"
    );
    assert!(
        message_of(&warned, "Accepted").contains(&expected),
        "{policy}: {}",
        message_of(&warned, "Accepted")
    );
    assert_eq!((condition(&warned, "Accepted"), condition(&warned, "Ready")), (Some("True"), Some("True")));

    // From then on nothing is read and nothing is written.
    heartbeats(&operator, 1).await;
    let (known, lists) = (policy.get().await, lists_of_models(&operator));
    assert_eq!(lists, 2, "one in each namespace");
    heartbeats(&operator, 5).await;
    assert_eq!(lists_of_models(&operator), lists, "{policy}: read again and again");
    assert_is_the_same(&policy.get().await, &known);

    // Nor because another process does not know yet what this one has told.
    operator.restart();
    operator.proxy.wait_for_nth(2 * lists, "listed again", |each| lists_models(&each.call)).await;
    heartbeats(&operator, 2).await;
    assert_is_the_same(&policy.get().await, &known);

    // A policy that changes other objects says something else.
    policy.merge("flux", json!({"spec": {"steps": null}})).await;
    policy.wait_until("warns no more", |policy| !warns(policy)).await;
    for model in models {
        assert_eq!(model.get().await.metadata.generation, Some(1), "{model} was changed");
    }
}

#[tokio::test]
async fn a_policy_whose_objects_cannot_be_listed_is_accepted_and_says_nothing_of_them() {
    let drill = Drill::new("argo-unread").await;
    models(&drill, str::to_owned).await;
    let operator = drill.quick_operator().await;
    operator.proxy.on(Rule::each(lists_models, Fault::answer(403)));
    let policy = drill.policy_with(only_ill_models).await;
    operator.proxy.wait_for("refused", |each| lists_models(&each.call) && each.client == Some(403)).await;
    heartbeats(&operator, 2).await;
    let seen = policy.get().await;
    assert_eq!(condition(&seen, "Accepted"), Some("True"), "{policy}");
    assert_eq!((message_of(&seen, "Accepted"), condition(&seen, "Ready")), ("", Some("True")), "{policy}");
}
