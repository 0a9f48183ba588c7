//! Whether the objects of a step have rolled out, and which of them say something about the step.
//!
//! A step is judged by what it could change. An object that was healthy before it, or that it made healthy, counts: it
//! must be healthy now. An object that was sick before and is still sick when its time is over may have been broken before
//! the emergency, or the step may not help it, and nothing tells which:
//!
//! - If no other object is healthy, the step helped nobody.
//! - If all the others were healthy before, those that are still sick are left out and named, as long as the others are
//!   at least as many. If they are fewer, it is not known whether the step helped.
//! - If the step made others healthy, the sick ones may be objects that it should have made healthy, too. If the object
//!   said that it had been sick for longer than the emergency, it is left out and named; if it had become sick in the
//!   emergency, it counts; and if it did not say, it is not known whether the step helped.

use super::Deciding;
use super::verify::Answer;
use crate::change::Change;
use crate::facts::ObjectRead;
use crate::period::after;
use crate::rules::Step;
use crate::verdict::Verdict;

/// The rollout of one object.
struct Rollout<'a> {
    change: &'a Change,
    verdict: Verdict,
    text: String,
}

impl Rollout<'_> {
    fn missing(&self) -> String {
        format!("rollout of {}: {}", self.change.target, self.text)
    }
}

impl Deciding<'_> {
    /// Remembers the health of the objects with their change. One that sits out has none: of a Deployment with 0 replicas,
    /// all are there.
    pub(super) fn note_health(&mut self, step: &Step) {
        let now = self.now;
        for index in 0..self.next.changes.len() {
            let change = &self.next.changes[index];
            if change.step != step.name || !change.stands() || change.sits_out() {
                continue;
            }
            let seen = self.listed(&step.name, &change.target.uid);
            if let Some((health, since)) = seen.map(|target| (target.is_well(), target.unhealthy_since)) {
                self.next.changes[index].note_health(health, since, now);
            }
        }
    }

    /// Whether these changes have rolled out.
    pub(super) fn ask_rollout(&self, step: &Step, in_force: &[Change]) -> Answer {
        let (done, open): (Vec<_>, Vec<_>) = in_force
            .iter()
            .map(|change| self.rollout_of(step, change))
            .partition(|rollout| rollout.verdict == Verdict::True);
        let (counted, sick): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|rollout| !self.is_left_out(step, rollout.change));
        let worst = counted.iter().min_by_key(|rollout| rollout.verdict);
        if let Some(worst) = worst {
            return Answer::new(worst.verdict, worst.missing());
        }
        let Some(first) = sick.iter().min_by_key(|rollout| rollout.verdict) else {
            return Answer::passed();
        };
        if done.is_empty() {
            return Answer::new(first.verdict, first.missing());
        }
        let helped = done.iter().filter(|rollout| rollout.change.was_sick_before()).count();
        let detected_at = self.next.detected_at;
        let broken_before = |rollout: &Rollout<'_>| rollout.change.was_sick_before_the_emergency(detected_at);
        let verdict = match helped {
            0 if sick.len() <= done.len() => Verdict::True,
            0 => Verdict::Unknown,
            _ => sick.iter().map(broken_before).min().unwrap_or(Verdict::True),
        };
        match verdict {
            Verdict::True => {
                let names = sick.iter().map(|rollout| rollout.change.target.to_string()).collect();
                Answer { left_out: names, ..Answer::passed() }
            }
            Verdict::False => {
                let worst = sick.iter().find(|rollout| broken_before(rollout) == Verdict::False);
                Answer::new(Verdict::False, worst.unwrap_or(first).missing())
            }
            Verdict::Unknown => {
                let others = match helped {
                    0 => String::new(),
                    helped => format!(", and {helped} others became healthy with it"),
                };
                let text = format!(
                    "{} of {} objects were not healthy before the step and are not now{others}, so it cannot be told \
                     whether it helps. To judge the step without an object, revert the object, for example with `{}`: the {}",
                    sick.len(),
                    in_force.len(),
                    first.change.target.undo_command(),
                    first.missing()
                );
                Answer::new(Verdict::Unknown, text)
            }
        }
    }

    fn rollout_of<'c>(&self, step: &Step, change: &'c Change) -> Rollout<'c> {
        let read = self.facts.looked.objects.get(&change.target);
        let (verdict, text) = match (self.listed(&step.name, &change.target.uid), read) {
            (Some(target), _) => target.rollout.clone(),
            // Its labels may have changed since it was changed.
            (None, Some(ObjectRead::Found(target))) => target.rollout.clone(),
            (None, _) => (Verdict::Unknown, "it was not listed".to_owned()),
        };
        Rollout { change, verdict, text }
    }

    /// Whether the object says nothing about the step, and had its time to get healthy.
    fn is_left_out(&self, step: &Step, change: &Change) -> bool {
        let patience = step.verify.as_ref().map(|verify| verify.within);
        let due = change.judged_since().zip(patience).map(|(at, patience)| after(at, patience));
        !change.was_ever_healthy() && due.is_some_and(|due| due <= self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at, live};
    use super::*;
    use crate::change::ChangeState;
    use crate::facts::Target;

    const OVER: i64 = NOW - 61;

    /// Objects with their health before the step and whether they have rolled out now.
    fn asked(objects: &[(Verdict, Verdict)], applied: i64) -> Answer {
        let names = ["a", "b", "c", "d"];
        let mut given = Fixture::pinned();
        let mut listed = Vec::new();
        for ((before, now), name) in objects.iter().zip(names) {
            given = given.change_with("one", name, ChangeState::Applied, |change| {
                change.round = 0;
                change.note_health_before(&Target { healthy: *before, ..live(name) });
                change.applied(at(applied));
            });
            listed.push(Target { rollout: (*now, "it has not rolled out".to_owned()), ..live(name) });
        }
        let given = given.listed("one", listed);
        let step = given.rules.steps[0].clone();
        let mut deciding = given.deciding();
        deciding.note_health(&step);
        let changes = deciding.next.changes.clone();
        deciding.ask_rollout(&step, &changes)
    }

    #[test]
    fn a_step_is_judged_by_what_it_could_change() {
        use Verdict::{False, True, Unknown};
        // What was healthy before counts; what was sick and still is counts only while nothing else does.
        type Case = (&'static [(Verdict, Verdict)], Verdict, usize);
        let cases: [Case; 12] = [
            (&[(True, True), (False, True)], True, 0),
            (&[(True, True), (False, False)], True, 1),
            (&[(True, True), (Unknown, Unknown)], True, 1),
            (&[(False, True), (False, False)], Unknown, 0),
            (&[(Unknown, True), (False, False)], Unknown, 0),
            (&[(True, True), (True, True), (False, True), (False, False)], Unknown, 0),
            (&[(True, True), (True, True), (False, False)], True, 1),
            (&[(True, False), (False, True)], False, 0),
            (&[(True, Unknown), (True, False)], False, 0),
            (&[(False, False), (False, False)], False, 0),
            (&[(True, True), (False, False), (False, False)], Unknown, 0),
            (&[(False, Unknown), (False, Unknown)], Unknown, 0),
        ];
        for (objects, verdict, left_out) in cases {
            let answer = asked(objects, OVER);
            assert_eq!((answer.verdict, answer.left_out.len()), (verdict, left_out), "{objects:?}");
        }
        let named = asked(&[(True, True), (False, False)], OVER).left_out;
        assert!(named[0].ends_with("/b"), "the timeline names it: {named:?}");
    }

    #[test]
    fn where_the_step_helped_some_it_counts_since_when_the_others_are_sick() {
        // `a` became healthy with the step; the others did not, and have been sick since then.
        let judged = |detected: Option<i64>, since: &[Option<i64>]| {
            let mut given = Fixture::pinned().with(|facts| facts.state.detected_at = detected.map(at));
            let mut listed = vec![live("a")];
            let sick = Target { healthy: Verdict::False, ..live("a") };
            given = given.change_with("one", "a", ChangeState::Applied, |change| {
                change.round = 0;
                change.note_health_before(&sick);
                change.applied(at(OVER));
            });
            for (since, name) in since.iter().zip(["b", "c"]) {
                let unhealthy_since = since.map(at);
                let sick = Target { healthy: Verdict::False, unhealthy_since, ..live(name) };
                given = given.change_with("one", name, ChangeState::Applied, |change| {
                    change.round = 0;
                    change.note_health_before(&sick);
                    change.applied(at(OVER));
                });
                listed.push(Target { rollout: (Verdict::False, String::new()), ..sick });
            }
            let given = given.listed("one", listed);
            let step = given.rules.steps[0].clone();
            let answer = given.deciding().ask_rollout(&step, &given.facts.state.changes);
            (answer.verdict, answer.left_out.len())
        };
        let (long, just, later) = (Some(100), Some(450), Some(600));
        assert_eq!(judged(Some(500), &[long]), (Verdict::True, 1));
        assert_eq!(judged(Some(500), &[long, long]), (Verdict::True, 2));
        assert_eq!(judged(Some(500), &[long, later]), (Verdict::False, 0));
        assert_eq!(judged(Some(500), &[None, later]), (Verdict::False, 0));
        assert_eq!(judged(Some(500), &[long, just]), (Verdict::Unknown, 0));
        assert_eq!(judged(Some(500), &[long, None]), (Verdict::Unknown, 0));
        assert_eq!(judged(None, &[long]), (Verdict::Unknown, 0), "a person has pinned the severity");
    }

    #[test]
    fn what_was_sick_before_has_its_time_to_get_healthy() {
        use Verdict::{False, True};
        assert_eq!(asked(&[(True, True), (False, False)], NOW - 59).verdict, False);
        assert_eq!(asked(&[(True, True), (False, False)], NOW - 60).verdict, True);
    }

    #[test]
    fn a_change_of_an_older_release_counts() {
        let given = Fixture::pinned()
            .change_with("one", "a", ChangeState::Applied, |change| change.applied(at(OVER)))
            .change_with("one", "b", ChangeState::Applied, |change| change.applied(at(OVER)))
            .listed("one", vec![live("a"), Target { rollout: (Verdict::False, String::new()), ..live("b") }]);
        let step = given.rules.steps[0].clone();
        let deciding = given.deciding();
        assert_eq!(deciding.ask_rollout(&step, &given.facts.state.changes).verdict, Verdict::False);
    }
}
