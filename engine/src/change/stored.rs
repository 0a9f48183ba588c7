//! Changes as the previous release stored them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Change, Operation};
use crate::id::{ChangeId, TargetId};
use crate::reason::Reason;

/// The deletion of one pod as part of the change that needs it. It is read, and never written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodDeletion {
    /// The pod.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    name: String,
    /// Its uid.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    uid: String,
    /// When it was last asked for.
    sent_at: Timestamp,
    /// Why the API server said no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    refused: Option<String>,
}

/// Reads the changes of a status. A deletion that is stored within a change becomes an operation of its own.
pub(crate) fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<Change>, D::Error> {
    let mut changes = Vec::<Change>::deserialize(input)?;
    let mut operations = Vec::new();
    for change in &mut changes {
        let pods = change.work.loan_mut().map(|loan| std::mem::take(&mut loan.pods)).unwrap_or_default();
        operations.extend(pods.into_iter().map(|pod| operation(change, pod)));
    }
    changes.extend(operations);
    Ok(changes)
}

fn operation(loan: &Change, pod: PodDeletion) -> Change {
    let id = ChangeId::on_behalf_of(&loan.id, &pod.uid);
    let target = TargetId::pod(&loan.target.namespace, pod.name, pod.uid);
    let owner = loan.target.clone();
    let mut change = Change::operation(id, &loan.step, target, Operation::delete_pod(owner));
    change.intend_operation(pod.sent_at);
    if let Some(why) = pod.refused {
        change.request_came_to_nothing(Reason::Refused, why, pod.sent_at);
    }
    change
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::change::{Change, ChangeState, Delivery};
    use crate::incident::IncidentState;

    #[test]
    fn a_deletion_that_the_release_before_had_recorded_goes_on_as_an_operation() {
        let web = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "namespace": "llm", "name": "web", "uid": "u1"});
        let written = json!({"changes": [{
            "id": "5f2c0d6a1b3e4f70", "step": "cpu-fallback", "target": web, "state": "Applied", "round": 1,
            "joinedAt": "2026-03-01T10:00:00Z", "sentAt": "2026-03-01T10:00:00Z", "appliedAt": "2026-03-01T10:00:01Z",
            "base": "7", "inOrder": true,
            "pods": [
                {"name": "web-0", "uid": "p0", "sentAt": "2026-03-01T10:00:05Z"},
                {"name": "web-1", "uid": "p1", "sentAt": "2026-03-01T10:00:06Z", "refused": "the API server answered 403: no"},
            ],
            "fields": [{"path": "/spec/replicas", "before": 2, "after": 1, "owner": "flux/Apply"}],
        }]});
        let state: IncidentState = serde_json::from_value(written.clone()).unwrap();
        let [loan, first, second] = state.changes.as_slice() else { panic!("{:?}", state.changes) };
        assert!(loan.is_in_force() && loan.is_in_order());
        assert_eq!(state.in_force(), 1);
        let told = |deletion: &Change| {
            let operation = deletion.as_operation().unwrap();
            assert_eq!(
                (operation.delivery, &operation.on_behalf_of),
                (Delivery::Guarded, &Some(loan.target.clone()))
            );
            assert_eq!((deletion.step.as_str(), deletion.state), ("cpu-fallback", ChangeState::Intended));
            assert_eq!((deletion.round, deletion.tries), (1, 1));
            let sent = deletion.sent_at.unwrap().to_string();
            (deletion.target.to_string(), deletion.target.uid.clone(), sent, deletion.message.clone())
        };
        let refused = Some("the API server answered 403: no".to_owned());
        assert_eq!(told(first), ("Pod llm/web-0".into(), "p0".into(), "2026-03-01T10:00:05Z".into(), None));
        assert_eq!(
            told(second),
            ("Pod llm/web-1".into(), "p1".into(), "2026-03-01T10:00:06Z".into(), refused)
        );
        // The loan is stored as it was, and each operation on its own.
        let mut expected = written["changes"][0].clone();
        expected.as_object_mut().unwrap().remove("pods");
        let again = serde_json::to_value(&state).unwrap();
        assert_eq!(again["changes"][0], expected);
        assert_eq!(again["changes"][1]["kind"], "Operation");
        assert_eq!(serde_json::from_value::<IncidentState>(again).unwrap(), state);
    }

    #[test]
    fn an_operation_that_this_release_does_not_know_is_no_loan() {
        let change = json!({
            "id": "5f2c0d6a1b3e4f70", "step": "restart", "state": "Intended", "round": 1,
            "target": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "llm", "name": "web", "uid": "u1"},
            "kind": "Operation", "operation": "FromAnotherRelease", "delivery": "Guarded",
        });
        let read = serde_json::from_value::<IncidentState>(json!({"changes": [change]}));
        assert!(read.unwrap_err().to_string().contains("FromAnotherRelease"));
    }
}
