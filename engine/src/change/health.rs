//! What the health of an object says about its change.
//!
//! Most objects are sick when an emergency begins, because of the emergency, so that alone does not say that an object
//! was broken before. What counts is whether the change made it healthy, and kept it so until the revert. An object that
//! was healthy with the change and is not without it needs the change. An object that was not healthy just before the
//! revert does not: it was never healthy with the change, or something else broke it meanwhile, and to apply the change
//! again would not help it.

use jiff::{SignedDuration, Timestamp};

use super::Change;
use crate::facts::Target;
use crate::period::after;
use crate::verdict::Verdict;

/// An emergency may make objects sick for so long before its rule is True.
const DETECTED_WITHIN: SignedDuration = SignedDuration::from_mins(5);

/// What an object that is not healthy after the revert says about its change. What says most comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// It was healthy with the change until the revert, so it needs the change.
    NeedsChange,
    /// It was healthy before the change, or with it until shortly before the revert. It should be healthy again, but
    /// nothing shows that the change helps it.
    NeedsTime,
    /// It was healthy neither before the change nor at the end of it, so its health says nothing.
    Nothing,
}

impl Change {
    /// Remembers the health of the object before its first intent.
    pub fn note_health_before(&mut self, target: &Target) {
        let is_first = self.round == 0;
        if let Some(loan) = self.work.loan_mut().filter(|_| is_first) {
            loan.healthy_before = Some(target.is_well());
            loan.sick_since = target.unhealthy_since;
        }
    }

    /// Remembers the health of the object with the change, and since when it has not been healthy with it, if it says so.
    /// What is not known says nothing.
    pub fn note_health(&mut self, health: Verdict, unhealthy_since: Option<Timestamp>, now: Timestamp) {
        let since = unhealthy_since.map(|since| self.judged_since().map_or(since, |from| from.max(since)));
        let Some(loan) = self.work.loan_mut() else { return };
        match health {
            Verdict::True => {
                loan.healthy_at.get_or_insert(now);
                loan.unhealthy_since = None;
            }
            Verdict::False => {
                loan.unhealthy_since.get_or_insert(since.unwrap_or(now));
            }
            Verdict::Unknown => return,
        }
        loan.last_health = Some(health);
    }

    /// What the health of the object after the revert says about the change. An object that was healthy with it, and
    /// stopped to be so for less than `patience` before the revert, may only have started a pod. A change that an older
    /// release has recorded does not say how healthy its object was, so it is judged like one that helped until its
    /// object is seen.
    pub fn evidence(&self, patience: SignedDuration, now: Timestamp) -> Evidence {
        let Some(loan) = self.loan() else { return Evidence::NeedsChange };
        let assumed = loan.healthy_at.is_some() || loan.healthy_before.is_none();
        let was_healthy = loan.last_health.map_or(assumed, |health| health == Verdict::True);
        let reverted_at = self.rolls_back_since().unwrap_or(now);
        let just_stopped = loan.unhealthy_since.is_some_and(|since| after(since, patience) > reverted_at);
        match loan.healthy_before {
            _ if was_healthy => Evidence::NeedsChange,
            None | Some(Verdict::True) => Evidence::NeedsTime,
            Some(_) if loan.healthy_at.is_some() && just_stopped => Evidence::NeedsTime,
            Some(Verdict::False | Verdict::Unknown) => Evidence::Nothing,
        }
    }

    /// Whether the object was not healthy before the change, or did not report its health.
    pub fn was_sick_before(&self) -> bool {
        let before = self.loan().and_then(|loan| loan.healthy_before);
        before.is_some_and(|before| before != Verdict::True)
    }

    /// Whether the object had not been healthy for longer than the emergency, which was detected at this time. Unknown if
    /// it did not say since when, or became sick so shortly before that it may be the same cause.
    pub fn was_sick_before_the_emergency(&self, detected_at: Option<Timestamp>) -> Verdict {
        let since = self.loan().and_then(|loan| loan.sick_since);
        match since.zip(detected_at) {
            Some((since, detected_at)) if after(since, DETECTED_WITHIN) <= detected_at => Verdict::True,
            Some((since, detected_at)) if since >= detected_at => Verdict::False,
            Some(_) | None => Verdict::Unknown,
        }
    }

    /// Whether the object was healthy before the change or at some time with it, so that a step does not help if it is
    /// not healthy now. That is assumed of a change that an older release has recorded.
    pub fn was_ever_healthy(&self) -> bool {
        let Some(loan) = self.loan() else { return true };
        loan.healthy_at.is_some() || loan.healthy_before.is_none_or(|before| before == Verdict::True)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::change::{ChangeState, SitsOut};
    use crate::reason::Reason;

    const PATIENCE: SignedDuration = SignedDuration::from_mins(5);

    fn stored(more: &serde_json::Value) -> Change {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "ml", "name": "a", "uid": "u"});
        let mut change = json!({"id": "5f2c0d6a1b3e4f70", "step": "one", "target": target, "state": "Applied", "round": 1});
        let members = change.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        serde_json::from_value(change).unwrap()
    }

    #[test]
    fn what_the_change_made_healthy_needs_it_and_what_was_never_healthy_says_nothing() {
        let at = "2026-03-01T10:00:00Z";
        let now = "2026-03-01T10:10:00Z".parse().unwrap();
        let broken = |at: &str, since: &str| json!({"healthyBefore": "False", "healthyAt": at, "lastHealth": "False", "unhealthySince": since});
        let cases = [
            (json!({}), Evidence::NeedsChange), // of an older release
            (json!({"healthyAt": at}), Evidence::NeedsChange),
            (json!({"healthyBefore": "False", "healthyAt": at}), Evidence::NeedsChange),
            (json!({"healthyBefore": "False", "healthyAt": at, "lastHealth": "True"}), Evidence::NeedsChange),
            // Something else broke it under its change.
            (json!({"healthyBefore": "False", "healthyAt": at, "lastHealth": "False"}), Evidence::Nothing),
            (broken(at, "2026-03-01T10:05:00Z"), Evidence::Nothing),
            // One of its pods started when it was reverted.
            (broken(at, "2026-03-01T10:05:01Z"), Evidence::NeedsTime),
            (json!({"healthyBefore": "True", "healthyAt": at, "lastHealth": "False"}), Evidence::NeedsTime),
            (json!({"lastHealth": "False"}), Evidence::NeedsTime),
            (json!({"lastHealth": "True"}), Evidence::NeedsChange),
            (json!({"healthyBefore": "True"}), Evidence::NeedsTime),
            (json!({"healthyBefore": "False"}), Evidence::Nothing),
            (json!({"healthyBefore": "Unknown"}), Evidence::Nothing),
        ];
        for (more, evidence) in cases {
            assert_eq!(stored(&more).evidence(PATIENCE, now), evidence, "{more}");
        }
    }

    #[test]
    fn the_last_health_that_was_known_counts() {
        let mut change = stored(&json!({"healthyBefore": "False"}));
        let seen = [
            (Verdict::Unknown, Evidence::Nothing, false),
            (Verdict::True, Evidence::NeedsChange, true),
            (Verdict::Unknown, Evidence::NeedsChange, true),
            (Verdict::False, Evidence::NeedsTime, true),
            (Verdict::Unknown, Evidence::NeedsTime, true),
        ];
        let now = Timestamp::UNIX_EPOCH;
        for (health, evidence, ever) in seen {
            change.note_health(health, None, now);
            let found = (change.evidence(PATIENCE, now), change.was_ever_healthy());
            assert_eq!(found, (evidence, ever), "{health:?}");
        }
        assert_eq!(change.evidence(PATIENCE, after(now, PATIENCE)), Evidence::Nothing);
    }

    #[test]
    fn neither_an_earlier_round_nor_the_time_in_which_it_was_off_says_that_it_had_been_sick_for_long() {
        let began = Timestamp::UNIX_EPOCH;
        let much_later = after(began, SignedDuration::from_hours(2));
        let sick = || {
            let mut change =
                stored(&json!({"healthyBefore": "False", "healthyAt": began, "appliedAt": began}));
            change.note_health(Verdict::False, None, began);
            assert_eq!(change.evidence(PATIENCE, much_later), Evidence::Nothing);
            change
        };
        let mut again = sick();
        again.state = ChangeState::Reverted;
        again.intend("8".to_owned().try_into().unwrap(), much_later);
        let mut back = sick();
        back.sit_out(SitsOut::new(Reason::Idle, "it is stopped"));
        back.take_part(Verdict::False, much_later);
        again.applied(much_later);
        for change in [again, back] {
            // Some kinds say since when.
            for since in [None, Some(began)] {
                let mut change = change.clone();
                change.note_health(Verdict::False, since, much_later);
                assert_eq!(change.evidence(PATIENCE, much_later), Evidence::NeedsTime, "{since:?}");
            }
        }
    }

    #[test]
    fn what_was_sick_long_before_the_emergency_was_broken_before_it() {
        let cases = [
            (Some("2026-03-01T10:00:00Z"), Some("2026-03-01T10:05:00Z"), Verdict::True),
            (Some("2026-03-01T10:00:01Z"), Some("2026-03-01T10:05:00Z"), Verdict::Unknown),
            (Some("2026-03-01T10:04:59Z"), Some("2026-03-01T10:05:00Z"), Verdict::Unknown),
            (Some("2026-03-01T10:05:00Z"), Some("2026-03-01T10:05:00Z"), Verdict::False),
            (None, Some("2026-03-01T10:05:00Z"), Verdict::Unknown),
            (Some("2026-03-01T10:00:00Z"), None, Verdict::Unknown),
        ];
        for (since, detected_at, expected) in cases {
            let change = stored(&json!({"healthyBefore": "False", "sickSince": since}));
            let detected_at = detected_at.map(|at| at.parse().unwrap());
            assert_eq!(change.was_sick_before_the_emergency(detected_at), expected, "{since:?}");
        }
    }
}
