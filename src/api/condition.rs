//! Conditions of policies and Incidents: what is true, why, and since when.
//!
//! `Ready`, `Reconciling` and `Stalled` follow kstatus, so that GitOps tools and `kubectl wait` understand
//! them. This module does not decide when a condition is set; the code that translates the status does.

use firebreak_engine::change::cut;
use firebreak_engine::phase::ConditionFact;
use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The maximum length of a message in bytes. The schema allows as many characters.
const LONGEST_MESSAGE: usize = 4096;

/// A plain enum whose names are the names of its variants.
macro_rules! named {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All variants, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

named! {
    /// What a condition is about.
    ConditionType {
        /// kstatus. Policy: it is watching. Incident: it is Resolved.
        Ready,
        /// kstatus: work is in progress and nobody needs to act.
        Reconciling,
        /// kstatus: a person is needed. The message says what for, and which command resolves it.
        Stalled,
        /// Policy: the expressions compile and the steps are consistent.
        Accepted,
        /// Policy: the ServiceAccount has every permission that the policy needs.
        Authorized,
        /// Incident: it has a severity.
        Classified,
        /// Incident: a person has acknowledged it.
        Acknowledged,
        /// Incident: a step was verified, so the emergency is under control.
        Mitigated,
        /// Incident: the newest verified step is still verified.
        Verified,
        /// Incident: no change is outstanding.
        Returned,
        /// Incident: it is closed.
        Resolved,
    }
}

/// One condition. Bounded, unlike the type of the Kubernetes API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 63))]
    pub type_: String,
    /// True, False or Unknown.
    pub status: Verdict,
    /// The generation of the object that this condition describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the status last changed.
    pub last_transition_time: Timestamp,
    /// The reason, in one word.
    #[schemars(length(min = 1, max = 63))]
    pub reason: String,
    /// The reason in plain words.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub message: String,
}

/// The conditions after `new` was said about `generation`: those of `old` that
/// `new` does not mention stay, and `lastTransitionTime` moves only where
/// `status` moves. Sorted as [`ConditionType`] is, so that equal conditions are
/// equal lists.
pub fn merge(
    old: &[Condition],
    new: impl IntoIterator<Item = ConditionFact>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let mut merged = old.to_vec();
    for ConditionFact { type_, status, reason, message } in new {
        let before = merged.iter().position(|condition| condition.type_ == type_);
        let since = before
            .map(|at| &merged[at])
            .filter(|condition| condition.status == status)
            .map_or(now, |condition| condition.last_transition_time);
        let condition = Condition {
            type_: type_.to_owned(),
            status,
            observed_generation: Some(generation),
            last_transition_time: since,
            reason,
            message: cut(&message, LONGEST_MESSAGE),
        };
        match before {
            Some(at) => merged[at] = condition,
            None => merged.push(condition),
        }
    }
    let rank = |condition: &Condition| {
        ConditionType::ALL.iter().position(|type_| type_.name() == condition.type_).unwrap_or(usize::MAX)
    };
    merged.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.type_.cmp(&b.type_)));
    merged
}

#[cfg(test)]
mod tests {
    use firebreak_engine::decide_policy::{PolicyReason as Reason, says};
    use firebreak_engine::incident::IncidentState;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn ready(status: Verdict, reason: Reason, message: &str) -> ConditionFact {
        says(ConditionType::Ready.name(), status, reason, message)
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], [ready(Verdict::False, Reason::SignalUnknown, "a")], 1, at(0));
        let second = merge(&first, [ready(Verdict::False, Reason::Forbidden, "b")], 2, at(5));
        assert_eq!(second[0].last_transition_time, at(0));
        assert_eq!((second[0].reason.as_str(), second[0].message.as_str()), ("Forbidden", "b"));
        assert_eq!(second[0].observed_generation, Some(2));
        let third = merge(&second, [ready(Verdict::True, Reason::Watching, "c")], 2, at(9));
        assert_eq!(third[0].last_transition_time, at(9));
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let same = [
            says(ConditionType::Accepted.name(), Verdict::True, Reason::Valid, ""),
            ready(Verdict::True, Reason::Watching, "a"),
        ];
        let first = merge(&[], same.clone(), 1, at(0));
        assert_eq!(first[0].type_, "Ready");
        assert_eq!(merge(&first, same, 1, at(60)), first);
    }

    #[test]
    fn conditions_that_are_not_mentioned_stay() {
        let foreign = Condition {
            type_: "SomebodyElses".to_owned(),
            status: Verdict::True,
            observed_generation: None,
            last_transition_time: at(0),
            reason: "Theirs".to_owned(),
            message: String::new(),
        };
        let merged =
            merge(std::slice::from_ref(&foreign), [ready(Verdict::True, Reason::Watching, "")], 1, at(1));
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[1], foreign);
    }

    #[test]
    fn every_condition_of_an_incident_has_a_documented_type() {
        for fact in firebreak_engine::phase::conditions(&IncidentState::default()) {
            assert!(ConditionType::ALL.iter().any(|type_| type_.name() == fact.type_), "{}", fact.type_);
        }
    }

    #[test]
    fn a_message_is_cut_to_what_the_schema_allows() {
        let merged = merge(&[], [ready(Verdict::True, Reason::Watching, &"ä".repeat(5000))], 1, at(0));
        assert!(merged[0].message.len() <= LONGEST_MESSAGE);
    }
}
