//! What to do about one Incident, given everything that was observed.
//!
//! [`decide`] is total: it never fails, never waits, and never reads the
//! time. It returns the Incident's next state, which must be recorded before
//! the effects may be performed, and it may ask for live reads first.

mod admission;
mod approve;
mod begin;
mod climb;
mod close;
mod common;
mod course;
mod demand;
mod expected;
mod fall;
#[cfg(test)]
mod fixture;
mod guardrails;
mod held;
mod idle;
mod journal;
mod judged;
mod ladder;
mod ledger;
mod next_step;
mod nothing;
mod operate;
mod operation_write;
mod pace;
mod patience;
mod plan;
mod plan_hash;
mod plans;
mod pods;
mod progress;
mod rate;
mod recover;
mod relapse;
mod relative;
mod rest;
mod revert;
mod rollout;
mod settle;
mod settlements;
mod suspect;
mod turns;
mod verify;
mod wave;
mod wave_health;
mod withdraw;

pub use ladder::ladder;
pub use operate::learn;
pub use revert::cede_refused;

use jiff::{SignedDuration, Timestamp};

use self::common::keep_common;
use self::course::{Course, Permits};
use self::held::Findings;
use crate::change::{Change, cut};
use crate::effect::{Act, Effect, EffectId, Guard, Write};
use crate::facts::{Facts, ListingRead, Look, Looks, ObjectRead, Outcome, PolicyFact, Target};
use crate::id::TargetId;
use crate::incident::{Closing, IncidentState, PINNED, PolicySnapshot, TimelineEntry, keep_unnamed};
use crate::period::after;
use crate::policy::Mode;
use crate::reason::Reason;
use crate::rules::{Rules, Step};
use crate::severity::{self, Assessment, Observed, assess, earliest, keep_texts};
use crate::undo::GuardedPatch;
use crate::why::WhyNot;

pub use close::as_closed;
pub(crate) use ladder::is_begun;

/// For people: why a step changes nothing, whatever else keeps it from that.
const IN_OBSERVE: &str = "the policy is in Observe";

/// What to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Live reads that the decision still needs. While there are any, nothing
    /// else in it counts.
    pub look: Looks,
    /// The state to record before anything is performed.
    pub next: IncidentState,
    /// What to carry out once `next` is recorded.
    pub effects: Vec<Effect>,
    /// What happened just now; it is in `next.timeline` too.
    pub happened: Vec<TimelineEntry>,
    /// When to decide again even if nothing changes.
    pub wake_at: Option<Timestamp>,
    /// Everything that is not done, and why.
    pub why: Vec<WhyNot>,
    /// The report is to be written now, from [`as_closed`] of `next`.
    pub report: bool,
    /// Expressions that failed.
    pub rule_errors: Vec<String>,
}

impl Decision {
    /// Whether it reverts or keeps changes because a person has asked for it. The brake does not stop that.
    pub fn is_for_a_person(&self) -> bool {
        self.next.closing.is_some_and(Closing::is_for_a_person)
    }
}

/// Decides. `rules` is the policy if it can be used.
pub fn decide(facts: &Facts, rules: Option<&Rules>, now: Timestamp) -> Decision {
    let mut deciding = Deciding::new(facts, rules, now);
    if facts.state.resolved_at.is_some() {
        return deciding.done(); // it never changes again
    }
    deciding.open();
    deciding.classify();
    deciding.hear_of_approvals();
    let course = deciding.course();
    let mut course = deciding.unless_it_rests(course);
    deciding.permits = course.permits();
    deciding.resume();
    deciding.settle();
    deciding.hear_of_operations();
    deciding.hear_of_settlements();
    deciding.send_operations_again();
    let findings = loop {
        deciding.permits = course.permits();
        match deciding.follow(course) {
            Followed::Turned(next) => course = next,
            Followed::Done(findings) => break findings,
        }
    };
    deciding.next.held = findings.most_pressing();
    deciding.finish()
}

/// The result of following a course.
enum Followed {
    /// The course is followed to its end in this decision. These findings hold the response.
    Done(Findings),
    /// The decision continues with another course: a withdrawal is complete, or there is a relapse.
    Turned(Course),
}

/// One decision in the making.
struct Deciding<'a> {
    facts: &'a Facts,
    rules: Option<&'a Rules>,
    now: Timestamp,
    /// The started steps by their own definition, then the steps of the live policy.
    ladder: Vec<Step>,
    assessment: Assessment,
    next: IncidentState,
    look: Looks,
    effects: Vec<Effect>,
    happened: Vec<TimelineEntry>,
    wake_at: Option<Timestamp>,
    why: Vec<WhyNot>,
    report: bool,
    /// What the course permits.
    permits: Permits,
}

impl<'a> Deciding<'a> {
    fn new(facts: &'a Facts, rules: Option<&'a Rules>, now: Timestamp) -> Self {
        Self {
            facts,
            rules,
            now,
            ladder: ladder(&facts.state, rules),
            assessment: Assessment::default(),
            next: facts.state.clone(),
            look: Looks::new(),
            effects: Vec::new(),
            happened: Vec::new(),
            wake_at: None,
            why: Vec::new(),
            report: false,
            permits: Course::Observe.permits(),
        }
    }

    /// Opens the Incident at first sight, and takes note of the policy as it is now.
    fn open(&mut self) {
        if self.next.opened_at.is_none() {
            self.next.opened_at = Some(self.now);
            self.happen("Opened", "Incident opened");
        }
        if self.next.acknowledged_by != self.facts.intent.acknowledged_by {
            self.next.acknowledged_by.clone_from(&self.facts.intent.acknowledged_by);
            self.next.acknowledged_at = self.next.acknowledged_by.as_ref().map(|_| self.now);
            if let Some(by) = self.next.acknowledged_by.clone() {
                self.happen("Acknowledged", &format!("acknowledged by {by}"));
            }
        }
        if let PolicyFact::Usable { uid, name, generation, service_account, .. } = &self.facts.policy {
            let old = self.next.policy.take();
            let pinned = old.as_ref().filter(|_| self.next.first_action_at.is_some());
            match &old {
                Some(old) if old.uid.is_empty() => self.happen(
                    "PolicyChosen",
                    &format!(
                        "chose policy {name}: among the policies whose rules hold, the most severe, \
                        then the first by name"
                    ),
                ),
                Some(old) if old.generation != *generation || old.uid != *uid => {
                    self.happen("PolicyChanged", &format!("policy {name} is now at generation {generation}"));
                    self.void_approvals("the policy has changed");
                }
                Some(_) | None => {}
            }
            self.next.awaited_policy = None;
            self.next.policy = Some(PolicySnapshot {
                uid: uid.clone(),
                name: name.clone(),
                generation: *generation,
                service_account: pinned.map_or(service_account, |old| &old.service_account).clone(),
            });
        }
    }

    /// Rules to truth to severity.
    fn classify(&mut self) {
        let Some(rules) = self.rules else { return };
        let state = &self.facts.state;
        self.assessment = assess(&Observed {
            rules,
            previous: if state.rules.is_empty() { &self.facts.policy_rules } else { &state.rules },
            signals: &self.facts.signals,
            expected: &self.facts.expected,
            began: self.facts.began,
            clocks_broken: self.facts.clocks_broken,
            now: self.now,
        });
        self.next.rules.clone_from(&self.assessment.rules);
        self.next.signals.clone_from(&self.assessment.signals);
        self.wake(self.assessment.wake_at);
        let current = self.next.severity.zip(self.next.severity_reason.clone());
        self.tell_of_accepted();
        let level = match self.facts.intent.pinned {
            Some(pinned) => Some((pinned, PINNED.to_owned())),
            None => severity::level(&self.assessment.rules, current.clone()),
        };
        if level != current {
            match &level {
                Some((level, reason)) => self.happen("Classified", &format!("severity {level}: {reason}")),
                None => self.happen("SeverityCleared", "no rule holds"),
            }
        }
        if level.is_some() && self.next.classified_at.is_none() {
            self.next.classified_at = Some(self.now);
            self.next.detected_at =
                self.assessment.rules.iter().filter(|rule| rule.holds).filter_map(|r| r.since).min();
        }
        self.next.rule_has_held |= self.assessment.holds();
        (self.next.severity, self.next.severity_reason) = level.unzip();
        self.next.worst_severity = self.next.severity.into_iter().chain(self.next.worst_severity).min();
        self.note_common();
    }

    fn follow(&mut self, course: Course) -> Followed {
        Followed::Done(match course {
            Course::Withdraw(closing) => self.withdraw(closing),
            Course::Recover(due) => return self.recover(due),
            Course::Stand(held) => Findings::from(held),
            Course::Rest(held) => self.rest(held),
            Course::Observe => self.publish_plan(),
            Course::Wait => self.wait_for_a_rule(),
            Course::Hold(held) => self.hold(held),
            Course::Climb => self.climb(),
        })
    }

    /// A rule held and no longer holds, or none has held yet: nothing new starts.
    fn wait_for_a_rule(&mut self) -> Findings {
        let mut findings = Findings::from(self.not_classified());
        findings.add(self.watch_steps());
        findings.add(self.relapsed_too_often());
        findings.add(self.outstanding());
        findings.add(self.lost_pod());
        findings.add(self.unknown_operation());
        findings
    }

    /// Derives the rest of the state and returns the decision.
    fn finish(mut self) -> Decision {
        let state = &self.facts.state;
        self.refresh_steps();
        self.show_who_sits_out();
        self.ask_for_the_brake();
        let mut worded = self.next.clone();
        keep_texts(&state.rules, &mut worded.rules, &state.signals, &mut worded.signals);
        keep_unnamed(&state.steps, &mut worded.steps);
        keep_common(state, &mut worded);
        if worded == *state {
            self.next = worded;
        }
        self.done()
    }

    fn done(self) -> Decision {
        Decision {
            look: self.look,
            next: self.next,
            effects: self.effects,
            happened: self.happened,
            wake_at: self.wake_at,
            why: self.why,
            report: self.report,
            rule_errors: self.assessment.rule_errors,
        }
    }

    // What the parts of a decision share.

    fn happen(&mut self, type_: &str, message: &str) {
        let entry = TimelineEntry { at: self.now, type_: type_.to_owned(), message: cut(message, 1024) };
        self.next.tell(entry.clone());
        self.happened.push(entry);
    }

    fn wake(&mut self, at: Option<Timestamp>) {
        self.wake_at = earliest(self.wake_at, at);
    }

    fn wake_in(&mut self, length: SignedDuration) {
        self.wake(Some(after(self.now, length)));
    }

    /// The live read of an object. None if it has to be requested.
    fn look_at(&mut self, target: &TargetId) -> Option<&'a ObjectRead> {
        let found = self.facts.looked.objects.get(target);
        self.or_ask(found, || Look::Object(target.clone()))
    }

    /// The listing of a step. None if it has to be requested.
    fn listing(&mut self, step: &str) -> Option<&'a ListingRead> {
        let found = self.facts.looked.listings.get(step);
        self.or_ask(found, || Look::Step(step.to_owned()))
    }

    /// The result of a read. If there is none yet, the read is requested.
    fn or_ask<T>(&mut self, found: Option<&'a T>, look: impl FnOnce() -> Look) -> Option<&'a T> {
        if found.is_none() {
            self.look.insert(look());
        }
        found
    }

    fn step(&self, name: &str) -> Option<&Step> {
        self.ladder.iter().find(|step| step.name == name)
    }

    fn effect(&mut self, change: &Change, act: Act, patch: GuardedPatch) {
        let (id, target) = (change.id.clone(), change.target.clone());
        self.effects.push(Effect { change: id, target, act, write: Write::Patch(patch) });
    }

    /// Whether this decision writes the object already. A second write with the
    /// same guard could only fail. The answer to the first one triggers the next decision.
    fn is_being_written(&self, target: &TargetId) -> bool {
        self.effects.iter().any(|effect| effect.target.uid == target.uid)
    }

    /// The answer to the newest write of this kind for this change.
    fn answer(&self, change: &Change, act: Act) -> Option<&'a Outcome> {
        let guard = Guard::Version(change.base()?.clone());
        let id = EffectId { change: change.id.clone(), act, guard };
        self.facts.outcomes.get(&id)
    }

    fn not_done(&mut self, step: &str, target: Option<&Target>, reason: Reason, message: &str) {
        self.why.push(WhyNot {
            step: step.to_owned(),
            target: target.map(|target| target.id.clone()),
            reason,
            message: message.to_owned(),
        });
    }

    /// Records why a step has not started. In Observe none starts, whatever else keeps it from that.
    fn pending(&mut self, step: &str, reason: Reason, message: &str) {
        self.not_done(step, None, reason.clone(), message);
        let message = match reason {
            Reason::Observe => cut(message, 1024),
            _ if self.observes() => cut(&format!("{IN_OBSERVE}, and {message}"), 1024),
            _ => cut(message, 1024),
        };
        let status = self.step_status(step);
        status.reason = Some(reason);
        status.message = Some(message);
    }

    /// Whether the policy is in Observe.
    fn observes(&self) -> bool {
        self.rules.is_some_and(|rules| rules.mode == Mode::Observe)
    }
}
