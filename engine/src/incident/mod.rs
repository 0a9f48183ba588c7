//! What is known about one emergency: the state that a decision starts from
//! and the one that it leaves, as it stands in the Incident's status.

mod evidence;
mod step;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::evidence::{RuleStatus, SignalState, SignalStatus};
pub use self::step::{
    ApprovalState, ApprovalStatus, AskedApproval, StepState, StepStatus, TargetCounts, count,
};
use crate::change::{Change, cut};
use crate::id::ChangeId;
use crate::policy::Severity;
use crate::reason::{Reason, Stops};

/// The engine's part of an Incident's status. Everything else in the status is
/// derived from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IncidentState {
    /// How severe it is now; absent while no rule holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The reason of the rule that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub severity_reason: Option<String>,
    /// How severe it was at its worst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_severity: Option<Severity>,
    /// The policy whose response this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySnapshot>,
    /// When the controller first saw the Incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// When the fault became visible: the start of the clock of the rule that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// When it first had a severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classified_at: Option<Timestamp>,
    /// Whether a rule has held since it was opened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rule_has_held: bool,
    /// Who has acknowledged it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub acknowledged_by: Option<String>,
    /// When that was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// When the first change was intended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_action_at: Option<Timestamp>,
    /// When a step was first verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigated_at: Option<Timestamp>,
    /// When it was closed. Nothing happens after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The withdrawal in waves that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal: Option<Withdrawal>,
    /// How often a withdrawal was taken back because the changes were still needed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 255)))]
    pub relapses: u8,
    /// When the last of these was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relapsed_at: Option<Timestamp>,
    /// When everything goes back if no rule holds until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Timestamp>,
    /// Why it was closed, or why it is being closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// Since when it is being closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_since: Option<Timestamp>,
    /// What is read, as of the last change of this status.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub signals: Vec<SignalStatus>,
    /// Why the severity is what it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub rules: Vec<RuleStatus>,
    /// The steps, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub steps: Vec<StepStatus>,
    /// Plan, journal and report table in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::change::read")]
    #[cfg_attr(feature = "schema", schemars(length(max = 300)))]
    pub changes: Vec<Change>,
    /// What holds the response: a person has to act, or a fact has to change. Absent while nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What happened, the newest 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub timeline: Vec<TimelineEntry>,
    /// The report, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,
}

impl IncidentState {
    /// Whether anything may still have to be put back or unfenced, so that the
    /// Incident must not disappear.
    pub fn owes_anything(&self) -> bool {
        self.changes.iter().any(|change| change.is_outstanding() || change.fence().is_some())
    }

    /// Whether everything is being put back, in waves or at once.
    pub fn is_withdrawing(&self) -> bool {
        self.closing.is_some()
            || self.withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.because == Because::Recovered)
    }

    /// Changes in force right now.
    pub fn in_force(&self) -> usize {
        self.changes.iter().filter(|change| change.is_in_force()).count()
    }

    /// The status of a step, if it has one.
    pub fn step(&self, name: &str) -> Option<&StepStatus> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The changes of a step's own targets: not what is done to other objects on their behalf.
    pub fn changes_of<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a Change> {
        self.changes.iter().filter(move |change| change.step == step && change.on_behalf_of().is_none())
    }

    /// The same, to go on with them.
    pub fn own_changes_mut<'a>(&'a mut self, step: &'a str) -> impl Iterator<Item = &'a mut Change> {
        self.changes.iter_mut().filter(move |change| change.step == step && change.on_behalf_of().is_none())
    }

    /// The newest change of a step to the object with this uid.
    pub fn newest_of(&self, step: &str, uid: &str) -> Option<&Change> {
        let is_it = |change: &&Change| change.step == step && change.target.uid == uid;
        self.changes.iter().filter(is_it).next_back()
    }

    /// The operations that are done to other objects because this change needs them.
    pub fn on_behalf_of<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = &'a Change> {
        self.changes.iter().filter(move |other| {
            other.step == change.step
                && other.on_behalf_of().is_some_and(|owner| owner.uid == change.target.uid)
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// A withdrawal in waves: first one object of a step, then more at once, each wave healthy before the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Why it began.
    pub because: Because,
    /// The step whose objects go back now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: Option<String>,
    /// Waves of this step so far, the present one included; a retired scheduler is none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 65_535)))]
    pub waves: u16,
    /// The changes that go back now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 300)))]
    pub wave: Vec<ChangeId>,
    /// Since when all objects of the wave are back and healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
}

/// Why changes go back in waves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Because {
    /// No rule has held for `recovery.for`.
    Recovered,
    /// The severity has been lower for `recovery.for`, and the step is not for the lower one.
    SeverityFell,
}

/// The policy as it was when the response last looked at it. While the Incident has only chosen it and
/// was never the one that it responds with, all but its name is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicySnapshot {
    /// Name.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub name: String,
    /// Uid.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub uid: String,
    /// Generation.
    pub generation: i64,
    /// The ServiceAccount, pinned at the first effect.
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub service_account: String,
}

/// Why an Incident is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Closing {
    /// No rule held for `recovery.for`.
    Recovered,
    /// A person set `response: Withdrawn`.
    Withdrawn,
    /// A person set `response: Kept`.
    Kept,
    /// The Incident is being deleted.
    Deleted,
    /// No rule ever held.
    NotClassified,
    /// The policy's claim names another Incident.
    Superseded,
}

impl Closing {
    /// Whether a person has asked for it, so that neither a pause nor the brake stops it.
    pub fn is_for_a_person(self) -> bool {
        match self {
            Self::Withdrawn | Self::Kept | Self::Deleted => true,
            Self::Recovered | Self::NotClassified | Self::Superseded => false,
        }
    }

    /// The name, for conditions and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "Recovered",
            Self::Withdrawn => "Withdrawn",
            Self::Kept => "Kept",
            Self::Deleted => "Deleted",
            Self::NotClassified => "NotClassified",
            Self::Superseded => "Superseded",
        }
    }
}

/// What holds the response: a person has to act, or a fact has to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// In one word.
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Reason,
    /// For what, and what moves it on.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: String,
    /// Whether new changes are stopped by it. When not, it is only said.
    #[serde(default)]
    pub stops: bool,
    /// The step whose targets, when they were last listed, are the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: Option<String>,
}

impl Held {
    /// Whether a person moves it on by approving the plan of its step.
    pub fn asks_for_approval(&self) -> bool {
        self.step.is_some() && self.reason.asks_for_approval()
    }

    /// What holds the response; the message is cut to what the schema allows.
    pub fn new(reason: Reason, message: &str) -> Self {
        let stops = reason.stops() == Stops::NewChanges;
        Self { reason, message: cut(message, 1024), stops, step: None }
    }

    /// The same where nothing new would begin anyway: it is only said.
    #[must_use]
    pub fn only_said(self) -> Self {
        Self { stops: false, ..self }
    }

    /// The same, found in a listing of this step: it stands until the next one.
    #[must_use]
    pub fn of_step(self, step: &str) -> Self {
        Self { step: Some(step.to_owned()), ..self }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// When.
    pub at: Timestamp,
    /// What kind of thing, in CamelCase; also the reason of the Event.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub type_: String,
    /// What, for people.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: String,
}

/// Where the report is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// The ConfigMap with report.md; empty when it could not be written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub name: String,
    /// Why there is none or, beside a name, why it has the shipped form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub problem: Option<String>,
}
