//! An Incident as people see it, as plain data.
//!
//! The command line prints it, the report writes it down, and any other page would show the same. What is shown
//! of an Incident in more than one of these places is derived here and nowhere else.
//!
//! It needs no client and no clock, and knows neither colours nor Markdown: times are moments, and the renderer
//! says how long ago they were. Texts of others are unchanged here; the renderer escapes them.

mod change;
pub mod moves;
mod policy;
mod timeline;
mod tone;

use firebreak_engine::incident::{
    ApprovalStatus, Closing, Held, IncidentState, ReportStatus, RuleStatus, SignalState, SignalStatus,
    Spared, StepState, StepStatus, TargetCounts,
};
use firebreak_engine::phase::{self, Phase};
use firebreak_engine::policy::Severity;
use firebreak_engine::reason::MovesOn;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

pub use self::change::{ChangeView, FieldView, json};
pub use self::policy::problem;
pub use self::timeline::TimelineView;
pub use self::tone::Tone;
use crate::api::condition::ConditionType;
use crate::api::{Incident, RemediationPolicy, Response, names};

/// An Incident. Its fields have the names of the status, so that a template can be written from that.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IncidentView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// A description of the emergency, by a person or by the rule that opened it.
    pub summary: Option<String>,
    /// Whether a controller has picked it up.
    pub is_observed: bool,
    /// The phase of an Incident.
    pub phase: Phase,
    /// How severe it is now; none while no rule holds.
    pub severity: Option<Severity>,
    /// The reason of the rule that sets the severity.
    pub severity_reason: Option<String>,
    /// The highest severity so far.
    pub worst_severity: Option<Severity>,
    /// The policy that it names or has chosen.
    pub policy_name: Option<String>,
    /// The policy that has responded.
    pub policy: Option<PolicyView>,
    /// When the fault became visible or, if that is not known, when the Incident was opened.
    pub started_at: Option<Timestamp>,
    /// When the fault became visible.
    pub detected_at: Option<Timestamp>,
    /// When the controller first saw the Incident.
    pub opened_at: Option<Timestamp>,
    /// When the Incident first had a severity.
    pub classified_at: Option<Timestamp>,
    /// When the first change was recorded, just before it was sent.
    pub first_action_at: Option<Timestamp>,
    /// Whether a change is known to have taken effect.
    #[serde(skip)]
    pub has_taken_effect: bool,
    /// When a step was first verified.
    pub mitigated_at: Option<Timestamp>,
    /// When it was closed.
    pub resolved_at: Option<Timestamp>,
    /// Why it was closed or is being closed.
    pub closing: Option<Closing>,
    /// Its state as a part of a sentence.
    pub outcome: String,
    /// The response that a person wants.
    pub response: Response,
    /// Who set it.
    pub response_by: Option<String>,
    /// Who acknowledged it.
    pub acknowledged_by: Option<String>,
    /// When the controller first saw the acknowledgement.
    pub acknowledged_at: Option<Timestamp>,
    /// What it waits for.
    pub needs: Option<Need>,
    /// Why it is not over, or how it ended: the message of its condition Ready.
    pub message: String,
    /// What keeps its policy from responding, as a sentence; none if nothing does, or if that was not read.
    #[serde(skip)]
    pub policy_problem: Option<String>,
    /// What continues or ends it, with the command.
    pub next: String,
    /// The number of changes in force.
    pub changes_in_force: usize,
    /// The rules of severity.
    pub rules: Vec<RuleView>,
    /// The readings of the signals.
    pub signals: Vec<SignalView>,
    /// What the sick objects have in common, if anything is known to be.
    pub common: Option<String>,
    /// The steps, in order.
    pub steps: Vec<StepView>,
    /// The changes, including planned and skipped ones.
    pub changes: Vec<ChangeView>,
    /// The timeline.
    pub timeline: Vec<TimelineView>,
    /// Whether the timeline may have lost its oldest entries.
    pub timeline_is_cut: bool,
    /// The location of the report, once it is written.
    #[serde(skip)]
    pub report: Option<ReportStatus>,
}

/// The policy whose response it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyView {
    /// Its name.
    pub name: String,
    /// Its generation.
    pub generation: i64,
    /// The ServiceAccount that acts.
    pub service_account: String,
}

/// What it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Need {
    /// Whether a person must act, and the reason.
    pub headline: String,
    /// In one word.
    pub reason: String,
    /// What it waits for, and the command that resolves it.
    pub message: String,
    /// Its tone.
    #[serde(skip)]
    pub tone: Tone,
}

impl Need {
    fn of(held: &Held) -> Self {
        let (tone, headline) = moves::held(held);
        Self { headline, reason: held.reason.to_string(), message: held.message.clone(), tone }
    }
}

/// A rule of severity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleView {
    /// Its reason.
    pub reason: String,
    /// Its level.
    pub level: Severity,
    /// Its present truth.
    pub truth: Verdict,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Whether it holds.
    pub holds: bool,
    /// The numbers that it read, or why there are none.
    pub evidence: String,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignalView {
    /// Its name.
    pub name: String,
    /// Known or Unknown.
    pub state: SignalState,
    /// Its values, or the reason why there are none.
    pub summary: String,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: StepState,
    /// The reason, in one word.
    pub reason: Option<String>,
    /// The reason in plain words.
    pub message: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// The number of its targets, by outcome.
    pub targets: TargetCounts,
    /// The first objects that need no change, and why.
    pub nothing_to_do: Vec<Spared>,
    /// The plan that waits for an approval.
    pub plan_hash: Option<String>,
    /// The approval.
    pub approval: Option<ApprovalStatus>,
    /// The command that approves the plan, while it waits for approval.
    pub approve: Option<String>,
}

/// The maximum number of entries that a status keeps.
const KEPT: usize = 100;

impl IncidentView {
    /// What people see of an Incident.
    pub fn of(incident: &Incident) -> Self {
        let id = incident.identity();
        let state = incident.state();
        let is_closed = state.resolved_at.is_some();
        let policy = state.policy.as_ref().filter(|policy| !policy.uid.is_empty());
        let need = state.held.as_ref().filter(|_| !is_closed).map(Need::of);
        Self {
            summary: incident.spec.summary.clone().filter(|summary| !summary.is_empty()),
            is_observed: incident.status.is_some(),
            phase: incident.phase(),
            severity: state.severity,
            severity_reason: state.severity_reason.clone(),
            worst_severity: state.worst_severity,
            policy_name: incident.policy_name().map(str::to_owned),
            policy: policy.map(|policy| PolicyView {
                name: policy.name.clone(),
                generation: policy.generation,
                service_account: policy.service_account.clone(),
            }),
            started_at: state.detected_at.or(state.opened_at),
            detected_at: state.detected_at,
            opened_at: state.opened_at,
            classified_at: state.classified_at,
            first_action_at: state.first_action_at,
            has_taken_effect: state.has_taken_effect(),
            mitigated_at: state.mitigated_at,
            resolved_at: state.resolved_at,
            closing: state.closing,
            outcome: outcome(&state),
            response: incident.spec.response.unwrap_or_default(),
            response_by: incident.spec.response_by.clone(),
            acknowledged_by: state.acknowledged_by.clone(),
            acknowledged_at: state.acknowledged_at,
            needs: need,
            message: message(&state),
            policy_problem: None,
            next: moves::next(incident),
            changes_in_force: state.in_force(),
            rules: state.rules.iter().map(RuleView::of).collect(),
            signals: state.signals.iter().map(SignalView::of).collect(),
            common: state.common.clone(),
            steps: state.steps.iter().map(|step| StepView::of(incident, step)).collect(),
            changes: state.changes.iter().map(|change| ChangeView::of(change, is_closed)).collect(),
            timeline_is_cut: state.timeline.len() >= KEPT,
            timeline: timeline::of(&state, incident.annotations().contains_key(names::NONCE)),
            report: state.report,
            namespace: id.namespace,
            name: id.name,
            uid: id.uid,
        }
    }

    /// The same, and what keeps its policy from responding. What is closed does not depend on it.
    #[must_use]
    pub fn with_policy(self, policy: &RemediationPolicy) -> Self {
        let policy_problem = problem(policy).filter(|_| !self.is_closed());
        Self { policy_problem, ..self }
    }

    /// The changes of a step, without the operations on behalf of another change.
    pub fn changes_of<'a>(&'a self, step: &'a str) -> impl Iterator<Item = &'a ChangeView> {
        let stands_alone =
            |change: &ChangeView| change.operation.as_ref().is_none_or(|it| it.on_behalf_of.is_none());
        self.changes.iter().filter(move |change| change.step == step && stands_alone(change))
    }

    /// The operations on behalf of the object of this change, for the same step.
    pub fn on_behalf_of<'a>(&'a self, change: &'a ChangeView) -> impl Iterator<Item = &'a ChangeView> {
        let owner = |other: &'a ChangeView| other.operation.as_ref()?.on_behalf_of.as_ref();
        self.changes
            .iter()
            .filter(move |other| other.step == change.step && owner(other) == Some(&change.object))
    }

    /// Whether it is closed, so that nothing more happens.
    pub fn is_closed(&self) -> bool {
        self.resolved_at.is_some()
    }

    /// The tone of the phase.
    pub fn tone(&self) -> Tone {
        Tone::of_phase(self.phase)
    }
}

impl RuleView {
    fn of(rule: &RuleStatus) -> Self {
        let since = if rule.truth == Verdict::Unknown { rule.unknown_since } else { rule.since };
        Self {
            reason: rule.reason.clone(),
            level: rule.level,
            truth: rule.truth,
            since,
            holds: rule.holds,
            evidence: rule.evidence.clone(),
        }
    }
}

impl SignalView {
    fn of(signal: &SignalStatus) -> Self {
        Self { name: signal.name.clone(), state: signal.state, summary: signal.summary.clone() }
    }
}

impl StepView {
    fn of(incident: &Incident, step: &StepStatus) -> Self {
        let waits = step.state == StepState::AwaitingApproval;
        let plan_hash = step.plan_hash.clone().filter(|_| waits);
        let can_be_approved = plan_hash.is_some() && moves::is_waiting(step);
        Self {
            name: step.name.clone(),
            state: step.state,
            reason: step.reason.as_ref().map(ToString::to_string),
            message: step.message.clone(),
            started_at: step.started_at,
            targets: step.targets,
            nothing_to_do: step.nothing_to_do.clone(),
            plan_hash,
            approval: step.approval.clone(),
            approve: can_be_approved.then(|| moves::approve(incident, &step.name)),
        }
    }
}

/// The message of the condition Ready.
fn message(state: &IncidentState) -> String {
    let ready = phase::conditions(state).into_iter().find(|fact| fact.type_ == ConditionType::Ready.name());
    ready.map(|fact| fact.message).unwrap_or_default()
}

/// The observed state of an Incident.
fn outcome(state: &IncidentState) -> String {
    let why = state.closing.map(|closing| match closing {
        Closing::Recovered => "no rule held for recovery.for",
        Closing::Withdrawn => "a person withdrew the response",
        Closing::Kept => "a person kept the changes; they are permanent",
        Closing::Deleted => "the Incident was deleted",
        Closing::NotClassified => "no rule ever held",
        Closing::Superseded => "another Incident responds for this policy",
    });
    match (state.resolved_at, why, &state.held) {
        (Some(_), why, _) => format!("closed: {}", why.unwrap_or("for a reason that was not recorded")),
        (None, Some(why), _) => format!("being closed: {why}"),
        (None, None, None) => "not closed".to_owned(),
        (None, None, Some(held)) => {
            let who = match held.reason.moves_on() {
                MovesOn::Itself => "it waits",
                MovesOn::Person | MovesOn::Nothing => "a person must act",
            };
            format!("not closed; {who} ({}): {}", held.reason, held.message)
        }
    }
}
