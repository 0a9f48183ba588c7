//! What a person wants from an Incident: plain data, as in its spec.

use serde::{Deserialize, Serialize};

use crate::policy::Severity;

/// The response that a person wants. Defaults to Active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Response {
    /// Respond as the policy says.
    #[default]
    Active,
    /// Start nothing new and revert nothing. Applied changes stay.
    Paused,
    /// Revert all changes now, and close. Only Kept can follow.
    Withdrawn,
    /// Change nothing more, make the emergency values permanent, and close. Final.
    Kept,
}

/// A person's approval of the plan of one step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// The step.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 40)))]
    pub step: String,
    /// The approved plan: `planHash` of the step in the status. The approval is valid for no other plan.
    #[cfg_attr(feature = "schema", schemars(length(max = 71), regex(pattern = "^sha256:[0-9a-f]{64}$")))]
    pub plan_hash: String,
    /// The person who approves. The API server accepts only the name of the caller.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub approved_by: String,
}

/// A person's finding about an operation whose outcome Firebreak does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// The `id` of the change in the status. It covers this one attempt and no other.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub change: String,
    /// Whether the operation took effect.
    pub outcome: SettlementOutcome,
    /// The user who settles it. The API server accepts only the caller's own name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub settled_by: String,
}

/// Whether an operation took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum SettlementOutcome {
    /// It did.
    Happened,
    /// It did not. The step may carry it out again.
    DidNotHappen,
}

/// What a person wants from an Incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonIntent {
    /// `spec.response`.
    pub response: Response,
    /// `spec.responseBy`: the person who set the response.
    pub response_by: Option<String>,
    /// `spec.severity`: a level that overrides the rules.
    pub pinned: Option<Severity>,
    /// `spec.acknowledgedBy`.
    pub acknowledged_by: Option<String>,
    /// `spec.approvals`.
    pub approvals: Vec<Approval>,
    /// `spec.settlements`.
    pub settlements: Vec<Settlement>,
    /// The Incident is being deleted.
    pub deleting: bool,
    /// Annotated with `firebreak.dev/abandon: "true"`: abandon what cannot be reverted.
    pub abandon: bool,
}

impl PersonIntent {
    /// The person who set the response, for messages.
    pub fn person(&self) -> &str {
        self.response_by.as_deref().unwrap_or("a person")
    }
}
