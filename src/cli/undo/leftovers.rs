//! Records that say nothing about the current values of an object: what its Incident lists as ended, what a rollback has
//! restored without the label, and what a controller has copied to the objects that it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::change::FieldChange;
use firebreak_engine::id::{ChangeId, TargetId, group};
use firebreak_engine::undo::{self, BadRecord, INCIDENT, Loan, UNDO};
use serde_json::Value;

use crate::actuator::live_read::{self, Read, Scope};
use crate::cli::connection::Connection;
use crate::cli::screen::note;
use crate::workloads::{Owner, controlling_owner};

/// Kinds whose controllers copy annotations to the objects that they own, with their groups, and the kinds of those.
const COPIES: [(&str, &str, &str); 5] = [
    (APPS, "Deployment", "ReplicaSet"),
    ("argoproj.io", "Rollout", "ReplicaSet"),
    (APPS, "StatefulSet", "ControllerRevision"),
    (APPS, "DaemonSet", "ControllerRevision"),
    ("leaderworkerset.x-k8s.io", "LeaderWorkerSet", "StatefulSet"),
];
/// The group of all kinds that get such copies.
const APPS: &str = "apps";

/// The kind of the objects to which the controller of this one copies annotations.
fn copied_to(target: &TargetId) -> Option<&'static str> {
    let group = group(&target.api_version);
    let found = COPIES.iter().find(|(of, kind, _)| (*of, *kind) == (group, target.kind.as_str()));
    found.map(|(_, _, copy)| *copy)
}

/// A loan that is not in force.
#[derive(Debug, PartialEq)]
pub struct Leftover {
    /// The loan.
    pub loan: Loan,
    /// Why it says nothing about the current values, as a sentence without a period.
    pub why: String,
}

/// What the Incidents of some loans say about them.
#[derive(Debug, Default)]
pub struct Journals {
    /// What their closed Incidents list as ended.
    pub ended: BTreeSet<ChangeId>,
    /// What their open Incidents list as in force, or as possibly in force, with its fields.
    pub outstanding: BTreeMap<ChangeId, Vec<FieldChange>>,
}

impl Journals {
    /// The loan with the values that the API server stored. Where admission stored another value than was sent and the
    /// record cannot be corrected without a restart of pods, only the Incident knows it.
    fn as_stored(&self, mut loan: Loan) -> Loan {
        let known = self.outstanding.get(&loan.id).map_or(&[][..], Vec::as_slice);
        for field in &mut loan.fields {
            if let Some(known) = known.iter().find(|known| known.path == field.path) {
                field.after.clone_from(&known.after);
            }
        }
        loan
    }
}

/// The loans that are not in force, and those that are. An open Incident that lists a loan counts more than a label,
/// which can get lost.
pub fn sort(object: &Value, loans: Vec<Loan>, journals: &Journals) -> (Vec<Leftover>, Vec<Loan>) {
    let (mut leftovers, mut in_force) = (Vec::new(), Vec::new());
    for loan in loans {
        let (incident, _) = loan.incident.rsplit_once('/').unwrap_or((&loan.incident, ""));
        let why = if journals.ended.contains(&loan.id) {
            format!(
                "according to Incident {incident}, the loan of step {} in this undo record has ended; a rollback \
                    may have restored the record",
                loan.step
            )
        } else if !undo::is_labelled(object, &loan) && !journals.outstanding.contains_key(&loan.id) {
            format!(
                "the undo record of Incident {incident} is there without its label {INCIDENT}, so it is not in \
                    force; a rollback may have restored it"
            )
        } else {
            in_force.push(journals.as_stored(loan));
            continue;
        };
        leftovers.push(Leftover { loan, why });
    }
    (leftovers, in_force)
}

/// Names the copies of undo records that the controller of the object has left on the objects that it owns.
pub async fn name_copies(connection: &Connection, target: &TargetId) {
    let Some(kind) = copied_to(target) else { return };
    // Nobody has asked for them, so what cannot be listed is not worth an error.
    let Ok(kind) = connection.discovery.resolve(&format!("{APPS}/v1"), kind).await else { return };
    let scope = Scope { namespace: &target.namespace, labels: "", fields: "" };
    let keep = |object: Arc<Value>| is_copy(&object, target).then(|| name_of(&object)).flatten();
    let Read::Found(names) = live_read::list(&connection.client, &kind, scope, &keep).await else { return };
    for name in names {
        let api_version = kind.resource.api_version.clone();
        let copy = TargetId { api_version, kind: kind.resource.kind.clone(), name, ..target.clone() };
        note(&format!(
            "{copy} has a copy of an undo record, which is not in force; `{} --forget` drops it",
            copy.undo_command()
        ));
    }
}

/// Whether the object has a record that was not copied from another object.
pub fn has_its_own(object: &Value) -> bool {
    undo::annotation(object, UNDO).is_some()
        && !matches!(undo::record(object), Err(BadRecord::OfAnotherObject(_)))
}

/// The object whose record this one has, if that is the one that controls it. KEDA, for example, copies labels and
/// annotations of a ScaledObject to its HorizontalPodAutoscaler.
pub fn original(object: &Value, copy: &TargetId, error: &BadRecord) -> Option<TargetId> {
    let BadRecord::OfAnotherObject(original) = error else { return None };
    let Owner { api_version, kind, name, uid } = controlling_owner(object)?;
    (uid == *original).then(|| TargetId { api_version, kind, name, uid, namespace: copy.namespace.clone() })
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
            api_version: "apps/v1".to_owned(),
            applied_at: None,
            fields: Vec::new(),
        }
    }

    #[test]
    fn copies_are_looked_for_where_the_controller_of_the_kind_makes_them() {
        let of = |api_version: &str, kind: &str| {
            let text = |text: &str| text.to_owned();
            let (api_version, kind, namespace) = (text(api_version), text(kind), text("serving"));
            copied_to(&TargetId { api_version, kind, namespace, name: text("chat"), uid: text("u") })
        };
        assert_eq!(of("apps/v1", "Deployment"), Some("ReplicaSet"));
        assert_eq!(of("argoproj.io/v1alpha1", "Rollout"), Some("ReplicaSet"));
        assert_eq!(of("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet"), Some("StatefulSet"));
        assert_eq!(of("example.com/v1", "Deployment"), None);
        assert_eq!(of("v1", "Node"), None);
    }

    fn steps<'a>(loans: impl Iterator<Item = &'a Loan>) -> Vec<&'a str> {
        loans.map(|loan| loan.step.as_str()).collect()
    }

    #[test]
    fn a_loan_is_in_force_with_its_label_and_as_long_as_its_incident_does_not_list_it_as_ended() {
        let labelled = json!({"metadata": {"labels": {INCIDENT: "i"}}});
        let loans = || vec![loan("one"), loan("two")];
        let journals = Journals { ended: BTreeSet::from([loan("one").id]), ..Journals::default() };
        let (leftovers, in_force) = sort(&labelled, loans(), &journals);
        assert_eq!(steps(leftovers.iter().map(|leftover| &leftover.loan)), ["one"]);
        assert_eq!(steps(in_force.iter()), ["two"]);
        assert!(leftovers[0].why.contains("has ended"), "{}", leftovers[0].why);

        for other in [json!({}), json!({"metadata": {"labels": {INCIDENT: "another"}}})] {
            let (leftovers, in_force) = sort(&other, loans(), &Journals::default());
            assert_eq!((leftovers.len(), in_force.len()), (2, 0), "{other}");
            assert!(leftovers[0].why.contains("without its label"), "{}", leftovers[0].why);

            // The label can get lost while the Incident is open.
            let outstanding = BTreeMap::from([(loan("two").id, Vec::new())]);
            let journals = Journals { outstanding, ..Journals::default() };
            let (leftovers, in_force) = sort(&other, loans(), &journals);
            assert_eq!(steps(leftovers.iter().map(|leftover| &leftover.loan)), ["one"]);
            assert_eq!(steps(in_force.iter()), ["two"]);
        }
    }

    #[test]
    fn what_admission_stored_in_place_of_the_value_that_was_sent_is_in_the_journal() {
        let of = |after: &str, owner: &str| -> FieldChange {
            serde_json::from_value(
                json!({"path": "/spec/tier", "before": "gold", "after": after, "owner": owner}),
            )
            .unwrap()
        };
        let labelled = json!({"metadata": {"labels": {INCIDENT: "i"}}});
        let lent = Loan { fields: vec![of("bronze", "flux/Apply")], ..loan("one") };
        let after = |outstanding| {
            let journals = Journals { outstanding, ..Journals::default() };
            let (_, in_force) = sort(&labelled, vec![lent.clone()], &journals);
            in_force[0].fields.clone()
        };
        assert_eq!(after(BTreeMap::new()), [of("bronze", "flux/Apply")]);
        let journal = BTreeMap::from([(lent.id.clone(), vec![of("silver", "another")])]);
        assert_eq!(after(journal), [of("silver", "flux/Apply")], "only the value is the journal's");
    }

    #[test]
    fn the_original_of_a_copy_is_the_object_that_controls_it() {
        let record = json!({"v": 1, "loans": [loan("one")]}).to_string();
        let owned_by = |uid: &str| json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": uid, "controller": true}]);
        let hpa = |owner: &str, uid: &str| {
            json!({"metadata": {"name": "keda-hpa-queue", "uid": uid,
            "ownerReferences": owned_by(owner), "annotations": {UNDO: record.clone()}}})
        };
        let id = TargetId {
            api_version: "autoscaling/v2".to_owned(),
            kind: "HorizontalPodAutoscaler".to_owned(),
            namespace: "serving".to_owned(),
            name: "keda-hpa-queue".to_owned(),
            uid: "h".to_owned(),
        };
        let original = |object: &Value| {
            let found = original(object, &id, &undo::record(object).unwrap_err())?;
            Some(found.undo_command())
        };
        assert_eq!(original(&hpa("u", "h")).as_deref(), Some("firebreak undo scaledobject/queue -n serving"));
        assert_eq!(original(&hpa("another", "h")), None);
        assert!(!has_its_own(&hpa("u", "h")));
        assert!(has_its_own(&hpa("another", "u")));
        assert!(!has_its_own(&json!({"metadata": {"uid": "u"}})));
    }

    #[test]
    fn a_copy_is_on_an_object_that_the_target_controls() {
        let target = TargetId {
            api_version: "apps/v1".to_owned(),
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
