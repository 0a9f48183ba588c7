//! Performs the effects of a recorded decision.

use std::collections::BTreeMap;

use firebreak_engine::change::OperationType;
use firebreak_engine::decide::Decision;
use firebreak_engine::effect::{Effect, EffectId, Write};
use firebreak_engine::facts::{Brake, Outcome};
use futures::{StreamExt, stream};
use kube::{Client, ResourceExt};

use super::record::RecordedIncident;
use crate::actuator::{delete_pod, guarded_patch};
use crate::api::Incident;
use crate::controller::queue::Name;
use crate::controller::{Context, Operator};
use crate::kubernetes::discovery::ResolveError;
use crate::look::brake::BrakeReading;

/// Requests in flight, and the size of a batch; more would only queue on the API server.
const IN_FLIGHT: usize = 32;

/// Whether the brake stops what was decided.
pub fn is_for_the_brake(decision: &Decision) -> bool {
    !decision.effects.is_empty() && !decision.is_for_a_person()
}

/// Carries out every effect once, as the ServiceAccount, and returns the outcome of
/// each. Before each batch it checks the brake, and whether a person has decided otherwise in the meantime: then
/// the remaining changes are not sent, as when this process ends or does not lead any more. Only this process knows that, so
/// it is said here: a live read does not tell whether a revert of ours or a person has removed a record.
pub async fn act(
    operator: &Operator,
    account: &Client,
    recorded: &RecordedIncident,
    mut brake: Option<BrakeReading>,
) -> BTreeMap<EffectId, Outcome> {
    let context = &operator.context;
    let mut heard = BTreeMap::new();
    for batch in recorded.decision().effects.chunks(IN_FLIGHT) {
        if context.sends_no_more()
            || has_a_person_decided_since(operator, recorded.incident())
            || is_stopped(operator, recorded, brake.take()).await
        {
            tracing::info!(incident = recorded.incident().name_any(), "the remaining changes are not sent");
            break;
        }
        let outcomes: Vec<Option<(EffectId, Outcome)>> = stream::iter(batch.to_vec())
            .map(|effect| perform(context, account, effect))
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
        for (id, outcome) in outcomes.into_iter().flatten() {
            tracing::debug!(act = id.act.name(), change = %id.change, outcome = outcome.name(), "performed");
            heard.insert(id, outcome);
        }
    }
    for effect in &recorded.decision().effects {
        heard.entry(effect.id()).or_insert(Outcome::NotSent);
    }
    heard
}

/// Whether the brake stops the next batch. `read` was read while the decision was recorded.
async fn is_stopped(operator: &Operator, recorded: &RecordedIncident, read: Option<BrakeReading>) -> bool {
    if recorded.decision().is_for_a_person() {
        return false;
    }
    let reading = match read.filter(BrakeReading::is_fresh) {
        Some(reading) => reading,
        None => operator.brake.read().await,
    };
    reading.brake != Brake::Off
}

/// Whether the Incident was edited or deleted after the decision was made, as far as the watch shows, which
/// costs no request.
fn has_a_person_decided_since(operator: &Operator, incident: &Incident) -> bool {
    let name = Name::new(incident.namespace().unwrap_or_default(), incident.name_any());
    operator.incidents.object(&name).is_some_and(|seen| {
        seen.uid() == incident.uid() && seen.metadata.generation > incident.metadata.generation
    })
}

/// None if this process does not lead any more, so that nothing was sent.
async fn perform(context: &Context, account: &Client, effect: Effect) -> Option<(EffectId, Outcome)> {
    let target = &effect.target;
    let kind = context.discovery.resolve(&target.api_version, &target.kind).await;
    // Right before it is sent: the discovery of the kind may have taken long.
    if !context.leadership.leads() {
        return None;
    }
    let outcome = match kind {
        Ok(kind) => match &effect.write {
            Write::Patch(patch) => guarded_patch::send(account, &kind, target, patch).await,
            Write::Operation(request) => match request.operation {
                OperationType::DeletePod => delete_pod::send(account, &kind, target).await,
                // No policy can ask for it, and no cluster could handle it.
                OperationType::Rehearse => Outcome::NotSent,
                // It is a patch.
                OperationType::Restart => Outcome::NotSent,
            },
        },
        Err(error) => unresolved(&effect.write, &error),
    };
    Some((effect.id(), outcome))
}

/// What became of a write whose kind is not known, so that nothing was sent. Whether its object is gone is not known
/// either.
fn unresolved(write: &Write, error: &ResolveError) -> Outcome {
    match (write, error) {
        (Write::Operation(_), _) => Outcome::NotSent,
        (Write::Patch(_), ResolveError::NotFound { .. } | ResolveError::Malformed(_)) => {
            Outcome::Refused { code: 404, why: error.to_string(), fields: Vec::new() }
        }
        // To try again is safe.
        (Write::Patch(_), ResolveError::Unreachable { .. }) => Outcome::Throttled { after: None },
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::change::{Delivery, Request};

    use super::*;

    #[test]
    fn an_operation_whose_kind_is_not_served_was_not_sent() {
        let (operation, delivery) = (OperationType::DeletePod, Delivery::Guarded);
        let request = Request { operation, delivery, round: 1, number: 1, key: String::new() };
        let error = ResolveError::Malformed("v1/".to_owned());
        assert!(matches!(unresolved(&Write::Operation(request), &error), Outcome::NotSent));
    }
}
