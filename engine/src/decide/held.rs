//! What holds the response, if several things do: the only place that chooses which of them is reported.

use std::cmp::Reverse;

use crate::incident::Held;
use crate::reason::Reason;

/// What is reported first. Within one line it is what was found last: a later step asks for its own approval.
const ORDER: &[&[Reason]] = &[
    // The whole response is stopped, whatever its steps report.
    &[Reason::Paused, Reason::Braked],
    &[Reason::PolicyUnavailable, Reason::AnotherIncident, Reason::NoPolicy],
    &[Reason::TooManyIncidents],
    // What a person must decide before anything new starts.
    &[Reason::StepFailed, Reason::OutcomeUnknown],
    &[Reason::ApprovalRequired, Reason::TooManyTargets, Reason::DetectorSuspect, Reason::OutsideWindows],
    &[Reason::Relapsed],
    &[Reason::PodStuckTerminating],
    // Nothing can start.
    &[Reason::VerifyUnknown],
    &[Reason::LadderUsedUp, Reason::StepsBlocked, Reason::NothingInForce],
    // What blocks or delays a revert.
    &[Reason::NoRuleToWatch, Reason::WaveUnknown],
    &[Reason::ScaleDownDisabled],
    &[Reason::AutoscalerStillNeedsIt],
    &[Reason::NotClassified, Reason::AwaitingWithdrawal],
    &[Reason::CannotPutBack],
];

/// The findings of the parts of a decision that hold the response.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Findings(Vec<Held>);

impl Findings {
    /// Adds the findings of one part, if any.
    pub(super) fn add(&mut self, found: impl Into<Self>) {
        self.0.extend(found.into().0);
    }

    /// Whether nothing new may start.
    pub(super) fn stop_new_changes(&self) -> bool {
        self.0.iter().any(|held| held.stops)
    }

    /// Whether nothing holds the response.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that is reported in the status.
    pub(super) fn most_pressing(self) -> Option<Held> {
        let pressing = |(at, held): &(usize, Held)| (rank(&held.reason), Reverse(held.stops), Reverse(*at));
        self.0.into_iter().enumerate().min_by_key(pressing).map(|(_, held)| held)
    }
}

impl From<Held> for Findings {
    fn from(held: Held) -> Self {
        Self(vec![held])
    }
}

impl From<Option<Held>> for Findings {
    fn from(held: Option<Held>) -> Self {
        Self(held.into_iter().collect())
    }
}

fn rank(reason: &Reason) -> usize {
    ORDER.iter().position(|line| line.contains(reason)).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Stops;

    fn chosen(found: &[Held]) -> Option<Held> {
        Findings(found.to_vec()).most_pressing()
    }

    #[test]
    fn every_reason_that_stops_new_changes_has_its_place_in_the_order() {
        for reason in Reason::ALL.iter().filter(|reason| reason.stops() == Stops::NewChanges) {
            assert!(rank(reason) < ORDER.len(), "{reason}");
        }
    }

    #[test]
    fn what_is_said_does_not_depend_on_the_order_in_which_it_was_found() {
        let lines: Vec<Held> = ORDER.iter().map(|line| Held::new(line[0].clone(), "why")).collect();
        for (first, more) in lines.iter().enumerate().map(|(at, held)| (held, &lines[at + 1..])) {
            for second in more {
                let (first, second) = (first.clone(), second.clone());
                assert_eq!(chosen(&[first.clone(), second.clone()]), Some(first.clone()));
                assert_eq!(chosen(&[second, first.clone()]), Some(first));
            }
        }
    }

    #[test]
    fn of_two_steps_that_ask_for_approval_the_later_one_is_said() {
        let asks = |reason, step| Held::new(reason, "why").of_step(step);
        let (one, two) = (asks(Reason::ApprovalRequired, "one"), asks(Reason::DetectorSuspect, "two"));
        assert_eq!(chosen(&[one, two.clone()]), Some(two));
    }

    #[test]
    fn what_stops_new_changes_is_said_before_the_same_that_is_only_said() {
        let stops = Held::new(Reason::PodStuckTerminating, "one");
        let said = Held::new(Reason::PodStuckTerminating, "two").only_said();
        assert_eq!(chosen(&[stops.clone(), said.clone()]), Some(stops.clone()));
        assert_eq!(chosen(&[said, stops.clone()]), Some(stops));
    }

    #[test]
    fn new_changes_are_stopped_by_any_finding_that_stops_them() {
        let said = Held::new(Reason::CannotPutBack, "why");
        let mut findings = Findings::from(said);
        assert!(!findings.stop_new_changes());
        findings.add(Held::new(Reason::StepFailed, "why"));
        assert!(findings.stop_new_changes());
        assert_eq!(chosen(&[]), None);
    }
}
