//! Records that say nothing about the current values of an object: what its Incident lists as ended, what a rollback has
//! restored without the label, and what a controller has copied to the objects that it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::id::{ChangeId, TargetId};
use firebreak_engine::undo::{self, INCIDENT, Loan, UNDO};
use serde_json::Value;

use crate::actuator::live_read::{self, Read, Scope};
use crate::cli::connection::Connection;
use crate::cli::screen::note;
use crate::workloads::controlling_owner;

/// Kinds whose controllers copy annotations to the objects that they own, and the kinds of those.
const COPIES: [(&str, &str); 3] = [
    ("Deployment", "ReplicaSet"),
    ("StatefulSet", "ControllerRevision"),
    ("DaemonSet", "ControllerRevision"),
];
const APPS: &str = "apps/v1";

/// A loan that is not in force.
#[derive(Debug, PartialEq)]
pub struct Leftover {
    /// The loan.
    pub loan: Loan,
    /// Why it says nothing about the current values, as a sentence without a period.
    pub why: String,
}

/// The loans that are not in force, and those that are. `ended` has the loans that have ended, by Incident.
pub fn sort(
    object: &Value,
    loans: Vec<Loan>,
    ended: &BTreeMap<String, BTreeSet<ChangeId>>,
) -> (Vec<Leftover>, Vec<Loan>) {
    let (mut leftovers, mut in_force) = (Vec::new(), Vec::new());
    for loan in loans {
        let (incident, _) = loan.incident.rsplit_once('/').unwrap_or((&loan.incident, ""));
        let has_ended = ended.get(&loan.incident).is_some_and(|ended| ended.contains(&loan.id));
        let why = if has_ended {
            format!(
                "according to Incident {incident}, the loan of step {} in this undo record has ended; a rollback \
                    may have restored the record",
                loan.step
            )
        } else if !undo::is_labelled(object, &loan) {
            format!(
                "the undo record of Incident {incident} is there without its label {INCIDENT}, so it is not in \
                    force; a rollback may have restored it"
            )
        } else {
            in_force.push(loan);
            continue;
        };
        leftovers.push(Leftover { loan, why });
    }
    (leftovers, in_force)
}

/// Names the copies of undo records that the controller of the object has left on the objects that it owns.
pub async fn name_copies(connection: &Connection, target: &TargetId) {
    let copied_to = COPIES.into_iter().find(|(kind, _)| target.api_version == APPS && target.kind == *kind);
    let Some((_, kind)) = copied_to else { return };
    // Nobody has asked for them, so what cannot be listed is not worth an error.
    let Ok(kind) = connection.discovery.resolve(APPS, kind).await else { return };
    let scope = Scope { namespace: &target.namespace, labels: "", fields: "" };
    let keep = |object: Arc<Value>| is_copy(&object, target).then(|| name_of(&object)).flatten();
    let Read::Found(names) = live_read::list(&connection.client, &kind, scope, &keep).await else { return };
    for name in names {
        let copy = TargetId { kind: kind.resource.kind.clone(), name, ..target.clone() };
        note(&format!(
            "{copy} has a copy of an undo record, which is not in force; `{} --forget` drops it",
            copy.undo_command()
        ));
    }
}

/// Whether the object has a record, and the target controls it.
fn is_copy(object: &Value, target: &TargetId) -> bool {
    undo::annotation(object, UNDO).is_some()
        && controlling_owner(object).is_some_and(|owner| owner.uid == target.uid)
}

fn name_of(object: &Value) -> Option<String> {
    object.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn loan(step: &str) -> Loan {
        Loan {
            id: ChangeId::of("i", step, "u"),
            incident: "serving/outage/i".to_owned(),
            step: step.to_owned(),
            uid: "u".to_owned(),
            api_version: APPS.to_owned(),
            applied_at: None,
            fields: Vec::new(),
        }
    }

    fn steps<'a>(loans: impl Iterator<Item = &'a Loan>) -> Vec<&'a str> {
        loans.map(|loan| loan.step.as_str()).collect()
    }

    #[test]
    fn a_loan_is_in_force_with_its_label_and_as_long_as_its_incident_does_not_list_it_as_ended() {
        let labelled = json!({"metadata": {"labels": {INCIDENT: "i"}}});
        let loans = || vec![loan("one"), loan("two")];
        let ended = BTreeMap::from([("serving/outage/i".to_owned(), BTreeSet::from([loan("one").id]))]);
        let (leftovers, in_force) = sort(&labelled, loans(), &ended);
        assert_eq!(steps(leftovers.iter().map(|leftover| &leftover.loan)), ["one"]);
        assert_eq!(steps(in_force.iter()), ["two"]);
        assert!(leftovers[0].why.contains("has ended"), "{}", leftovers[0].why);

        for other in [json!({}), json!({"metadata": {"labels": {INCIDENT: "another"}}})] {
            let (leftovers, in_force) = sort(&other, loans(), &BTreeMap::new());
            assert_eq!((leftovers.len(), in_force.len()), (2, 0), "{other}");
            assert!(leftovers[0].why.contains("without its label"), "{}", leftovers[0].why);
        }
    }

    #[test]
    fn a_copy_is_on_an_object_that_the_target_controls() {
        let target = TargetId {
            api_version: APPS.to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "serving".to_owned(),
            name: "chat".to_owned(),
            uid: "u".to_owned(),
        };
        let owned_by = |uid: &str| json!([{"apiVersion": APPS, "kind": "Deployment", "name": "chat", "uid": uid, "controller": true}]);
        let object = |owner: &str, annotations: Value| json!({"metadata": {"name": "chat-1", "ownerReferences": owned_by(owner), "annotations": annotations}});
        assert!(is_copy(&object("u", json!({UNDO: "{}"})), &target));
        assert!(!is_copy(&object("u", json!({})), &target));
        assert!(!is_copy(&object("another", json!({UNDO: "{}"})), &target));
    }
}
