//! From a detection to conditions. Takes no client.

use std::time::Duration;

use firebreak_engine::detect::Detection;
use firebreak_engine::incident::SignalState;
use firebreak_engine::phase::ConditionFact;
use firebreak_engine::rules::Rules;
use firebreak_engine::verdict::Verdict;

use super::claim::Claim;
use crate::api::condition::{ConditionType, Reason, says};

/// How a policy stands apart from its signals.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What is wrong with it; empty if it is Accepted.
    pub faults: Vec<String>,
    /// What its ServiceAccount lacks.
    pub access: Access,
    /// Why the Incident that a rule asks for cannot be opened.
    pub cannot_open: Option<String>,
    /// Objects that signals cannot read or judge, as `signal: what`.
    pub doubts: Vec<String>,
    /// When to ask again.
    pub check_again: Option<Duration>,
}

/// What is known about the rights of a ServiceAccount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The API server was not asked, or gave no answer.
    #[default]
    NotAsked,
    /// It gave no answer, for this reason.
    Unknown(String),
    /// Nothing is missing.
    Complete,
    /// These are missing.
    Lacking(String),
}

impl Standing {
    /// A policy with faults.
    pub fn invalid(faults: Vec<String>) -> Self {
        Self { faults, ..Self::default() }
    }
}

/// The conditions of a policy.
pub fn conditions(
    rules: Option<&Rules>,
    standing: &Standing,
    detection: Option<&Detection>,
    claim: &Claim,
) -> Vec<ConditionFact> {
    let accepted = if standing.faults.is_empty() {
        says(ConditionType::Accepted, Verdict::True, Reason::Valid, "")
    } else {
        says(ConditionType::Accepted, Verdict::False, Reason::Invalid, standing.faults.join("; "))
    };
    let authorized = match &standing.access {
        Access::NotAsked => says(ConditionType::Authorized, Verdict::Unknown, Reason::NotAsked, ""),
        Access::Unknown(why) => says(ConditionType::Authorized, Verdict::Unknown, Reason::NotAsked, why),
        Access::Complete => says(ConditionType::Authorized, Verdict::True, Reason::Allowed, ""),
        Access::Lacking(what) => says(ConditionType::Authorized, Verdict::False, Reason::Forbidden, what),
    };
    let mut all = kstatus(rules, standing, detection, claim);
    all.push(accepted);
    all.push(authorized);
    all
}

fn kstatus(
    rules: Option<&Rules>,
    standing: &Standing,
    detection: Option<&Detection>,
    claim: &Claim,
) -> Vec<ConditionFact> {
    let (ready, reason, text, needs_person) = summary(rules, standing, detection, claim);
    let stalled = if needs_person {
        says(ConditionType::Stalled, Verdict::True, reason, text.clone())
    } else {
        says(ConditionType::Stalled, Verdict::False, Reason::NoPersonNeeded, "")
    };
    let starting = reason == Reason::Starting;
    let reconciling = if starting { Verdict::True } else { Verdict::False };
    let why = if starting { Reason::Starting } else { Reason::NoPersonNeeded };
    vec![
        says(ConditionType::Ready, ready, reason, text),
        says(ConditionType::Reconciling, reconciling, why, ""),
        stalled,
    ]
}

/// Ready, why, in words, and whether a person is needed.
fn summary(
    rules: Option<&Rules>,
    standing: &Standing,
    detection: Option<&Detection>,
    claim: &Claim,
) -> (Verdict, Reason, String, bool) {
    if !standing.faults.is_empty() {
        return (Verdict::False, Reason::Invalid, standing.faults.join("; "), true);
    }
    if let Access::Lacking(what) = &standing.access {
        return (Verdict::False, Reason::Forbidden, what.clone(), true);
    }
    if rules.is_some_and(|rules| rules.suspend) {
        return (
            Verdict::True,
            Reason::Suspended,
            "suspended: it watches and opens nothing".to_owned(),
            false,
        );
    }
    let Some(detection) = detection else {
        return (Verdict::False, Reason::Starting, "waiting for the first readings".to_owned(), false);
    };
    if let Some(why) = standing.cannot_open.as_ref().filter(|_| detection.assessment.holds()) {
        return (Verdict::False, Reason::CannotOpen, why.clone(), true);
    }
    if let Some(error) = detection.assessment.rule_errors.first() {
        return (Verdict::False, Reason::RuleError, error.clone(), true);
    }
    let mut unknown: Vec<String> = detection
        .assessment
        .signals
        .iter()
        .filter(|signal| signal.state == SignalState::Unknown)
        .map(|signal| format!("{}: {}", signal.name, signal.summary))
        .collect();
    unknown.extend(standing.doubts.iter().cloned());
    if !unknown.is_empty() {
        return (
            Verdict::False,
            Reason::SignalUnknown,
            format!("cannot be read: {}", unknown.join("; ")),
            false,
        );
    }
    match claim {
        Claim::Held { name, .. } | Claim::Announced { name, .. } => {
            (Verdict::True, Reason::Responding, format!("Incident {name} is open"), false)
        }
        Claim::None | Claim::Over { .. } if detection.cooldown_until.is_some() => {
            (Verdict::True, Reason::Cooldown, detection.why_not.clone().unwrap_or_default(), false)
        }
        Claim::None | Claim::Over { .. } if !detection.waiting_for.is_empty() => {
            (Verdict::True, Reason::WaitingForFalse, detection.why_not.clone().unwrap_or_default(), false)
        }
        Claim::None | Claim::Over { .. } => {
            (Verdict::True, Reason::Watching, "no rule holds".to_owned(), false)
        }
    }
}
