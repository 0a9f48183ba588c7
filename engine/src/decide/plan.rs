//! From live objects to planned changes, or the reason why there is none.

use super::climb::RELIST_IDLE;
use super::{Round, is_begun, journal};
use crate::action::{self, Plan};
use crate::change::{Change, ChangeState};
use crate::facts::{Look, LookResult, Target};
use crate::id::ChangeId;
use crate::path::FieldPath;
use crate::rules::Step;
use crate::undo;
use crate::verdict::Verdict;
use crate::why::WhyNot;

/// What a listing of a step's targets means.
#[derive(Default)]
pub(super) struct Plans {
    /// Objects that the targets describe.
    pub matched: u32,
    /// Objects that need no change.
    pub nothing_to_do: u32,
    /// Objects in the step's scope, whatever `where` says.
    pub scope: usize,
    /// Changes to make, each with the object that it was planned on.
    pub changes: Vec<(Change, Target)>,
    /// Changes that must not be made; their entry says why.
    pub refused: Vec<Change>,
}

impl Round<'_> {
    /// Plans a step on what its targets describe now. None while the listing
    /// has to be asked for, or when it failed: then the step says why.
    pub(super) fn plan(&mut self, step: &Step) -> Option<Plans> {
        let listed = match self.looked(Look::Step(step.name.clone()))? {
            LookResult::Listed(listing) => listing,
            LookResult::Refused { why } => {
                self.pending(&step.name, "CannotListTargets", why);
                self.wake_in(RELIST_IDLE);
                return None;
            }
            LookResult::Failed { why } => {
                self.pending(&step.name, "TargetsUnknown", why);
                self.wake_in(super::climb::RELIST_BUSY);
                return None;
            }
            LookResult::Found(_) | LookResult::Gone => return None,
        };
        let mut plans = Plans { scope: listed.scope, ..Plans::default() };
        for target in &listed.targets {
            if target.matched == Verdict::True
                || self.next.changes_of(&step.name).any(|c| c.target.uid == target.id.uid)
            {
                plans.matched += 1;
            }
            self.plan_target(step, target, &mut plans);
        }
        self.refuse_what_does_not_fit(&mut plans);
        for refused in plans.refused.iter().filter(|c| c.reason.as_deref() == Some("JournalFull")) {
            let message = refused.message.clone().unwrap_or_default();
            self.why.push(WhyNot {
                step: step.name.clone(),
                target: Some(refused.target.clone()),
                reason: "JournalFull".to_owned(),
                message,
            });
        }
        Some(plans)
    }

    fn plan_target(&mut self, step: &Step, target: &Target, plans: &mut Plans) {
        let known = self.next.changes_of(&step.name).find(|change| change.target.uid == target.id.uid);
        if known.is_some_and(|change| !matches!(change.state, ChangeState::Planned | ChangeState::Skipped)) {
            return; // it has joined already, or it was undone by hand and never returns
        }
        match target.matched {
            Verdict::True => {}
            Verdict::False => return,
            Verdict::Unknown => {
                let why = target.match_problem.clone().unwrap_or_else(|| "where is Unknown".to_owned());
                return self.not_done(&step.name, Some(target), "WhereUnknown", &why);
            }
        }
        let change = |fields| {
            let id = ChangeId::of(&self.facts.incident.uid, &step.name, &target.id.uid);
            match known {
                Some(known) => Change { fields, ..known.clone() },
                None => Change::planned(id, &step.name, target.id.clone(), fields),
            }
        };
        match self.consider(step, target) {
            Plan::Change(fields) => plans.changes.push((change(fields), target.clone())),
            Plan::NothingToDo(why) => {
                plans.nothing_to_do += 1;
                self.not_done(&step.name, Some(target), "NothingToDo", &why);
            }
            Plan::Refused { reason, message } => {
                // What an earlier round has set still bounds a later one.
                let mut skipped = change(known.map(|known| known.fields.clone()).unwrap_or_default());
                skipped.stand(ChangeState::Skipped, reason, message.clone());
                self.not_done(&step.name, Some(target), reason, &message);
                plans.refused.push(skipped);
            }
        }
    }

    /// What the step means for this object, once everything that speaks against
    /// touching it at all was asked.
    pub(super) fn consider(&self, step: &Step, target: &Target) -> Plan {
        let refused = |reason, message: String| Plan::Refused { reason, message };
        if target.exempt {
            return refused("Exempt", format!("it or its namespace is annotated {}", undo::EXEMPT));
        }
        if let Some(owned_by) = &target.owned_by {
            return refused("OwnedByController", owned_by.to_string());
        }
        let record = match undo::record(&target.object) {
            Ok(record) => record,
            Err(error) => {
                let reason = match &error {
                    undo::BadRecord::Unreadable(_) => "RecordUnreadable",
                    undo::BadRecord::OfAnotherObject(_) => "RecordOfAnotherObject",
                };
                let forget = format!("{} --forget", target.id.undo_command());
                return refused(reason, format!("{}; look at it, then `{forget}` drops it", error.stable()));
            }
        };
        let ours = self.facts.incident.to_string();
        let loans = record.map(|record| record.loans).unwrap_or_default();
        if let Some(loan) = loans.iter().find(|loan| loan.incident != ours) {
            return refused(
                "HeldBy",
                format!(
                    "Incident {} has changed it; it is tried again when that is over, or after `{}`",
                    loan.incident,
                    target.id.undo_command()
                ),
            );
        }
        let id = ChangeId::of(&self.facts.incident.uid, &step.name, &target.id.uid);
        let known = self.next.changes.iter().find(|change| change.id == id);
        let plan = action::plan(&step.action, target, known);
        let Plan::Change(fields) = plan else { return plan };
        let lent = |path: &FieldPath| {
            loans.iter().find(|loan| loan.step != step.name && loan.fields.iter().any(|f| f.path == *path))
        };
        if let Some(loan) = fields.iter().find_map(|field| lent(&field.path)) {
            return refused("ChangedByAnotherStep", format!("step {} has changed the same field", loan.step));
        }
        let change = Change::planned(id, &step.name, target.id.clone(), fields.clone());
        if let Some((reason, why)) = journal::misfit(&change) {
            return refused(reason, why);
        }
        if let Err(error) = undo::apply_patch(&target.object, &change, &self.facts.incident) {
            return refused("CannotRecord", error.to_string());
        }
        Plan::Change(fields)
    }

    /// The plan of every step for this level, without any effect (mode Observe).
    pub(super) fn publish_plan(&mut self) {
        self.next.held = None;
        let Some(level) = self.next.severity else { return };
        self.wake_in(RELIST_IDLE);
        let is_plan = |change: &Change| matches!(change.state, ChangeState::Planned | ChangeState::Skipped);
        let (old, ended): (Vec<Change>, Vec<Change>) =
            std::mem::take(&mut self.next.changes).into_iter().partition(is_plan);
        self.next.changes = ended; // what was lent once never returns
        let mut planned = Vec::new();
        for step in self.ladder.clone() {
            if !step.is_for(level) {
                self.pending(&step.name, "OtherSeverity", &format!("it is not for {level}"));
                continue;
            }
            let plans = match self.is_listing_due(&step.name, RELIST_IDLE) {
                true => self.plan(&step),
                false => None,
            };
            let Some(plans) = plans else {
                planned.extend(old.iter().filter(|change| change.step == step.name).cloned());
                continue;
            };
            if let Some(message) = self.too_many(&step, &plans) {
                self.not_done(&step.name, None, "TooManyTargets", &message);
            }
            planned.extend(plans.changes.into_iter().map(|(change, _)| change).chain(plans.refused));
            let status = self.step_status(&step.name);
            status.targets.matched = plans.matched;
            status.targets.nothing_to_do = plans.nothing_to_do;
            if is_begun(&self.next, &step.name) {
                continue;
            }
            let observe = "the policy is in Observe: this is the plan, and nothing is changed".to_owned();
            let (reason, text) = self.closed_by_when(&step).unwrap_or(("Observe", observe));
            self.pending(&step.name, reason, &text);
        }
        self.journal(planned);
    }
}
