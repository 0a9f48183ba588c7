//! Malformed input costs one condition or one reason, and affects nothing else.

mod expressions;
mod records;
mod targets;
mod undecodable;

use serde_json::Value;

use crate::{
    drill::{Drill, Models, change_of},
    support::{object::Object, operator::Operator},
};

/// A response to a model that is valid, and to others that are not.
struct Response {
    drill: Drill,
    operator: Operator,
    policy: Object,
    good: Models,
}

impl Response {
    /// The model `good` and the operator, before the emergency.
    async fn prepare(name: &str) -> Self {
        Self::prepare_with(name, |_| {}).await
    }

    async fn prepare_with(name: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let drill = Drill::new(name).await;
        let good = drill.models_named(&["good"]).await;
        let operator = drill.world.operator().start().await;
        let policy = drill.policy_with(edit).await;
        Self { drill, operator, policy, good }
    }

    /// Rings, and waits until the good one has fallen back. The others are left alone, and
    /// the Incident has the reason and the message for each.
    async fn skips(&self, others: &Models, reason: &str, words: &[&str]) -> Object {
        let incident = self.drill.respond(&self.policy).await;
        for (number, model) in others.objects.iter().enumerate() {
            let seen = incident
                .wait_until(&format!("{model} is Skipped"), |incident| {
                    change_of(incident, model.name())["state"] == "Skipped"
                })
                .await;
            let change = change_of(&seen, model.name());
            assert_eq!(change["reason"], reason, "{incident}: {model}: {change}");
            let message = change["message"].as_str().unwrap_or_default();
            for word in words {
                assert!(message.contains(word), "{incident}: {model}: no {word} in {message:?}");
            }
            others.assert_untouched(number).await;
        }
        incident
    }

    /// Ends the emergency: the good one is reverted, the others were never changed.
    async fn end(&self, incident: &Object, others: &Models) {
        self.drill.recover(incident).await;
        self.good.assert_reverted().await;
        for number in 0..others.objects.len() {
            others.assert_untouched(number).await;
        }
        assert!(self.operator.is_running(), "the operator exited");
    }
}
