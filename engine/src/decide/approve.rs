//! Plans that a person must approve before they are carried out.
//!
//! # Guarantees
//! An approval counts for one plan: the hash binds it to the Incident, the step,
//! its action, the guardrails on its number of objects and, for every object, the
//! fields with their values. If any of these or the policy changes, or the detector
//! becomes suspect, the approval is void. It counts from the time the status
//! shows it, and not for longer than the policy says. An approval that was not used
//! in time never counts again.

use serde_json::Value;

use super::plan_hash::PlanHash;
use super::plans::Plans;
use super::{Deciding, is_begun};
use crate::change::{Change, ChangeState, FieldChange, cut};
use crate::incident::{ApprovalState, ApprovalStatus, AskedApproval, Held};
use crate::intent::Approval;
use crate::period::{Period, after};
use crate::policy::StepApproval;
use crate::reason::Reason;
use crate::rules::Step;
use crate::seal::is_seal;

/// The maximum length of what a message quotes of a plan, in bytes.
const LONGEST_QUOTE: usize = 300;

/// Why a plan must be approved.
pub(super) struct Needed {
    reason: Reason,
    why: String,
}

/// What a person says to a plan.
pub(super) enum Answer {
    /// Nobody has to be asked.
    NotNeeded,
    /// They have approved it.
    Approved,
    /// They have not approved it yet.
    Waits(Held),
}

impl Deciding<'_> {
    /// Records new approvals, and expires those that are too old.
    pub(super) fn hear_of_approvals(&mut self) {
        // If the status of a step was gone for a while, as with its policy, the step returns without a plan, so that
        // no approval from before counts for it.
        for given in &self.facts.intent.approvals {
            if self.step(&given.step).is_some() {
                self.step_index(&given.step);
            }
        }
        for index in 0..self.next.steps.len() {
            let status = &self.next.steps[index];
            let given = self.facts.intent.approvals.iter().find(|given| given.step == status.name);
            let known = status.approval.as_ref();
            match given {
                Some(given) if known.is_none_or(|known| !is_of(known, given)) => {
                    self.record_approval(index, given);
                }
                None if known.is_some_and(|known| known.state != ApprovalState::Used) => {
                    self.next.steps[index].approval = None;
                }
                Some(_) | None => {}
            }
            self.expire_approval(index);
        }
    }

    fn record_approval(&mut self, index: usize, given: &Approval) {
        let status = &mut self.next.steps[index];
        let fits = status.plan_hash.as_ref() == Some(&given.plan_hash);
        let state = if fits { ApprovalState::Valid } else { ApprovalState::Void };
        status.asked = None;
        status.approval = Some(ApprovalStatus {
            plan_hash: given.plan_hash.clone(),
            approved_by: given.approved_by.clone(),
            at: self.now,
            state,
        });
        let (type_, what) = if fits {
            ("Approved", "approved")
        } else {
            ("ApprovalVoid", "the approval names a different plan")
        };
        self.happen(type_, &format!("step {}: {what} by {}", given.step, given.approved_by));
    }

    fn expire_approval(&mut self, index: usize) {
        let Some(rules) = self.rules else { return };
        let status = &self.next.steps[index];
        let Some(approval) = status.approval.as_ref().filter(|known| known.state == ApprovalState::Valid)
        else {
            return;
        };
        let length = rules.limits.approval_valid_for;
        let due = after(approval.at, length);
        if due > self.now {
            return self.wake(Some(due));
        }
        let message = format!(
            "step {}: the approval by {} was not used within {}",
            status.name,
            approval.approved_by,
            Period::from(length)
        );
        self.end_approval(index, ApprovalState::Expired);
        self.happen("ApprovalExpired", &message);
    }

    fn end_approval(&mut self, index: usize, state: ApprovalState) {
        let status = &mut self.next.steps[index];
        status.asked = None;
        if let Some(approval) = &mut status.approval {
            approval.state = state;
        }
    }

    /// Approvals that were not used yet are void now.
    pub(super) fn void_approvals(&mut self, why: &str) {
        for index in 0..self.next.steps.len() {
            let status = &self.next.steps[index];
            let Some(approval) =
                status.approval.as_ref().filter(|approval| approval.state == ApprovalState::Valid)
            else {
                continue;
            };
            let message =
                format!("step {}: the approval by {} is void: {why}", status.name, approval.approved_by);
            self.end_approval(index, ApprovalState::Void);
            self.happen("ApprovalVoid", &message);
        }
    }

    /// Whether a person must approve this plan before it is carried out, and whether they have. If not, the plan is then
    /// in the status for them to read, and the message says how to approve it. `hash` covers the plan of the whole step.
    pub(super) fn must_be_approved(&mut self, step: &Step, plans: &Plans, hash: &PlanHash) -> Answer {
        let Some(needed) = self.approval_needed(step, plans) else { return Answer::NotNeeded };
        let index = self.step_index(&step.name);
        if let Some(known) = self.next.steps[index].approval.clone() {
            let by = &known.approved_by;
            match (known.state, hash.is_approved_by(&known.plan_hash)) {
                (ApprovalState::Valid, true) => {
                    self.end_approval(index, ApprovalState::Used);
                    self.happen(
                        "ApprovalUsed",
                        &format!("step {}: started with the approval by {by}", step.name),
                    );
                    return Answer::Approved;
                }
                (ApprovalState::Used, true) => return Answer::Approved,
                (ApprovalState::Valid, false) => {
                    self.end_approval(index, ApprovalState::Void);
                    let changed = format!("step {}: the plan has changed since {by} approved it", step.name);
                    self.happen("ApprovalVoid", &changed);
                }
                (ApprovalState::Used | ApprovalState::Expired | ApprovalState::Void, _) => {}
            }
        }
        Answer::Waits(self.await_approval(step, plans, &needed, index))
    }

    fn await_approval(&mut self, step: &Step, plans: &Plans, needed: &Needed, index: usize) -> Held {
        let again = match &self.next.steps[index].approval {
            Some(known) if known.state == ApprovalState::Expired => {
                format!("The approval by {} has expired. ", known.approved_by)
            }
            Some(known) if known.state == ApprovalState::Void => {
                format!("The approval by {} is void: the plan or the policy has changed. ", known.approved_by)
            }
            Some(_) | None => String::new(),
        };
        let message = format!(
            "step {} would change {} object(s), and {}. {again}Read the plan in status.changes, then approve it with \
             `{}`, or revert everything with `{}`{}",
            step.name,
            plans.to_be_approved(),
            needed.why,
            self.facts.incident.command_for_step("approve", &step.name),
            self.facts.incident.withdraw_command(),
            of_another_round(plans)
        );
        self.tell_of_need(step, plans, needed);
        // A plan that no longer exists needs no approval either.
        self.next.changes.retain(|change| change.state != ChangeState::Planned || change.step != step.name);
        self.journal(plans.changes.iter().filter_map(|(change, _)| to_be_read(change)));
        self.journal(plans.refused.iter().cloned());
        self.pending(&step.name, needed.reason.clone(), &message);
        Held::new(needed.reason.clone(), &message).of_step(&step.name)
    }

    /// Reports once what a person is asked to approve: not again while they are asked, and not again when
    /// something else held the response in the meantime.
    fn tell_of_need(&mut self, step: &Step, plans: &Plans, needed: &Needed) {
        let objects = u32::try_from(plans.to_be_approved()).unwrap_or(u32::MAX);
        let asked = AskedApproval { reason: needed.reason.clone(), objects };
        let is_told = match self.facts.state.held.as_ref().filter(|held| held.stops) {
            Some(held) if held.step.as_ref() == Some(&step.name) => held.reason == needed.reason,
            Some(_) => self.next.step(&step.name).is_some_and(|status| status.asked.as_ref() == Some(&asked)),
            None => false,
        };
        self.step_status(&step.name).asked = Some(asked);
        if !is_told {
            let text = format!("step {}: {objects} object(s), and {}", step.name, needed.why);
            self.happen("ApprovalNeeded", &text);
        }
    }

    /// Why a plan must be approved; none if it may be carried out without a person.
    pub(super) fn approval_needed(&mut self, step: &Step, plans: &Plans) -> Option<Needed> {
        if plans.changes.is_empty() {
            return None;
        }
        let required = "the policy says approval: Required";
        let required = (step.approval == StepApproval::Required).then(|| required.to_owned());
        let needs = [
            required.map(|why| (Reason::ApprovalRequired, why)),
            self.too_many(step, plans).map(|why| (Reason::TooManyTargets, why)),
            self.suspect_detector().map(|why| (Reason::DetectorSuspect, why)),
        ];
        let needs: Vec<(Reason, String)> = needs.into_iter().flatten().collect();
        // Whoever approves must know of the signal, whatever else they are asked about.
        let suspect = needs.iter().find(|(reason, _)| *reason == Reason::DetectorSuspect);
        let Some((reason, _)) = suspect.or(needs.first()) else {
            return self.outside_windows(step).map(|why| Needed { reason: Reason::OutsideWindows, why });
        };
        let whys: Vec<&str> = needs.iter().map(|(_, why)| why.as_str()).collect();
        Some(Needed { reason: reason.clone(), why: whys.join(", and ") })
    }

    /// Why the step must not start without approval at this time; none if it may, or if it has started: what has started
    /// continues, also with objects that join it. Wakes when it may.
    pub(super) fn outside_windows(&mut self, step: &Step) -> Option<String> {
        if is_begun(&self.next, &step.name) {
            return None;
        }
        let opening = self.rules?.windows.closed_until(self.now)?;
        self.wake(Some(opening.at));
        Some(format!("it is outside guardrails.windows. Without approval it starts on {opening}"))
    }

    /// Whether a person has approved anything of the step that has not started yet.
    pub(super) fn is_approved(&self, step: &Step) -> bool {
        let approval = self.next.step(&step.name).and_then(|status| status.approval.as_ref());
        approval.is_some_and(|approval| approval.state == ApprovalState::Valid)
    }

    /// Whether these fields differ from those that a person has approved for the change, or had to.
    pub(super) fn is_beyond_approval(&self, change: &Change, fields: &[FieldChange]) -> bool {
        let is_asked_for = change.approved().is_some() || self.must_be_asked_for(change);
        is_asked_for && change.clone().with_fields(fields.to_vec()).beyond_approval().is_some()
    }

    /// Whether no change of its step is made without an approval.
    pub(super) fn must_be_asked_for(&self, change: &Change) -> bool {
        self.step(&change.step).is_some_and(|step| step.approval == StepApproval::Required)
    }
}

fn is_of(known: &ApprovalStatus, given: &Approval) -> bool {
    known.plan_hash == given.plan_hash && known.approved_by == given.approved_by
}

/// The change as it is in the status for a person to approve. A change that was once in force keeps its entry,
/// which says how it ended.
fn to_be_read(change: &Change) -> Option<Change> {
    match change.state {
        ChangeState::Planned | ChangeState::Skipped if change.round == 0 => {
            let mut plan = Change { state: ChangeState::Planned, ..change.clone() };
            plan.explain(None);
            Some(plan)
        }
        ChangeState::Skipped => Some(change.clone()),
        _ => None,
    }
}

/// The plan for objects that the step has changed before, or tried to, because their entries say how that ended.
fn of_another_round(plans: &Plans) -> String {
    let again = plans.changes.iter().map(|(change, _)| change);
    let again = again.filter(|change| change.round > 0 && !change.fields().is_empty());
    let rows: Vec<String> = again.map(row_to_be_read).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        ". What was tried or reverted before would be changed again: {}",
        cut(&rows.join("; "), LONGEST_QUOTE)
    )
}

fn row_to_be_read(change: &Change) -> String {
    let shown = |value: Option<&Value>| match value {
        None => "absent".to_owned(),
        Some(value) if is_seal(value) => "a hidden value".to_owned(),
        Some(value) => value.to_string(),
    };
    let field = |field: &FieldChange| {
        format!("{} from {} to {}", field.path, shown(field.before.as_ref()), shown(field.after.as_ref()))
    };
    format!("{}: {}", change.target, change.fields().iter().map(field).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn a_need_is_told_once_though_something_else_holds_the_response_meanwhile() {
        let ask = |given: &Fixture, why: &Needed| {
            let mut deciding = given.deciding();
            let step = given.rules.steps[0].clone();
            deciding.tell_of_need(&step, &Plans::default(), why);
            let told = deciding.happened.iter().filter(|entry| entry.type_ == "ApprovalNeeded").count();
            (told, deciding.next)
        };
        let needed = |reason| Needed { reason, why: "why".to_owned() };
        let (told, next) = ask(&Fixture::pinned(), &needed(Reason::ApprovalRequired));
        assert_eq!(told, 1);
        // Another step has failed in the meantime.
        let failed = Fixture::pinned().with(|facts| {
            facts.state = next;
            facts.state.held = Some(Held::new(Reason::StepFailed, "why"));
        });
        assert_eq!(ask(&failed, &needed(Reason::ApprovalRequired)).0, 0);
        assert_eq!(ask(&failed, &needed(Reason::TooManyTargets)).0, 1, "another need is told");
        let answered = failed.with(|facts| facts.state.steps[0].asked = None);
        assert_eq!(ask(&answered, &needed(Reason::ApprovalRequired)).0, 1);
    }
}
