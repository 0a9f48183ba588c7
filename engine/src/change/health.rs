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
    /// It was healthy before the change and was not when the change was reverted. It should be healthy again, but the
    /// change does not help it.
    NeedsTime,
    /// It was healthy neither before the change nor when the change was reverted, so its health says nothing.
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

    /// Remembers the health of the object with the change. What is not known says nothing.
    pub fn note_health(&mut self, health: Verdict, now: Timestamp) {
        let Some(loan) = self.work.loan_mut() else { return };
        if health == Verdict::True {
            loan.healthy_at.get_or_insert(now);
        }
        if health != Verdict::Unknown {
            loan.last_health = Some(health);
        }
    }

    /// What the health of the object after the revert says about the change. A change that an older release has recorded
    /// does not say how healthy its object was, so it is judged like one that helped until its object is seen.
    pub fn evidence(&self) -> Evidence {
        let Some(loan) = self.loan() else { return Evidence::NeedsChange };
        let assumed = loan.healthy_at.is_some() || loan.healthy_before.is_none();
        let was_healthy = loan.last_health.map_or(assumed, |health| health == Verdict::True);
        match loan.healthy_before {
            _ if was_healthy => Evidence::NeedsChange,
            None | Some(Verdict::True) => Evidence::NeedsTime,
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
        let cases = [
            (json!({}), Evidence::NeedsChange), // of an older release
            (json!({"healthyAt": at}), Evidence::NeedsChange),
            (json!({"healthyBefore": "False", "healthyAt": at}), Evidence::NeedsChange),
            (json!({"healthyBefore": "False", "healthyAt": at, "lastHealth": "True"}), Evidence::NeedsChange),
            // Something else broke it under its change.
            (json!({"healthyBefore": "False", "healthyAt": at, "lastHealth": "False"}), Evidence::Nothing),
            (json!({"healthyBefore": "True", "healthyAt": at, "lastHealth": "False"}), Evidence::NeedsTime),
            (json!({"lastHealth": "False"}), Evidence::NeedsTime),
            (json!({"lastHealth": "True"}), Evidence::NeedsChange),
            (json!({"healthyBefore": "True"}), Evidence::NeedsTime),
            (json!({"healthyBefore": "False"}), Evidence::Nothing),
            (json!({"healthyBefore": "Unknown"}), Evidence::Nothing),
        ];
        for (more, evidence) in cases {
            assert_eq!(stored(&more).evidence(), evidence, "{more}");
        }
    }

    #[test]
    fn the_last_health_that_was_known_counts() {
        let mut change = stored(&json!({"healthyBefore": "False"}));
        let seen = [
            (Verdict::Unknown, Evidence::Nothing, false),
            (Verdict::True, Evidence::NeedsChange, true),
            (Verdict::Unknown, Evidence::NeedsChange, true),
            (Verdict::False, Evidence::Nothing, true),
        ];
        for (health, evidence, ever) in seen {
            change.note_health(health, Timestamp::UNIX_EPOCH);
            assert_eq!((change.evidence(), change.was_ever_healthy()), (evidence, ever), "{health:?}");
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
