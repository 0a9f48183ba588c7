//! An operation: something that is done to an object and leaves no value that could be reverted.
//!
//! ```text
//!            intend              answered
//!  Planned ─────────► Intended ───────────► Done | Failed
//!  Skipped ─────────►    │ ▲                  ▲
//!                        ▼ │ sent again       │ answered late, or settled by a person
//!                      Unclear ───────────────┘
//! ```
//!
//! Its [`Delivery`] determines whether it may be sent again.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Change, ChangeState, OperationWrite, Work};
use crate::id::{ChangeId, IncidentId, TargetId, digest};
use crate::intent::SettlementOutcome;
use crate::reason::Reason;

/// What an operation does, and how it is delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Operation; absent for a change of fields.
    pub kind: OperationKind,
    /// What is done to the object. It cannot be undone.
    pub operation: OperationType,
    /// What may happen after an answer that did not come.
    pub delivery: Delivery,
    /// The object whose change needs it; absent if it is what the step does to the target itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<TargetId>,
    /// What it writes to the object; absent if it writes no value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write: Option<OperationWrite>,
    /// When it was known to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// When its step was verified with it; absent again once a check has turned false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// What a person has said became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settlement: Option<SettlementStatus>,
}

impl Operation {
    /// An operation for which nothing was done yet.
    pub fn new(operation: OperationType, delivery: Delivery, on_behalf_of: Option<TargetId>) -> Self {
        Self {
            kind: OperationKind::Operation,
            operation,
            delivery,
            on_behalf_of,
            write: None,
            done_at: None,
            verified_at: None,
            settlement: None,
        }
    }

    /// The deletion of a pod. Its uid is the precondition.
    pub fn delete_pod(on_behalf_of: TargetId) -> Self {
        Self::new(OperationType::DeletePod, Delivery::Guarded, Some(on_behalf_of))
    }

    /// A restart of the pods of an object. The version of the object is the precondition.
    pub fn restart(write: OperationWrite) -> Self {
        let operation = Self::new(OperationType::Restart, Delivery::Guarded, None);
        Self { write: Some(write), ..operation }
    }
}

/// What a person has said became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SettlementStatus {
    /// Whether it happened.
    pub outcome: SettlementOutcome,
    /// Who says so.
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub settled_by: String,
    /// When that was first seen.
    pub at: Timestamp,
}

/// Tells an operation from a change of fields, which has no kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OperationKind {
    /// An operation.
    #[default]
    Operation,
}

/// What an operation does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OperationType {
    /// Deletes the pod.
    DeletePod,
    /// Restarts the pods of the object: its controller replaces them at its own pace.
    Restart,
    /// Does nothing but count. It exists for stories and proofs: no action that a policy can name does it, and
    /// the schema of the status does not know it.
    #[cfg_attr(feature = "schema", schemars(skip))]
    Rehearse,
}

impl OperationType {
    /// What it does, as in "… of Pod serving/chat-0".
    pub fn name(self) -> &'static str {
        match self {
            Self::DeletePod => "deletion",
            Self::Restart => "restart",
            Self::Rehearse => "rehearsal",
        }
    }
}

/// How often an operation may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Delivery {
    /// A precondition on uid or resourceVersion makes a second send harmless.
    Guarded,
    /// A name or key that is the same for each send makes a second send harmless.
    Keyed,
    /// It is sent once. If the answer does not come, a person says what happened.
    AtMostOnce,
}

/// One request of an operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The operation.
    pub operation: OperationType,
    /// The effect of a second request.
    pub delivery: Delivery,
    /// The number of times the operation was started, including this one.
    pub round: u8,
    /// The number of this request within the round.
    pub number: u8,
    /// The same for every request of the round, and for no other operation.
    pub key: String,
}

impl Change {
    /// An operation for which nothing was done yet.
    pub fn operation(id: ChangeId, step: &str, target: TargetId, operation: Operation) -> Self {
        Self::new(id, step, target, Work::Operation(operation))
    }

    /// The operation; none if it is a loan.
    pub fn as_operation(&self) -> Option<&Operation> {
        match &self.work {
            Work::Operation(operation) => Some(operation),
            Work::Loan(_) => None,
        }
    }

    /// Whether it may be sent once and was recorded to be sent. Its entry is the account of that one attempt: another
    /// attempt is another entry, so that no answer and no settlement ever speaks for two.
    pub fn is_an_attempt(&self) -> bool {
        let may_be_sent_once =
            self.as_operation().is_some_and(|operation| operation.delivery == Delivery::AtMostOnce);
        may_be_sent_once && self.round > 0
    }

    /// Whether nobody has heard yet what became of the newest request, and of no earlier one it is unknown.
    pub fn awaits_answer(&self) -> bool {
        self.as_operation().is_some() && self.state == ChangeState::Intended && self.retry_at.is_none()
    }

    /// Whether each of its requests is known to have done nothing.
    pub fn came_to_nothing(&self) -> bool {
        self.as_operation().is_some() && self.state == ChangeState::Intended && self.retry_at.is_some()
    }

    /// The newest request is known to have done nothing. What became of an earlier one is not known any better.
    pub fn request_came_to_nothing(&mut self, reason: Reason, why: impl Into<String>, again_at: Timestamp) {
        self.stand(self.state, reason, why);
        self.retry_at = Some(again_at);
    }

    /// The object whose change needs this operation; none for what a step does to its own targets.
    pub fn on_behalf_of(&self) -> Option<&TargetId> {
        self.as_operation()?.on_behalf_of.as_ref()
    }

    /// Whether it is an operation that was recorded to be sent, and whose outcome is not known.
    pub fn is_open_operation(&self) -> bool {
        self.as_operation().is_some() && matches!(self.state, ChangeState::Intended | ChangeState::Unclear)
    }

    /// Whether only a person can find out its outcome.
    pub fn needs_settlement(&self) -> bool {
        let is_left_to_a_person = |operation: &Operation| match operation.delivery {
            Delivery::AtMostOnce => true,
            Delivery::Guarded => self.has_lost_its_trace(),
            Delivery::Keyed => false,
        };
        self.state == ChangeState::Unclear && self.as_operation().is_some_and(is_left_to_a_person)
    }

    /// A person has settled its outcome.
    pub fn settled(&mut self, outcome: SettlementOutcome, by: &str, at: Timestamp) {
        let Work::Operation(operation) = &mut self.work else { return };
        operation.settlement = Some(SettlementStatus { outcome, settled_by: by.to_owned(), at });
    }

    /// The operation is about to be sent, for the first time or again. Its reason stays until there is an
    /// answer.
    pub fn intend_operation(&mut self, now: Timestamp) {
        if !self.is_open_operation() {
            self.round = self.round.saturating_add(1);
            self.tries = 0;
            self.joined_at = Some(now);
            self.explain(None);
        }
        self.tries = self.tries.saturating_add(1);
        // Sending another request does not tell the outcome of an earlier one.
        if self.state != ChangeState::Unclear {
            self.state = ChangeState::Intended;
        }
        self.sent_at = Some(now);
        self.retry_at = None;
    }

    /// The operation took effect.
    pub fn done(&mut self, now: Timestamp) {
        let Work::Operation(operation) = &mut self.work else { return };
        operation.done_at = Some(now);
        operation.verified_at = None;
        self.state = ChangeState::Done;
        self.retry_at = None;
        self.explain(None);
    }

    /// The present request of the operation; none if it is a loan.
    pub fn request(&self, incident: &IncidentId) -> Option<Request> {
        let Operation { operation, delivery, .. } = self.as_operation()?;
        let (operation, delivery) = (*operation, *delivery);
        let (round, number) = (self.round, self.tries);
        let key =
            digest(&[&incident.uid, &self.step, &self.target.uid, self.id.as_str(), &round.to_string()]);
        Some(Request { operation, delivery, round, number, key: key[..32].to_owned() })
    }
}
