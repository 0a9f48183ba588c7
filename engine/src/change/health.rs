//! What the health of an object says about its change.
//!
//! Most objects are sick when an emergency begins, because of the emergency, so that alone does not say that an object
//! was broken before. What counts is whether the change ever made it healthy. An object that was healthy with the
//! change and is not without it needs the change. An object that was never healthy with it does not: to apply the
//! change again would not help it.

use jiff::Timestamp;

use super::Change;
use crate::facts::Target;
use crate::verdict::Verdict;

/// What an object that is not healthy after the revert says about its change. What says most comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// It was healthy with the change, so it needs the change.
    NeedsChange,
    /// It was healthy before the change and never with it. It should be healthy again, but the change does not help it.
    NeedsTime,
    /// It was healthy neither before the change nor with it, so its health says nothing.
    Nothing,
}

impl Change {
    /// Remembers the health of the object before its first intent.
    pub fn note_health_before(&mut self, target: &Target) {
        let is_first = self.round == 0;
        if let Some(loan) = self.work.loan_mut().filter(|_| is_first) {
            loan.healthy_before = Some(target.is_well());
        }
    }

    /// Remembers that the object was seen healthy with the change.
    pub fn note_healthy(&mut self, now: Timestamp) {
        if let Some(loan) = self.work.loan_mut() {
            loan.healthy_at.get_or_insert(now);
        }
    }

    /// What the health of the object says about the change. A change that an older release has recorded does not say
    /// how healthy its object was, so it is judged like one that helped.
    pub fn evidence(&self) -> Evidence {
        let Some(loan) = self.loan() else { return Evidence::NeedsChange };
        match (loan.healthy_at, loan.healthy_before) {
            (Some(_), _) | (None, None) => Evidence::NeedsChange,
            (None, Some(Verdict::True)) => Evidence::NeedsTime,
            (None, Some(Verdict::False | Verdict::Unknown)) => Evidence::Nothing,
        }
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
            (json!({"healthyBefore": "True"}), Evidence::NeedsTime),
            (json!({"healthyBefore": "False"}), Evidence::Nothing),
            (json!({"healthyBefore": "Unknown"}), Evidence::Nothing),
        ];
        for (more, evidence) in cases {
            assert_eq!(stored(&more).evidence(), evidence, "{more}");
        }
    }
}
