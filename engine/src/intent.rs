//! What a person wants of an Incident: plain data, as it stands in its spec.

use serde::{Deserialize, Serialize};

use crate::policy::Severity;

/// What a person wants done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Response {
    /// Respond as the policy says.
    #[default]
    Active,
    /// Start nothing new and put nothing back. What is applied stays applied.
    Paused,
    /// Put everything back now and close. Only Kept can follow.
    Withdrawn,
    /// Change nothing more, make the emergency values permanent, and close. Nothing can follow.
    Kept,
}

/// A person's yes to the plan of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The step.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 40)))]
    pub step: String,
    /// The plan that is approved: `planHash` of the step in the status. It counts for no other.
    #[cfg_attr(feature = "schema", schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$")))]
    pub plan_hash: String,
    /// Who approves. The API server lets nobody write another name than their own.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub approved_by: String,
}

/// What a person has found out about an operation whose outcome nobody else knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// The change: `id` in the status. It speaks for this one attempt and for no other.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub change: String,
    /// Whether it happened.
    pub outcome: SettlementOutcome,
    /// Who says so. The API server lets nobody write another name than their own.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub settled_by: String,
}

/// Whether an operation took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SettlementOutcome {
    /// It did.
    Happened,
    /// It did not: the step may carry it out again.
    DidNotHappen,
}

/// What a person wants of an Incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonIntent {
    /// `spec.response`.
    pub response: Response,
    /// `spec.responseBy`: who wants that.
    pub response_by: Option<String>,
    /// `spec.severity`: the level whatever the rules say.
    pub pinned: Option<Severity>,
    /// `spec.acknowledgedBy`.
    pub acknowledged_by: Option<String>,
    /// `spec.approvals`.
    pub approvals: Vec<Approval>,
    /// `spec.settlements`.
    pub settlements: Vec<Settlement>,
    /// The Incident is being deleted.
    pub deleting: bool,
    /// Annotated `firebreak.dev/abandon: "true"`: let go of what cannot be put back.
    pub abandon: bool,
}

impl PersonIntent {
    /// Who wants this response, for people.
    pub fn person(&self) -> &str {
        self.response_by.as_deref().unwrap_or("a person")
    }
}
