//! The ladder: continues the steps that have started, and starts the next one.

use jiff::{SignedDuration, Timestamp};

use super::held::Findings;
use super::journal::STEPS;
use super::next_step::NextStep;
use super::plan::was_in_step;
use super::plans::Plans;
use super::{Deciding, is_begun};
use crate::change::{Again, Change};
use crate::gitops;
use crate::incident::Held;
use crate::period::after;
use crate::policy::{OnFailure, Severity};
use crate::reason::Reason;
use crate::rules::Step;
use crate::verdict::Verdict;

/// Whether objects may join a started step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// A rule holds.
    Open,
    /// No rule holds.
    Closed,
}

/// The result of trying to start a step.
enum Start {
    /// It has started, so no other step starts now.
    Begun,
    /// An object that it may change is on its way back, and no other step starts before that; with the reason.
    Waits(String),
    /// A person must approve it first, and no other step starts now.
    Asks(Held),
    /// It cannot start now, and says why. The next one may.
    NotNow,
}

/// How often the targets of a step are listed while it is not verified.
pub(super) const RELIST_BUSY: SignedDuration = SignedDuration::from_secs(1);
/// How often they are listed when there is nothing to wait for.
pub(super) const RELIST_IDLE: SignedDuration = SignedDuration::from_secs(10);
/// Live reads take at most this fraction of the time.
const READS_SHARE: i32 = 10;

impl Deciding<'_> {
    /// Continues the started steps, and starts the next one if it is its turn.
    pub(super) fn climb(&mut self) -> Findings {
        let Some(level) = self.next.severity else { return Findings::default() };
        let mut findings = self.revert_unlisted_steps(level);
        self.release_what_was_taken_over();
        self.notice_rise(level);
        for step in self.begun() {
            findings.add(self.tend(&step, Joining::Open));
        }
        let begun = self.begun();
        self.revert_failed_steps(&begun);
        findings.add(self.relapsed_too_often());
        findings.add(self.trouble());
        findings.add(self.lost_pod());
        // A finding that is only reported blocks nothing.
        if findings.stop_new_changes() {
            self.say_who_waits();
        } else {
            findings.add(self.start_next(level));
        }
        findings.add(self.outstanding());
        findings
    }

    /// Continues the started steps, and lets no object join them.
    pub(super) fn watch_steps(&mut self) -> Findings {
        let mut findings = Findings::default();
        if let Some(level) = self.next.severity {
            self.note_level(level);
        }
        for step in self.begun() {
            findings.add(self.tend(&step, Joining::Closed));
        }
        findings
    }

    /// Whether new objects may join the step.
    fn admits(&self, step: &Step) -> bool {
        self.readmits(step) && !self.relapses_are_used_up()
    }

    /// Whether what the last relapse is about may be changed again, although no new object may join.
    fn readmits(&self, step: &Step) -> bool {
        let fell = self.next.step(&step.name).is_some_and(|status| status.unlisted_since.is_some());
        let failed = step.on_failure != OnFailure::Continue && self.has_failed(step);
        !fell && !failed
    }

    fn only(plans: Plans, is_wanted: impl Fn(&Change) -> bool) -> Plans {
        let changes = plans.changes.into_iter().filter(|(change, _)| is_wanted(change)).collect();
        let mut refused = plans.refused;
        refused.retain(|change| change.reason == Some(Reason::JournalFull) && is_wanted(change));
        Plans { changes, refused, ..plans }
    }

    pub(super) fn begun(&self) -> Vec<Step> {
        self.ladder.iter().filter(|step| is_begun(&self.next, &step.name)).cloned().collect()
    }

    /// Whether this decision lists the targets of a step: it already has, or they were
    /// last listed at least `interval` ago. If not, it is woken for it.
    pub(super) fn is_listing_due(&mut self, step: &str, interval: SignedDuration) -> bool {
        let interval = self.at_most_a_share(interval);
        let age = self.facts.listing_age.get(step).copied().filter(|age| *age < interval);
        let listed = self.facts.looked.listings.contains_key(step);
        match age {
            Some(age) if !listed && (!self.permits.may_write() || !self.has_rested()) => {
                self.wake_in(interval - age);
                false
            }
            _ => true,
        }
    }

    /// The interval between live reads that are repeated: a server that answers slowly must not be kept busy with them.
    pub(super) fn at_most_a_share(&self, interval: SignedDuration) -> SignedDuration {
        interval.max(self.facts.reads_took.saturating_mul(READS_SHARE).min(RELIST_IDLE))
    }

    /// Whether this decision lists the targets of a step again, because the last listing is older than
    /// this moment or than a second. If not, it is woken for it.
    pub(super) fn is_listing_newer(&mut self, step: &str, than: Option<Timestamp>) -> bool {
        let age = self.facts.listing_age.get(step).copied();
        let listed_at = age.map(|age| after(self.now, -age));
        match than {
            Some(than) if listed_at.is_some_and(|listed| listed < than) => true,
            Some(_) | None => self.is_listing_due(step, RELIST_BUSY),
        }
    }

    /// The finding of the last listing of this step stands until the next one.
    fn held_since_last_listing(&self, step: &Step) -> Option<Held> {
        self.facts.state.held.clone().filter(|held| held.step.as_ref() == Some(&step.name))
    }

    /// A step that has not started waits for approval until its next listing, while an earlier one is not listed.
    fn asked_since_last_listing(&self) -> Option<Held> {
        let is_new = |step: &String| !is_begun(&self.next, step) && self.step(step).is_some();
        let held = self.facts.state.held.clone();
        held.filter(|held| held.asks_for_approval() && held.step.as_ref().is_some_and(is_new))
    }

    /// Joiners, drift and verification of one step. Returns what a person must approve first, if anything.
    fn tend(&mut self, step: &Step, joining: Joining) -> Option<Held> {
        let settled = !self.is_wanted_again(step)
            && !self.is_approved(step)
            && self.next.changes_of(&step.name).all(|c| !c.counts() || c.sits_out() || c.is_verified());
        let interval = if settled { RELIST_IDLE } else { RELIST_BUSY };
        let is_due = self.is_over_since_last_listing(step) || self.is_listing_due(&step.name, interval);
        let plans = match is_due {
            true => {
                self.wake_in(interval);
                self.plan(step)
            }
            false => None,
        };
        let Some(mut plans) = plans else {
            self.end_turns_unlisted(step);
            self.verify_unlisted(step);
            return match joining {
                Joining::Open => self.held_since_last_listing(step),
                Joining::Closed => None,
            };
        };
        self.drop_turns(step, &plans);
        self.ask_for_what_was_not_approved(&mut plans);
        self.note(step, &plans);
        if self.permits.may_write() {
            self.notice_drift(step); // ceding what others have taken over is a write
        }
        self.note_idle(step);
        self.tend_pods(step);
        self.note_health(step);
        self.note_turns(step, &plans);
        let plans = match joining {
            Joining::Open if self.admits(step) => plans,
            Joining::Open if self.readmits(step) => {
                self.end_turns(step);
                Self::only(plans, was_in_step)
            }
            // An object that was reverted too early is applied again, although nothing else may join.
            Joining::Open | Joining::Closed => {
                self.end_turns(step);
                Self::only(plans, |change| change.again() == Again::Always)
            }
        };
        let asks = match self.permits.may_write() {
            true => self.begin_changes(step, plans),
            false => None,
        };
        // After the joiners, because a step is not verified while objects of it are about to be changed.
        self.verify(step);
        self.say_which_pods_stay(step);
        asks
    }

    /// Starts the next step if it is its turn. Returns what holds the response if none starts.
    fn start_next(&mut self, level: Severity) -> Option<Held> {
        let next = self.next_step();
        if matches!(next, NextStep::MayStart) && self.ask_for_listings(level) {
            return None;
        }
        if matches!(next, NextStep::Asks(_))
            && let Some(held) = self.asked_since_last_listing()
        {
            return Some(held);
        }
        let mut left = 0;
        let mut held_up = None;
        for step in self.ladder.clone() {
            if is_begun(&self.next, &step.name) {
                continue;
            }
            if !step.is_for(level) {
                self.pending(
                    &step.name,
                    Reason::OtherSeverity,
                    &format!("its severities do not include {level}"),
                );
                continue;
            }
            left += 1;
            let waits = match &next {
                NextStep::MayStart => held_up.clone().map(|why| (Reason::WaitsForEarlierStep, why)),
                NextStep::Wait(why) | NextStep::Asks(why) => Some((Reason::WaitsForEarlierStep, why.clone())),
                NextStep::TooSoon(why) => Some((Reason::MinStepInterval, why.clone())),
                NextStep::Unknown(_) => {
                    let why = "whether an earlier step helped is not known";
                    Some((Reason::WaitsForEarlierStep, why.to_owned()))
                }
                NextStep::Mitigated => Some((Reason::NotNeeded, "an earlier step was verified".to_owned())),
            };
            // Until the next listing, the step says what it said after the last one.
            let says_why = self.next.step(&step.name).is_some_and(|status| status.reason.is_some());
            if matches!(next, NextStep::Asks(_)) && says_why {
                continue;
            }
            if let Some(waits) = waits {
                let (reason, text) = self.closed_by_when(&step).unwrap_or(waits);
                self.pending(&step.name, reason, &text);
                continue;
            }
            match self.start(&step) {
                Start::Begun => return None,
                Start::Waits(why) => held_up = Some(why),
                Start::Asks(held) => return Some(held),
                Start::NotNow => {}
            }
        }
        if held_up.is_some() {
            return None;
        }
        self.what_is_missing(left, &next, level)
    }

    /// Requests the listings of all steps that might start at once, because each
    /// of them may turn out to have no targets. Returns whether any is still missing.
    fn ask_for_listings(&mut self, level: Severity) -> bool {
        for step in self.ladder.clone() {
            let may_start = !is_begun(&self.next, &step.name)
                && step.is_for(level)
                && self.closed_by_when(&step).is_none();
            if may_start && self.is_listing_due(&step.name, RELIST_BUSY) {
                let _ = self.listing(&step.name);
            }
        }
        !self.look.is_empty()
    }

    /// Starts a step if it can start.
    fn start(&mut self, step: &Step) -> Start {
        if let Some((reason, text)) = self.closed_by_when(step) {
            self.pending(&step.name, reason, &text);
            return Start::NotNow;
        }
        if self.begun().len() >= STEPS {
            self.pending(
                &step.name,
                Reason::JournalFull,
                &format!("{STEPS} steps have started, which is the maximum; withdraw first"),
            );
            return Start::NotNow;
        }
        let plans = match self.is_listing_due(&step.name, RELIST_BUSY) {
            true => {
                self.wake_in(RELIST_IDLE);
                self.plan(step)
            }
            false => None, // it stays pending, for the reason from the last listing
        };
        let Some(plans) = plans else {
            return self.held_since_last_listing(step).map_or_else(|| self.gives_way(step), Start::Asks);
        };
        self.note(step, &plans);
        if let Some((reason, text)) = self.nothing_to_change(step, &plans) {
            self.journal(plans.refused);
            self.pending(&step.name, reason, &text);
            return self.gives_way(step);
        }
        let number = plans.new_targets();
        let in_place = plans.in_place_of_others();
        let (warning, doubt) = (plans.warning.clone(), plans.doubt.clone());
        if let Some(held) = self.begin_changes(step, plans) {
            return Start::Asks(held);
        }
        let now = self.now;
        let status = self.step_status(&step.name);
        status.definition = Some(step.definition.clone());
        status.started_at = Some(now);
        status.reason = None;
        status.message = None;
        status.verification = None;
        self.happen(
            "StepStarted",
            &format!("step {}: {} on {number} object(s){in_place}", step.name, step.action.name()),
        );
        if let Some(warning) = warning {
            self.happen(gitops::WARNING, &format!("step {}: {warning}", step.name));
        }
        if let Some(doubt) = doubt {
            self.happen(Reason::MayHaveNoEffect.name(), &format!("step {}: {doubt}", step.name));
        }
        Start::Begun
    }

    /// A step with nothing to change gives way to the next one, unless it may soon have something.
    fn gives_way(&self, step: &Step) -> Start {
        self.awaits_a_return(step).map_or(Start::NotNow, Start::Waits)
    }

    /// Why the `when` of the step keeps it from starting; none if it does not.
    pub(super) fn closed_by_when(&self, step: &Step) -> Option<(Reason, String)> {
        let when = step.when.as_ref()?;
        let found = when.evaluate(&self.assessment.values);
        match found.verdict {
            Verdict::True => None,
            Verdict::False => Some((Reason::WhenFalse, format!("its condition is false: {}", when.source()))),
            Verdict::Unknown => Some((Reason::WhenUnknown, found.why.unwrap_or_default())),
        }
    }
}
