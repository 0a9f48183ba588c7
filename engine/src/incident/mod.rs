//! What is known about one emergency: the state that a decision starts from
//! and the one that it leaves, as it stands in the Incident's status.

mod evidence;
mod step;
mod timeline;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::evidence::{RuleStatus, SignalState, SignalStatus, doubt};
pub use self::step::{
    ApprovalState, ApprovalStatus, AskedApproval, Spared, StepState, StepStatus, TargetCounts, Verification,
    count, keep_unnamed,
};
pub use self::timeline::WITHDRAWAL_STARTED;
use crate::change::{Change, OperationWrite, cut};
use crate::facts::{Purpose, Target};
use crate::id::ChangeId;
use crate::policy::Severity;
use crate::reason::{Reason, Stops};

/// The reason of a severity that is pinned by a person.
pub const PINNED: &str = "PinnedByPerson";

/// The engine's part of an Incident's status. Everything else in the status is
/// derived from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct IncidentState {
    /// The current severity. Absent while no rule holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The reason of the rule that sets the severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub severity_reason: Option<String>,
    /// The highest severity so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_severity: Option<Severity>,
    /// The policy that responds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySnapshot>,
    /// The uid of the policy that the Incident waits for. It is recorded when no controller has looked at the policy
    /// since it was created, so that the Incident does not act by what is remembered of a deleted policy of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub awaited_policy: Option<String>,
    /// When the controller first saw the Incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// When the fault became visible: when the clock of the rule that opened the Incident started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detected_at: Option<Timestamp>,
    /// When the Incident first had a severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classified_at: Option<Timestamp>,
    /// Whether a rule has held since the Incident was opened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rule_has_held: bool,
    /// The person who acknowledged the Incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub acknowledged_by: Option<String>,
    /// When the controller first saw the acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// When the first change was recorded, just before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_action_at: Option<Timestamp>,
    /// When a step was first verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitigated_at: Option<Timestamp>,
    /// When the Incident was closed. Nothing happens after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// The withdrawal in waves that is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawal: Option<Withdrawal>,
    /// The number of relapses: how often a wave was applied again because its changes were still needed.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 255)))]
    pub relapses: u8,
    /// When the last relapse happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relapsed_at: Option<Timestamp>,
    /// When the withdrawal starts, if no rule holds until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_until: Option<Timestamp>,
    /// Why the Incident was closed or is being closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// Since when the Incident is being closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing_since: Option<Timestamp>,
    /// The readings of the signals when this status last changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 32)))]
    pub signals: Vec<SignalStatus>,
    /// What the sick objects have in common that the healthy ones do not, for people: labels of nodes. It was so when this
    /// status last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub common: Option<String>,
    /// The labels that they have in common, as `key=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 3), inner(length(max = 384))))]
    pub common_labels: Vec<String>,
    /// When a smaller number of objects was last accepted as expected, as far as the timeline says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_accepted_at: Option<Timestamp>,
    /// The rules that determine the severity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub rules: Vec<RuleStatus>,
    /// The steps, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub steps: Vec<StepStatus>,
    /// The changes of this response: the plan before, the journal during, and the report afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::change::read")]
    #[cfg_attr(feature = "schema", schemars(length(max = 300)))]
    pub changes: Vec<Change>,
    /// What holds the response: a person has to act, or a fact has to change. Absent while nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The newest 100 entries of the timeline. The start of the present withdrawal stays among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 100)))]
    pub timeline: Vec<TimelineEntry>,
    /// The report, once it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<ReportStatus>,
}

impl IncidentState {
    /// Whether anything may still have to be reverted or unfenced, so that the Incident must not be deleted
    /// yet.
    pub fn owes_anything(&self) -> bool {
        self.changes.iter().any(|change| change.is_outstanding() || change.fence().is_some())
    }

    /// The severity that lists of Incidents show: of a closed one the highest that it had, else the current one.
    pub fn shown_severity(&self) -> Option<Severity> {
        if self.resolved_at.is_some() { self.worst_severity } else { self.severity }
    }

    /// Whether the Incident had the claim of its policy at some time: only then is the policy's uid noted.
    pub fn had_claim(&self) -> bool {
        self.policy.as_ref().is_some_and(|policy| !policy.uid.is_empty())
    }

    /// The uid of the policy that the Incident knows: the one that it waits for, or else the one that it last responded
    /// with.
    pub fn known_policy(&self) -> Option<&str> {
        let responded = self.policy.as_ref().map(|policy| policy.uid.as_str()).filter(|uid| !uid.is_empty());
        self.awaited_policy.as_deref().or(responded)
    }

    /// Whether everything is being reverted, in waves or at once.
    pub fn is_withdrawing(&self) -> bool {
        self.closing.is_some()
            || self.withdrawal.as_ref().is_some_and(|withdrawal| withdrawal.because == Because::Recovered)
    }

    /// Changes in force right now.
    pub fn in_force(&self) -> usize {
        self.changes.iter().filter(|change| change.is_in_force()).count()
    }

    /// Whether a change is known to have taken effect, whatever became of it.
    pub fn has_taken_effect(&self) -> bool {
        use crate::change::ChangeState::{Ceded, Kept, Reverted};
        let ended = |change: &Change| matches!(change.state, Reverted | Ceded | Kept);
        let took_effect = |change: &Change| change.stands() || change.is_in_force() || ended(change);
        let any = |change: &Change| took_effect(change) || change.took_effect_at().is_some();
        self.mitigated_at.is_some() || self.changes.iter().any(any)
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
        self.changes.iter().rfind(is_it)
    }

    /// What a listing of the step reads the object with this uid for.
    pub fn purpose(&self, step: &str, uid: &str) -> Purpose {
        match self.newest_of(step, uid) {
            Some(change) if change.stands() => Purpose::Watch,
            Some(_) | None => Purpose::Change,
        }
    }

    /// The open writes of operations to this object whose outcome only its revisions can tell, each with its change.
    pub fn asks_for_revisions(&self, target: &Target) -> Vec<(&ChangeId, &OperationWrite)> {
        let open = self
            .changes
            .iter()
            .filter(|change| change.target.uid == target.id.uid && change.is_open_operation());
        let writes = open.filter_map(|change| Some((&change.id, change.operation_write()?)));
        writes.filter(|(_, write)| write.asks_for_revisions(target)).collect()
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

/// A withdrawal in waves: one object of a step first, then more at once. Each wave must be healthy before the
/// next one starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Withdrawal {
    /// Why it began.
    pub because: Because,
    /// The step that is being reverted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: Option<String>,
    /// The number of waves of this step so far, including the current one. A retired scheduler is not
    /// counted.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 65_535)))]
    pub waves: u16,
    /// The changes of the current wave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 300)))]
    pub wave: Vec<ChangeId>,
    /// Since when all objects of the wave have been reverted and healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_at: Option<Timestamp>,
}

/// Why changes are reverted in waves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Because {
    /// No rule has held for `recovery.for`.
    Recovered,
    /// The severity has been lower for `recovery.for`, and the step does not list the lower level.
    SeverityFell,
}

/// The policy as the response last saw it. If the Incident only chose the policy and never responded with it,
/// only the name is set.
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
    /// The ServiceAccount, pinned at the first change.
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
    /// What the person must do, and the command for it.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: String,
    /// Whether it stops new changes. If false, it is only reported.
    #[serde(default)]
    pub stops: bool,
    /// The step whose targets, as last listed, are the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: Option<String>,
}

impl Held {
    /// Whether a person resolves it by approving the plan of its step.
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
    /// What happened, for people.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: String,
}

/// The location of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReportStatus {
    /// The ConfigMap with report.md. Empty if it could not be written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 253)))]
    pub name: String,
    /// Why there is none or, beside a name, why it has the shipped form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub problem: Option<String>,
}
