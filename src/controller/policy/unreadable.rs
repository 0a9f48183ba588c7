//! Incidents of a policy that do not decode: written by another release, or damaged.
//!
//! # Guarantees
//! Such an Incident counts as open, unless its status says when it was closed: whether its response goes on is not known,
//! so its policy opens no other one. The policy says so.

use firebreak_engine::decide_policy::{IncidentFact, PolicyDecision, PolicyReason, says};
use firebreak_engine::verdict::Verdict;
use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::{Map, Value};

use crate::api::condition::ConditionType;
use crate::api::{Incident, IncidentSpec, IncidentStatus, PolicyRef};
use crate::kubernetes::guarded::Guarded;

/// What its policy has to know about an Incident, in its status.
const NEEDED: [&str; 4] = ["policy", "awaitedPolicy", "closing", "resolvedAt"];

/// An open Incident that does not decode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    name: String,
    why: String,
}

/// The Incident, or as much of it as can be read, which is then noted.
pub(super) fn read(found: Guarded<Incident>, unreadable: &mut Vec<Unreadable>) -> Incident {
    match found {
        Guarded::Decoded(incident) => *incident,
        Guarded::Undecodable { raw, why } => {
            let incident = what_can_be_read(*raw);
            if !incident.is_closed() {
                unreadable.push(Unreadable { name: incident.name_any(), why });
            }
            incident
        }
    }
}

fn what_can_be_read(raw: DynamicObject) -> Incident {
    let policy = raw.data.pointer("/spec/policyRef/name").and_then(Value::as_str);
    let spec = IncidentSpec {
        policy_ref: policy.map(|name| PolicyRef { name: name.to_owned() }),
        ..IncidentSpec::default()
    };
    let mut status = IncidentStatus::default();
    let mut kept = Map::new();
    for field in NEEDED {
        let Some(value) = raw.data["status"].get(field) else { continue };
        kept.insert(field.to_owned(), value.clone());
        match serde_json::from_value(Value::Object(kept.clone())) {
            Ok(with) => status = with,
            Err(_) => drop(kept.remove(field)),
        }
    }
    let mut incident = Incident::new(&raw.name_any(), spec);
    incident.metadata = raw.metadata;
    incident.status = Some(status);
    incident
}

/// Takes an Incident that does not decode for one that waits for this policy. It starts nothing and records nothing, so
/// a policy without a state would wait for ever until it did.
pub(super) fn excuse(incidents: &mut [IncidentFact], unreadable: &[Unreadable], policy: &str) {
    let is_unreadable = |incident: &&mut IncidentFact| unreadable.iter().any(|one| one.name == incident.name);
    incidents.iter_mut().filter(is_unreadable).for_each(|incident| incident.knows = Some(policy.to_owned()));
}

/// Says with the policy which of its Incidents cannot be read, if the claim of the policy is about it.
pub(super) fn say(decision: &mut PolicyDecision, unreadable: &[Unreadable], namespace: &str) {
    let claimed = decision.next.active_incident.as_ref().map(|active| &active.name);
    let Some(Unreadable { name, why }) = unreadable.iter().find(|found| Some(&found.name) == claimed) else {
        return;
    };
    let text = format!(
        "Incident {name} cannot be read: {why}. Whether its response goes on is not known, so this policy opens no other \
         Incident. Run the release of Firebreak that wrote it, or correct it with `kubectl edit incident {name} \
         -n {namespace}`, its status with `--subresource=status`"
    );
    let reason = PolicyReason::IncidentUnreadable;
    for (type_, status, reason, text) in [
        (ConditionType::Ready, Verdict::False, reason, text.as_str()),
        (ConditionType::Reconciling, Verdict::False, PolicyReason::NoPersonNeeded, ""),
        (ConditionType::Stalled, Verdict::True, reason, text.as_str()),
    ] {
        let told = says(type_.name(), status, reason, text);
        match decision.conditions.iter_mut().find(|condition| condition.type_ == told.type_) {
            Some(condition) => *condition = told,
            None => decision.conditions.push(told),
        }
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::decide_policy::ActiveIncident;
    use serde_json::json;

    use super::*;
    use crate::controller::policy::translate;

    /// An Incident of the policy `p` with a time in its status that no program can hold.
    fn damaged(status: &Value) -> (Incident, Vec<Unreadable>) {
        let mut raw = json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": "i", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-03-01T10:00:00Z",
                "annotations": {"firebreak.dev/nonce": "n"}},
            "spec": {"policyRef": {"name": "p"}},
            "status": {"openedAt": "9999-12-31T23:59:59Z", "policy": {"name": "p", "uid": "of-p", "generation": 1,
                "serviceAccount": "sa"}},
        });
        raw["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        let mut unreadable = Vec::new();
        let incident = read(serde_json::from_value(raw).unwrap(), &mut unreadable);
        (incident, unreadable)
    }

    #[test]
    fn an_incident_that_does_not_decode_counts_as_open_and_is_told() {
        let (incident, unreadable) = damaged(&json!({}));
        let fact = translate::incident(&incident);
        assert_eq!((fact.uid.as_str(), fact.nonce.as_deref(), fact.had_claim), ("u", Some("n"), true));
        assert!(!fact.is_closed() && unreadable.len() == 1);

        let new = "uid-of-a-new-policy";
        let (other, _) = damaged(&json!({"policy": null}));
        let mut facts = [translate::incident(&other)];
        assert!(facts[0].is_unaware_of(new));
        excuse(&mut facts, &unreadable, new);
        assert!(!facts[0].is_unaware_of(new), "a new policy does not wait for it");

        let mut decision = PolicyDecision::default();
        say(&mut decision, &unreadable, "ns");
        assert!(decision.conditions.is_empty(), "the claim is about no Incident");
        let active = ActiveIncident { name: "i".to_owned(), nonce: None, uid: None, revoked: false };
        decision.next.active_incident = Some(active);
        say(&mut decision, &unreadable, "ns");
        let told: Vec<_> =
            decision.conditions.iter().map(|condition| (condition.type_, condition.status)).collect();
        let expected =
            [("Ready", Verdict::False), ("Reconciling", Verdict::False), ("Stalled", Verdict::True)];
        assert_eq!(told, expected);
        assert!(decision.conditions[2].message.contains("kubectl edit incident i -n ns"));
    }

    #[test]
    fn one_that_was_closed_stays_closed_and_what_else_cannot_be_read_is_left_out() {
        let (incident, unreadable) =
            damaged(&json!({"resolvedAt": "2026-03-01T11:00:00Z", "closing": "FromAnotherRelease"}));
        let fact = translate::incident(&incident);
        assert!(fact.is_closed() && fact.closing.is_none() && unreadable.is_empty());
    }
}
