//! The write of an operation that sets a value in its object and leaves it there, such as a restart.
//!
//! The value is the same for every request and for no other operation. So an object that has it shows that the operation
//! took effect, and a request that is repeated changes nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, ChangeState, Work};
use crate::facts::Target;
use crate::id::{ChangeId, ResourceVersion};
use crate::path::FieldPath;
use crate::reason::Reason;

/// What an operation writes, and the version of the object that guards the write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct OperationWrite {
    /// The fields that get the value. It stays there.
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub paths: Vec<FieldPath>,
    /// The value, which follows from the Incident, the step and the object; absent until the first request is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 128)))]
    pub value: Option<String>,
    /// The resourceVersion that the newest request carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<ResourceVersion>,
    /// The generation of the object at that version. As long as it is the same, nothing has changed the spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_generation: Option<i64>,
    /// The object updates its pods one at a time, so stuck pods are deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
}

impl OperationWrite {
    /// Nothing was sent yet.
    pub fn new(paths: Vec<FieldPath>) -> Self {
        Self { paths, value: None, base_version: None, base_generation: None, in_order: false }
    }

    /// Whether an object, or the part of a revision that is like one, has the value.
    pub fn is_in(&self, object: &Value) -> bool {
        self.value.is_some() && !self.paths.is_empty() && self.missing_in(object).next().is_none()
    }

    /// The fields that do not have the value in this object.
    pub fn missing_in<'a>(&'a self, object: &'a Value) -> impl Iterator<Item = &'a FieldPath> {
        self.paths
            .iter()
            .filter(move |path| path.node(object).and_then(Value::as_str) != self.value.as_deref())
    }

    /// Whether a revision of the object, which has its template in the same place or below `data`, has the value.
    fn is_in_revision(&self, revision: &Value) -> bool {
        self.is_in(revision) || self.is_in(&revision["data"])
    }

    /// Whether only the revisions of the object can tell what became of the requests.
    pub fn asks_for_revisions(&self, target: &Target) -> bool {
        self.has_moved(target)
            && !self.is_in(&target.object)
            && self.may_have_been_overwritten(&target.object)
    }

    /// Whether the object has another version than the newest request, which can then no longer take effect.
    pub fn has_moved(&self, target: &Target) -> bool {
        self.base_version.as_ref() != Some(&target.version)
    }

    /// Whether something has changed the spec of the object since the version that guards the newest request. If nothing
    /// has, and the value is not there, no request took effect.
    pub fn may_have_been_overwritten(&self, object: &Value) -> bool {
        self.base_generation.is_none() || self.base_generation != generation(object)
    }
}

/// The changes whose value a revision of their object has.
pub fn in_revision(writes: &[(&ChangeId, &OperationWrite)], revision: &Value) -> Vec<ChangeId> {
    let found = writes.iter().filter(|(_, write)| write.is_in_revision(revision));
    found.map(|(change, _)| (*change).clone()).collect()
}

/// The value that the operation of a change writes.
fn value_of(change: &ChangeId) -> String {
    format!("firebreak-{change}")
}

fn generation(object: &Value) -> Option<i64> {
    object.pointer("/metadata/generation").and_then(Value::as_i64)
}

impl Change {
    /// What its operation writes; none if it writes nothing.
    pub fn operation_write(&self) -> Option<&OperationWrite> {
        self.as_operation()?.write.as_ref()
    }

    fn operation_write_mut(&mut self) -> Option<&mut OperationWrite> {
        match &mut self.work {
            Work::Operation(operation) => operation.write.as_mut(),
            Work::Loan(_) => None,
        }
    }

    /// The operation is about to write to this object, for the first time or again. The value stays the same.
    pub fn intend_write(&mut self, target: &Target, now: Timestamp) {
        self.intend_operation(now);
        let value = value_of(&self.id);
        let Some(write) = self.operation_write_mut() else { return };
        write.value = Some(value);
        write.base_version = Some(target.version.clone());
        write.base_generation = generation(&target.object);
    }

    /// Whether an object has the value that this operation would write, because an earlier journal of it was lost.
    pub fn is_in_already(&self, object: &Value) -> bool {
        let value = Some(value_of(&self.id));
        self.operation_write().is_some_and(|write| OperationWrite { value, ..write.clone() }.is_in(object))
    }

    /// None of its requests took effect, and none of them still can.
    pub fn requests_are_dead(&mut self) {
        if self.operation_write().is_some() && self.state == ChangeState::Unclear {
            self.state = ChangeState::Intended;
        }
    }

    /// Whether it is not known, and cannot be read from the object any more, whether its value was ever there.
    pub(super) fn has_lost_its_trace(&self) -> bool {
        self.operation_write().is_some() && self.reason == Some(Reason::OutcomeUnknown)
    }
}
