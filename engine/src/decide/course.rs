//! The course of a response: up the ladder, reverting in waves, reverting at once, or waiting
//! until a person acts.

use jiff::Timestamp;

use super::Deciding;
use crate::change::Again;
use crate::facts::PolicyFact;
use crate::id::IncidentId;
use crate::incident::{Because, Closing, Held};
use crate::intent::Response;
use crate::period::after;
use crate::policy::Mode;
use crate::reason::Reason;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// The course of the response in this decision.
pub(super) enum Course {
    /// Revert all changes at once, then close.
    Withdraw(Closing),
    /// Revert all changes in waves, then close. It has been due since then.
    Recover(Timestamp),
    /// Nothing is applied and nothing is withdrawn until a person acts.
    Stand(Held),
    /// Write nothing until a person lets the response continue.
    Rest(Held),
    /// Publish the plan.
    Observe,
    /// No rule holds (any more, or yet).
    Wait,
    /// Nothing new is applied until a person acts; recovery works.
    Hold(Held),
    /// Continue with the ladder.
    Climb,
}

/// What happens to open intents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intents {
    /// They are sent until they are applied or their time is over.
    Sent,
    /// Only what a relapse applies again is sent. The others may still take effect.
    SentAgain,
    /// None is sent. A request in flight may still take effect.
    Awaited,
    /// They are given up, by a fence if necessary.
    GivenUp,
}

/// Which writes are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// All that the parts decide.
    All,
    /// All except the deletion of pods.
    NoPods,
    /// None.
    Nothing,
}

/// Which planned changes stay in the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StandingPlans {
    /// Those of a step that a person is asked to approve.
    ForApproval,
    /// All, because the plan is what is published.
    All,
}

/// What a course permits. It depends on nothing but the course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permits {
    pub intents: Intents,
    pub writes: Writes,
    pub plans: StandingPlans,
}

impl Permits {
    /// Whether an intent with this value of `again` may be sent.
    pub(super) fn may_send(self, again: Again) -> bool {
        match self.intents {
            Intents::Sent => true,
            Intents::SentAgain => again == Again::Always,
            Intents::Awaited | Intents::GivenUp => false,
        }
    }

    /// Whether the course reverts everything.
    pub(super) fn withdraws(self) -> bool {
        self.intents == Intents::GivenUp
    }

    /// Whether any write may be sent.
    pub(super) fn may_write(self) -> bool {
        self.writes != Writes::Nothing
    }
}

impl Course {
    /// What it permits.
    pub(super) fn permits(&self) -> Permits {
        let (intents, writes) = match self {
            Self::Climb => (Intents::Sent, Writes::All),
            Self::Wait => (Intents::SentAgain, Writes::All),
            Self::Hold(_) => (Intents::SentAgain, Writes::NoPods),
            Self::Stand(_) | Self::Observe => (Intents::Awaited, Writes::All),
            Self::Rest(_) => (Intents::Awaited, Writes::Nothing),
            Self::Withdraw(_) | Self::Recover(_) => (Intents::GivenUp, Writes::All),
        };
        let plans = match self {
            Self::Observe => StandingPlans::All,
            Self::Climb
            | Self::Wait
            | Self::Hold(_)
            | Self::Stand(_)
            | Self::Rest(_)
            | Self::Withdraw(_)
            | Self::Recover(_) => StandingPlans::ForApproval,
        };
        Permits { intents, writes, plans }
    }
}

impl Deciding<'_> {
    pub(super) fn course(&mut self) -> Course {
        let intent = &self.facts.intent;
        if intent.response == Response::Kept {
            return Course::Withdraw(Closing::Kept);
        }
        if intent.deleting {
            return Course::Withdraw(Closing::Deleted);
        }
        if intent.response == Response::Withdrawn {
            return Course::Withdraw(Closing::Withdrawn);
        }
        if let Some(closing) = self.next.closing {
            return Course::Withdraw(closing);
        }
        match &self.facts.policy {
            PolicyFact::Claimed { superseded: true, .. } => return Course::Withdraw(Closing::Superseded),
            PolicyFact::Claimed { by, superseded: false } => {
                return Course::Stand(claimed(&self.facts.incident, by));
            }
            PolicyFact::NotChosen { why } => return Course::Stand(Held::new(Reason::NoPolicy, why)),
            PolicyFact::Unavailable { why } => return Course::Stand(unavailable(&self.facts.incident, why)),
            PolicyFact::Usable { .. } => {}
        }
        let Some(rules) = self.rules else {
            return Course::Stand(unavailable(&self.facts.incident, "the policy cannot be read"));
        };
        if rules.mode == Mode::Observe && self.next.owes_anything() {
            return Course::Stand(unavailable(&self.facts.incident, "the policy was set to Observe"));
        }
        if let Some(due) = self.recovered_since(rules) {
            return match self.next.classified_at {
                Some(_) => Course::Recover(due),
                None => Course::Withdraw(Closing::NotClassified),
            };
        }
        match rules.mode {
            Mode::Observe => Course::Observe,
            Mode::Enforce if self.next.severity.is_none() => Course::Wait,
            Mode::Enforce => self.too_many_incidents(rules).map_or(Course::Climb, Course::Hold),
        }
    }

    /// Since when the withdrawal may run: no rule has held for the quiet time and `recovery.when` is true, or
    /// a wave is in progress. Then only a relapse stops it.
    fn recovered_since(&mut self, rules: &Rules) -> Option<Timestamp> {
        self.next.quiet_until = None;
        let withdrawal = self.next.withdrawal.as_ref().filter(|w| w.because == Because::Recovered);
        if withdrawal.is_some_and(|withdrawal| !withdrawal.wave.is_empty()) {
            return Some(self.now);
        }
        let quiet = self.quiet_since(rules).filter(|_| !self.relapses_are_used_up());
        let Some(quiet) = quiet else {
            if withdrawal.is_some() && self.assessment.holds() {
                self.next.withdrawal = None; // no wave is in progress
            }
            return None;
        };
        let due = after(quiet, self.quiet_time(rules));
        if due > self.now {
            self.next.quiet_until = Some(due).filter(|_| self.next.owes_anything());
            self.wake(Some(due));
            return None;
        }
        let when = rules.recovery.when.as_ref().map(|when| when.evaluate(&self.assessment.values).verdict);
        when.is_none_or(|verdict| verdict == Verdict::True).then_some(due)
    }

    /// Says when the withdrawal may run, if it may not yet.
    pub(super) fn note_quiet_time(&mut self) {
        if let Some(rules) = self.rules {
            let _ = self.recovered_since(rules);
        }
    }

    /// Since when the rules of this Incident have been quiet.
    fn quiet_since(&self, rules: &Rules) -> Option<Timestamp> {
        if self.facts.intent.pinned.is_some() && !self.next.rule_has_held {
            return None; // if no rule has detected the emergency, no rule can tell when it is over
        }
        if rules.severity.is_empty() {
            // Rules that were removed say nothing about the emergency that they had detected.
            return self.next.opened_at.filter(|_| self.next.classified_at.is_none());
        }
        let quiet = self.assessment.quiet_since()?;
        // The rules may have been quiet for days before a person opened the Incident, and throughout a relapse.
        self.next.opened_at.into_iter().chain(self.next.relapsed_at).chain([quiet]).max()
    }
}

fn unavailable(incident: &IncidentId, why: &str) -> Held {
    Held::new(
        Reason::PolicyUnavailable,
        &format!(
            "{why}: until the policy can be used again, nothing is applied and nothing is reverted automatically. \
             Restore the policy, or revert everything with `{}`",
            incident.withdraw_command()
        ),
    )
}

fn claimed(incident: &IncidentId, by: &str) -> Held {
    let message = if by.is_empty() {
        "no Incident holds the claim of the policy yet; this one continues as soon as it holds the claim"
            .to_owned()
    } else {
        let namespace = &incident.namespace;
        format!(
            "a policy has one open Incident at a time, and that is Incident {by}. This one starts nothing until {by} is \
             closed, and then continues; delete it if you do not need it. To see what {by} does: \
             `firebreak describe {by} -n {namespace}`. To revert its changes and close it: \
             `firebreak withdraw {by} -n {namespace}`, or `kubectl patch incident {by} -n {namespace} --type=merge \
             -p '{{\"spec\":{{\"response\":\"Withdrawn\"}}}}'`"
        )
    };
    Held::new(Reason::AnotherIncident, &message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::Fixture;
    use super::*;
    use crate::facts::Facts;
    use crate::reason::MovesOn;

    fn name(course: &Course) -> String {
        match course {
            Course::Withdraw(closing) => format!("Withdraw {}", closing.name()),
            Course::Recover(_) => "Recover".to_owned(),
            Course::Stand(held) => format!("Stand {}", held.reason),
            Course::Rest(held) => format!("Rest {}", held.reason),
            Course::Observe => "Observe".to_owned(),
            Course::Wait => "Wait".to_owned(),
            Course::Hold(held) => format!("Hold {}", held.reason),
            Course::Climb => "Climb".to_owned(),
        }
    }

    fn course_of(given: &Fixture) -> String {
        let mut deciding = given.deciding();
        deciding.classify();
        let course = deciding.course();
        name(&deciding.unless_it_rests(course))
    }

    #[test]
    fn the_course_follows_from_people_the_policy_and_the_rules_in_this_order() {
        let claimed = |by: &str, superseded| PolicyFact::Claimed { by: by.to_owned(), superseded };
        let why = || "why".to_owned();
        type Edit = Box<dyn Fn(&mut Facts)>;
        let cases: Vec<(&str, Edit)> = vec![
            ("Climb", Box::new(|_| {})),
            ("Rest Paused", Box::new(|facts| facts.intent.response = Response::Paused)),
            ("Withdraw Withdrawn", Box::new(|facts| facts.intent.response = Response::Withdrawn)),
            ("Withdraw Kept", Box::new(|facts| facts.intent.response = Response::Kept)),
            ("Withdraw Deleted", Box::new(|facts| facts.intent.deleting = true)),
            (
                "Withdraw Kept",
                Box::new(|facts| {
                    facts.intent.response = Response::Kept;
                    facts.intent.deleting = true;
                }),
            ),
            ("Withdraw Recovered", Box::new(|facts| facts.state.closing = Some(Closing::Recovered))),
            ("Withdraw Superseded", Box::new(move |facts| facts.policy = claimed("other", true))),
            ("Stand AnotherIncident", Box::new(move |facts| facts.policy = claimed("other", false))),
            ("Stand NoPolicy", Box::new(move |facts| facts.policy = PolicyFact::NotChosen { why: why() })),
            (
                "Stand PolicyUnavailable",
                Box::new(move |facts| facts.policy = PolicyFact::Unavailable { why: why() }),
            ),
        ];
        for (course, edit) in cases {
            assert_eq!(course_of(&Fixture::pinned().with(|facts| edit(facts))), course);
        }
        assert_eq!(course_of(&Fixture::quiet()), "Wait");
        assert_eq!(course_of(&Fixture::pinned().policy(|spec| spec["mode"] = json!("Observe"))), "Observe");
    }

    /// Stories cover the rest, but not an Incident whose policy is chosen.
    #[test]
    fn an_incident_without_a_policy_goes_on_as_soon_as_one_is_chosen() {
        let waits =
            Fixture::pinned().with(|facts| facts.policy = PolicyFact::NotChosen { why: String::new() });
        let Course::Stand(held) = waits.deciding().course() else { panic!("it stands") };
        assert_eq!((&held.reason, held.reason.moves_on()), (&Reason::NoPolicy, MovesOn::Itself));
        let chosen = Fixture::pinned().with(|facts| facts.state.held = Some(held));
        assert_eq!(course_of(&chosen), "Climb");
    }

    #[test]
    fn what_a_course_permits_follows_from_it() {
        let held = || Held::new(Reason::Paused, "");
        // The course, then whether an intent is sent, whether one that was applied before is sent again, whether
        // intents are given up, whether anything is written.
        let cases = [
            (Course::Climb, [true, true, false, true]),
            (Course::Wait, [false, true, false, true]),
            (Course::Hold(held()), [false, true, false, true]),
            (Course::Stand(held()), [false, false, false, true]),
            (Course::Observe, [false, false, false, true]),
            (Course::Rest(held()), [false, false, false, false]),
            (Course::Recover(Timestamp::UNIX_EPOCH), [false, false, true, true]),
            (Course::Withdraw(Closing::Withdrawn), [false, false, true, true]),
        ];
        for (course, expected) in cases {
            let permits = course.permits();
            let found = [
                permits.may_send(Again::Never),
                permits.may_send(Again::Always),
                permits.withdraws(),
                permits.may_write(),
            ];
            assert_eq!(found, expected, "{}", name(&course));
            let all = matches!(course, Course::Observe);
            assert_eq!(permits.plans == StandingPlans::All, all, "{}", name(&course));
        }
    }
}
