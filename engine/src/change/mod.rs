//! One change to one object: the plan before, the write-ahead journal during, and the report row afterwards.
//!
//! ```text
//!            intend            applied            begin_return         returned
//!  Planned ─────────► Intended ───────► Applied ─────────────► Reverting ─────► Reverted | Ceded
//!  Skipped ─────────►    │  ▲             │ ▲ verified             │
//!                        ▼  │ (read)      ▼ │                      └─ object gone, not ours: Ceded
//!                      Unclear         Verified
//!                        │
//!                        ├─ fenced or dead: Failed | Skipped
//!                        └─ three unknown answers: Held
//! ```

mod approved;
mod first_values;
mod half_returned;
mod health;
mod loan;
mod operation;
mod operation_write;
mod sent_return;
mod sits_out;
mod stored;

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use self::approved::{Approved, Extent};
pub use self::first_values::FirstValue;
pub use self::health::Evidence;
pub use self::loan::{Again, Beside, FieldChange, Loan};
pub use self::operation::{Delivery, Operation, OperationKind, OperationType, Request, SettlementStatus};
pub use self::operation_write::{OperationWrite, in_revision};
pub use self::sits_out::SitsOut;
pub use self::stored::PodDeletion;
pub(crate) use self::stored::read;
use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::path::FieldPath;
use crate::reason::Reason;

/// The state of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ChangeState {
    /// Only planned, for example in mode Observe.
    Planned,
    /// Recorded, and about to be sent at any moment.
    Intended,
    /// Sent, but the reply does not say whether it took effect.
    Unclear,
    /// In force; the object carries the undo record.
    Applied,
    /// In force, and its step was verified.
    Verified,
    /// It is being reverted.
    Reverting,
    /// Reverted exactly.
    Reverted,
    /// Someone else has changed the value, or the object is gone. It is theirs.
    Ceded,
    /// Made permanent by a person.
    Kept,
    /// Carried out. Only an operation is; it cannot be undone.
    Done,
    /// Not done; the reason says why.
    Skipped,
    /// Tried and given up. No late request can take effect any more.
    Failed,
    /// It is not known whether it took effect. A person is needed.
    Held,
}

/// One change of one step to one object: what every change has, and its work. One entry serves all its
/// rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Also the id of the loan in the undo record.
    pub id: ChangeId,
    /// The step.
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: String,
    /// The object.
    pub target: TargetId,
    /// Where the change stands.
    pub state: ChangeState,
    /// The number of times it was applied. It is 1 until a reverted change is applied again.
    #[serde(default)]
    pub round: u8,
    /// Requests in this state that were rejected or whose outcome is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u8,
    /// When the object joined the step. The timeout of the step starts here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_at: Option<Timestamp>,
    /// When the newest intent was recorded, just before it was sent. None if the revert that was sent came to
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When it may be retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What is done to the object.
    #[serde(flatten)]
    pub work: Work,
    /// The reason for the state, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Option<Reason>,
    /// The reason in plain words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: Option<String>,
}

/// What a change does to its object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Work {
    /// It does something that leaves no value to put back.
    Operation(Operation),
    /// It changes fields and remembers how to revert them.
    Loan(Loan),
}

impl<'de> Deserialize<'de> for Work {
    /// Only an operation has the member `kind`. An operation that this release does not know is an error and never a
    /// loan, because what is not understood must not be overwritten.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let members = Map::deserialize(from)?;
        let is_operation = members.contains_key("kind");
        let value = Value::Object(members);
        let work = match is_operation {
            true => Operation::deserialize(value).map(Self::Operation),
            false => Loan::deserialize(value).map(Self::Loan),
        };
        work.map_err(D::Error::custom)
    }
}

impl Work {
    /// The loan, if it is one.
    pub fn loan(&self) -> Option<&Loan> {
        match self {
            Self::Loan(loan) => Some(loan),
            Self::Operation(_) => None,
        }
    }

    /// The same, to edit it.
    pub fn loan_mut(&mut self) -> Option<&mut Loan> {
        match self {
            Self::Loan(loan) => Some(loan),
            Self::Operation(_) => None,
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Work {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Work".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let mut schema = Loan::json_schema(generator);
        let operation = Operation::json_schema(generator);
        // A structural schema knows no alternatives: the members of both are optional.
        if let (Some(own), Some(more)) = (
            schema.get_mut("properties").and_then(serde_json::Value::as_object_mut),
            operation.get("properties").and_then(serde_json::Value::as_object),
        ) {
            own.extend(more.clone());
        }
        schema
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

impl Change {
    /// A change that is only planned.
    fn new(id: ChangeId, step: &str, target: TargetId, work: Work) -> Self {
        Self {
            id,
            step: step.to_owned(),
            target,
            state: ChangeState::Planned,
            round: 0,
            tries: 0,
            joined_at: None,
            sent_at: None,
            retry_at: None,
            work,
            reason: None,
            message: None,
        }
    }

    /// The subject of the change, for people: the object, and for an operation what it does to it.
    pub fn subject(&self) -> String {
        match &self.work {
            Work::Operation(operation) => format!("{} of {}", operation.operation.name(), self.target),
            Work::Loan(_) => self.target.to_string(),
        }
    }

    /// Whether it is a loan that was intended and whose effect is not known yet.
    pub fn is_open_intent(&self) -> bool {
        self.loan().is_some()
            && matches!(self.state, ChangeState::Intended | ChangeState::Unclear | ChangeState::Held)
    }

    /// Whether its step is not complete without it: it is open, or its turn comes.
    pub fn is_under_way(&self) -> bool {
        let comes = self.state == ChangeState::Skipped && self.reason == Some(Reason::WaitsForTurn);
        self.is_open_intent() || self.is_open_operation() || comes
    }

    /// Whether it belongs to a step that has started, and has not had its turn yet.
    pub fn has_no_turn_yet(&self) -> bool {
        use Reason::{LevelNotHealthy, NotAdmitted, WaitsForTurn, WhereUnknown};
        let waits = matches!(self.reason, Some(WaitsForTurn | LevelNotHealthy | NotAdmitted | WhereUnknown));
        self.state == ChangeState::Skipped && waits
    }

    /// Whether the object carries our value.
    pub fn is_in_force(&self) -> bool {
        self.loan().is_some()
            && matches!(self.state, ChangeState::Applied | ChangeState::Verified | ChangeState::Reverting)
    }

    /// Whether something may still have to be reverted. An operation leaves nothing to revert.
    pub fn is_outstanding(&self) -> bool {
        self.is_open_intent() || self.is_in_force()
    }

    /// Whether it took effect and has not ended: the step may have helped.
    pub fn stands(&self) -> bool {
        matches!(self.state, ChangeState::Applied | ChangeState::Verified | ChangeState::Done)
    }

    /// Whether it took effect and all checks of its step have passed since.
    pub fn is_verified(&self) -> bool {
        match &self.work {
            Work::Operation(operation) => operation.verified_at.is_some(),
            Work::Loan(_) => self.state == ChangeState::Verified,
        }
    }

    /// All checks of its step passed.
    pub fn verified(&mut self, now: Timestamp) {
        let was_verified = self.was_verified();
        match &mut self.work {
            Work::Operation(operation) => operation.verified_at = Some(now),
            Work::Loan(loan) => {
                self.state = ChangeState::Verified;
                if !was_verified {
                    loan.verified_at = Some(now);
                }
            }
        }
    }

    /// A check of its step has turned false.
    pub fn lose_verification(&mut self) {
        match &mut self.work {
            Work::Operation(operation) => operation.verified_at = None,
            Work::Loan(_) => self.state = ChangeState::Applied,
        }
    }

    /// The fields of its object that it writes.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> + Clone {
        let written = self.as_operation().and_then(|operation| operation.write.as_ref());
        let written = written.into_iter().flat_map(|write| &write.paths);
        self.loan().into_iter().flat_map(|loan| &loan.fields).map(|field| &field.path).chain(written)
    }

    /// The resourceVersion that the newest write of the object carries.
    pub fn base(&self) -> Option<&ResourceVersion> {
        match &self.work {
            Work::Operation(operation) => operation.write.as_ref()?.base_version.as_ref(),
            Work::Loan(loan) => loan.base.as_ref(),
        }
    }

    /// When it was known to have taken effect.
    pub fn took_effect_at(&self) -> Option<Timestamp> {
        match &self.work {
            Work::Operation(operation) => operation.done_at,
            Work::Loan(loan) => loan.applied_at,
        }
    }

    /// Whether it counts against the guardrails: it may be on the object, or was an operation that was carried out.
    pub fn counts(&self) -> bool {
        self.is_outstanding() || self.is_open_operation() || self.state == ChangeState::Done
    }

    /// Puts the change into `state` for this reason, at rest or at its end.
    pub fn stand(&mut self, state: ChangeState, reason: Reason, message: impl Into<String>) {
        self.state = state;
        self.retry_at = None;
        self.explain(Some((reason, message.into())));
    }

    /// Sets the reason for the state, or clears it.
    pub fn explain(&mut self, why: Option<(Reason, String)>) {
        (self.reason, self.message) = why.map(|(reason, message)| (reason, cut(&message, 1024))).unzip();
    }
}

/// The text, cut to at most `most` bytes at a character boundary.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
