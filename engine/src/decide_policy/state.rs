//! What is known about one policy: the state that a decision starts with and returns, as it is stored
//! in the policy's status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::claim::Claim;
use crate::alerts::ReceivedAlerts;
use crate::expected::Expected;
use crate::incident::{RuleStatus, SignalStatus};
use crate::response::RecentResponse;

/// The engine's part of a policy's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyState {
    /// The claim: the one Incident that may act for this policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_incident: Option<ActiveIncident>,
    /// The most recent responses, newest last. `guardrails.maxIncidents` and `guardrails.cooldown` use them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub recent_responses: Vec<RecentResponse>,
    /// Reasons of the rules that open nothing until they have been False once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set")))]
    pub waiting_for: Vec<String>,
    /// The expected number of objects of each signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["signal"])))]
    pub expected: Vec<Expected>,
    /// The time of the newest request of `firebreak expect` that was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_requested_at: Option<Timestamp>,
    /// The alerts that Alertmanager has sent, by signal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["signal"])))]
    pub alerts: Vec<ReceivedAlerts>,
    /// The readings of the signals when the truth of a rule last changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub signals: Vec<SignalStatus>,
    /// The truth of the severity rules, and since when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub rules: Vec<RuleStatus>,
}

/// The claim of an Incident on its policy. It has a nonce before the controller creates the Incident, and the
/// uid afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ActiveIncident {
    /// The name of the Incident.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub name: String,
    /// The value that the annotation of the Incident must have to match this claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64)))]
    pub nonce: Option<String>,
    /// The uid of the Incident. It is recorded shortly after the Incident was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub uid: Option<String>,
    /// Whether the announcement of this Incident is revoked: no Incident acts by its nonce, and the claim is cleared
    /// unless the Incident turns out to exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl PolicyState {
    /// The state of the claim of the policy.
    pub fn claim(&self) -> Claim<'_> {
        self.active_incident.as_ref().map_or(Claim::Vacant, Claim::of)
    }
}
