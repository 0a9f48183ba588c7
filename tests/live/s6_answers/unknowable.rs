//! Where an outcome cannot be known, nothing is given up and a person is asked.

use serde_json::json;

use super::{healthy_ones, reads};
use crate::{
    drill::{self, Drill, Models, change_of, heartbeats, is_apply, is_return, is_stalled, message_of},
    support::{
        object::Object,
        operator::Operator,
        proxy::{Fault, Rule},
    },
};

const BROKEN: &str = "unknowable";

async fn begin(name: &str) -> (Drill, Models, Operator) {
    let drill = Drill::new(name).await;
    let models = drill.models_named(&["known", BROKEN]).await;
    let plan = drill.world.operator();
    let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
    (drill, models, operator)
}

async fn policy(drill: &Drill) -> Object {
    drill.policy_with(|spec| spec["steps"][0]["timeout"] = json!("5s")).await
}

/// Waits until a person is asked for this reason, and the message names the object.
async fn asks_a_person(incident: &Object, reason: &str) {
    let asked = incident.wait_until(reason, |incident| is_stalled(incident, reason)).await;
    let message = message_of(&asked, "Stalled");
    assert!(message.contains(BROKEN), "{incident}: the object is not named: {message}");
}

#[tokio::test]
async fn a_change_of_which_no_reply_and_no_read_arrives_is_held_and_is_undone_in_the_end() {
    let (drill, models, operator) = begin("s6-blind").await;
    operator.proxy.on(Rule::each(|call| is_apply(call, BROKEN), Fault::LoseReply));
    let policy = policy(&drill).await;
    // It can be listed until the change was sent.
    let (record, was_sent) = (operator.proxy.record(), |record: &crate::support::proxy::Record| {
        record.all().iter().any(|exchange| is_apply(&exchange.call, BROKEN))
    });
    operator.proxy.on(Rule::each(move |call| reads(call, BROKEN) && was_sent(&record), Fault::answer(500)));
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    asks_a_person(&incident, "OutcomeUnknown").await;
    for model in healthy_ones(&models, BROKEN) {
        let change = change_of(&incident.get().await, model.name()).clone();
        assert_eq!(change["state"], "Applied", "{incident}: {model}");
    }

    operator.proxy.forget_rules();
    drill.recover(&incident).await;
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_change_that_never_arrives_is_held_and_leaves_nothing_behind() {
    let (drill, models, operator) = begin("s6-dropped").await;
    operator.proxy.on(Rule::each(|call| is_apply(call, BROKEN), Fault::DropRequest));
    let policy = drill.policy().await;
    drill.ring().await;
    let incident = drill.world.incident_of(&policy).await;
    asks_a_person(&incident, "OutcomeUnknown").await;
    let sent = operator.proxy.calls().iter().filter(|exchange| is_apply(&exchange.call, BROKEN)).count();
    assert_eq!(sent, 3, "{incident}: three rounds, then a person");

    operator.proxy.forget_rules();
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
    models.assert_one_reverted(0, 0).await;
    let (model, before) = (&models.objects[1], &models.before[1]);
    let after = model.snapshot().await;
    assert_eq!(after.generation, before.generation, "{model}: its spec was never changed");
    drill::models::assert_no_trace(model, before, &after);
}

#[tokio::test]
async fn a_return_of_which_no_reply_and_no_read_arrives_stays_outstanding_until_it_is_seen() {
    let (drill, models, operator) = begin("s6-return").await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    operator.proxy.on(Rule::each(|call| is_return(call, BROKEN), Fault::LoseReply));
    let (record, was_sent) = (operator.proxy.record(), |record: &crate::support::proxy::Record| {
        record.all().iter().any(|exchange| is_return(&exchange.call, BROKEN))
    });
    operator.proxy.on(Rule::each(move |call| reads(call, BROKEN) && was_sent(&record), Fault::answer(500)));
    drill.hush().await;
    asks_a_person(&incident, "CannotPutBack").await;
    models.assert_one_reverted(0, 0).await;
    heartbeats(&operator, 5).await;
    let waiting = incident.get().await;
    assert_eq!(change_of(&waiting, BROKEN)["state"], "Reverting", "{incident}: {BROKEN}");

    operator.proxy.forget_rules();
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    assert_eq!(change_of(&resolved, BROKEN)["state"], "Reverted", "{incident}: {BROKEN}");
    models.assert_reverted().await;
}
