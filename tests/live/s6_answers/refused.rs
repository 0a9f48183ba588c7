//! A rejection is believed, and the step waits for a person.

use serde_json::json;

use crate::{
    drill::{self, Drill, change_of, is_apply, is_stalled, message_of},
    support::proxy::{Fault, Rule},
};

#[tokio::test]
async fn a_change_that_the_server_refuses_is_failed_and_the_step_is_held() {
    let drill = Drill::new("s6-refused").await;
    let models = drill.models_named(&["allowed", "refused"]).await;
    let operator = drill.world.operator().start().await;
    operator.proxy.on(Rule::each(|call| is_apply(call, "refused"), Fault::answer(422)));
    let policy = drill.policy_with(|spec| spec["steps"][0]["retries"] = json!(1)).await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    let held = incident.wait_until("Held", |incident| is_stalled(incident, "StepFailed")).await;
    let message = message_of(&held, "Stalled");
    for word in ["refused", "422", "firebreak withdraw"] {
        assert!(message.contains(word), "{incident}: no {word} in {message:?}");
    }
    assert_eq!(held.data["status"]["phase"], "Held", "{incident}");
    assert_eq!(change_of(&held, "refused")["state"], "Failed", "{incident}");
    // Whether its check was already evaluated is a matter of milliseconds.
    let allowed = &change_of(&held, "allowed")["state"];
    assert!(["Applied", "Verified"].contains(&allowed.as_str().unwrap_or("-")), "{incident}: {allowed}");
    let sent = operator.proxy.calls().iter().filter(|each| is_apply(&each.call, "refused")).count();
    assert_eq!(sent, 2, "{incident}: refused: once, and one retry");

    // Recovery works while it is Held.
    drill.recover(&incident).await;
    models.assert_one_reverted(0, 0).await;
    let (model, before) = (&models.objects[1], &models.before[1]);
    let after = model.snapshot().await;
    assert_eq!(after.generation, before.generation, "{model}: its spec was never changed");
    drill::models::assert_no_trace(model, before, &after);
}
