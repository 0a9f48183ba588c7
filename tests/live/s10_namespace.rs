//! The namespace of a policy is deleted in the middle of an emergency: with the policy, its Incident and its
//! ServiceAccount. The deletion completes, and changes elsewhere are reverted.

use std::time::{Duration, Instant};

use kube::ResourceExt;

use crate::{
    drill::{self, Drill, Models, is_return, models::fallen_spec},
    support::{
        object::{Object, PATIENCE},
        operator::Operator,
        proxy::{Fault, Rule},
    },
};

/// How long the revert is retried.
const LETS_GO: Duration = Duration::from_secs(120);

/// A response that has changed a model in the first namespace and one, `elsewhere`, in the second.
struct Response {
    drill: Drill,
    elsewhere: Models,
    operator: Operator,
}

async fn begin(name: &str) -> Response {
    let drill = Drill::new(name).await;
    // With permissions that are not deleted with the namespace; the others are covered by a story of the engine.
    drill.world.grant_everywhere(&drill::rights()).await;
    let models = drill.models(1).await;
    let elsewhere = drill::models::manifest("elsewhere").replace("${a}", "${b}");
    let elsewhere = drill.world.apply("flux", &elsewhere).await;
    drill::models::serve(&elsewhere[0]).await;
    let elsewhere = Models::of(elsewhere).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    drill.respond(&policy).await;
    models.wait_until_fallen().await;
    elsewhere.wait_until_fallen().await;
    Response { drill, elsewhere, operator }
}

#[tokio::test]
async fn a_namespace_that_is_deleted_ends_and_what_is_elsewhere_is_reverted() {
    let Response { drill, elsewhere, operator: _operator } = begin("s10-namespace").await;
    drill.world.kubectl(&["delete", "namespace", &drill.world.a, "--timeout=60s"]).await;
    Object::new(&drill.world.client, "v1", "Namespace", None, &drill.world.a).wait_until_gone().await;
    elsewhere.assert_reverted().await;
}

/// As when the rights went with the namespace. Firebreak lets go, and the record on the object says how to put it
/// back.
#[tokio::test]
async fn a_namespace_that_is_deleted_ends_although_the_way_back_of_what_is_elsewhere_is_refused() {
    let Response { drill, elsewhere, operator } = begin("s10-let-go").await;
    let (world, object, before) = (&drill.world, &elsewhere.objects[0], &elsewhere.before[0]);
    let in_force = object.snapshot().await;
    let refused = operator.proxy.on(Rule::each(|call| is_return(call, "elsewhere"), Fault::answer(403)));
    let incident = drill.incidents().await.remove(0);
    let incident = world.incident(&incident.name_any());
    let deleted = Instant::now();
    world.kubectl(&["delete", "namespace", &world.a, "--wait=false"]).await;
    incident.wait_until("asks a person", |seen| drill::is_stalled(seen, "CannotPutBack")).await;

    // Not at once, because rights can be restored.
    incident.wait_until_gone_within(LETS_GO + PATIENCE).await;
    let took = deleted.elapsed();
    assert!(took > LETS_GO - Duration::from_secs(2), "{incident}: let go after {took:?}");
    assert!(refused.count() > 1, "{incident}: it was not tried again");
    Object::new(&world.client, "v1", "Namespace", None, &world.a).wait_until_gone().await;

    let note = object.wait_for_event("FirebreakLetGo").await;
    let command = format!("firebreak undo llmdeployment/elsewhere -n {}", world.b);
    assert!(note.contains(&command), "{object}: {note}");
    let events = world.list("events.k8s.io/v1", "Event", &world.b).await;
    let let_go: Vec<_> = events.iter().filter(|event| event.data["reason"] == "FirebreakLetGo").collect();
    assert_eq!(let_go.len(), 1, "{object}: told once");
    assert_eq!(let_go[0].data["type"], "Warning", "{object}");
    let left = object.snapshot().await;
    assert_eq!(left.spec, fallen_spec(&before.spec), "{object}: as the response left it");
    assert_eq!(left.version, in_force.version, "{object}: the record stays as it was");
    assert!(left.traces().contains(&"firebreak.dev/undo"), "{object}: {:?}", left.traces());
}
