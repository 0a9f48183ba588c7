//! The conditions of a policy.
//!
//! `Stalled` is true only if nothing more happens until a person acts. What Firebreak retries without a person is a
//! reason of `Reconciling`.

use super::claim::Claim;
use super::detect::Detection;
use super::facts::{Access, PolicyFacts};
use super::state::PolicyState;
use crate::incident::{SignalState, doubt};
use crate::phase::ConditionFact;
use crate::reason::MovesOn;
use crate::rules::Rules;
use crate::verdict::Verdict;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $moves_on:ident;)+) => {
        /// Why a condition of a policy is as it is, and what ends the reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum PolicyReason { $($(#[$doc])* $variant,)+ }

        impl PolicyReason {
            /// All variants, in the order in which they are documented.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)+ }
            }

            /// What ends it.
            pub const fn moves_on(self) -> MovesOn {
                match self { $(Self::$variant => MovesOn::$moves_on,)+ }
            }
        }
    };
}

reasons! {
    /// Accepted: the policy can be used. The message warns of what is no fault of it.
    Valid Nothing;
    /// Accepted, Ready, Stalled: the policy has errors. The message names the field of each.
    Invalid Person;
    /// Authorized: nothing is missing.
    Allowed Nothing;
    /// Authorized, Ready, Stalled: the message lists what the ServiceAccount lacks.
    Forbidden Person;
    /// Authorized: the API server has not been asked, or did not answer.
    NotAsked Itself;
    /// Ready: signals are read and rules evaluated. The message names the rules that are Unknown, and why.
    Watching Nothing;
    /// Ready: signals are read; an Incident is open.
    Responding Nothing;
    /// Ready: `spec.suspend` is set.
    Suspended Nothing;
    /// Ready, Reconciling: signals cannot be read; the message names them.
    SignalUnknown Itself;
    /// Ready, Stalled: the API server rejects the Incident that a rule calls for.
    CannotOpen Person;
    /// Ready, Stalled: the open Incident of the policy cannot be read.
    IncidentUnreadable Person;
    /// Ready, Stalled: a rule failed on live values.
    RuleError Person;
    /// Ready: rules that held when a person ended an Incident open nothing until they have been False once.
    WaitingForFalse Nothing;
    /// Ready: a rule holds, but `guardrails.cooldown` has not passed since the last response.
    Cooldown Nothing;
    /// Stalled, Reconciling: no person needs to act.
    NoPersonNeeded Nothing;
}

/// For people: what a policy without severity rules is good for.
pub const NO_SEVERITY_RULES: &str =
    "it has no severity rules, so it opens nothing: only Incidents that people open with a severity use it";

/// What a condition of a policy says.
pub fn says(
    type_: &'static str,
    status: Verdict,
    reason: PolicyReason,
    message: impl Into<String>,
) -> ConditionFact {
    ConditionFact { type_, status, reason: reason.name().to_owned(), message: message.into() }
}

/// The condition Ready.
struct Summary {
    ready: Verdict,
    reason: PolicyReason,
    text: String,
}

impl Summary {
    fn ready(reason: PolicyReason, text: impl Into<String>) -> Self {
        Self { ready: Verdict::True, reason, text: text.into() }
    }

    fn not_ready(reason: PolicyReason, text: impl Into<String>) -> Self {
        Self { ready: Verdict::False, reason, text: text.into() }
    }
}

/// The conditions of a policy in this next state.
pub(super) fn conditions(
    rules: Option<&Rules>,
    facts: &PolicyFacts,
    detection: Option<&Detection>,
    next: &PolicyState,
) -> Vec<ConditionFact> {
    let accepted = if facts.faults.is_empty() {
        says("Accepted", Verdict::True, PolicyReason::Valid, &facts.warning)
    } else {
        says("Accepted", Verdict::False, PolicyReason::Invalid, facts.faults.join("; "))
    };
    let authorized = match &facts.access {
        Access::NotAsked => says("Authorized", Verdict::Unknown, PolicyReason::NotAsked, ""),
        Access::Unknown(why) => says("Authorized", Verdict::Unknown, PolicyReason::NotAsked, why),
        Access::Complete => says("Authorized", Verdict::True, PolicyReason::Allowed, ""),
        Access::Lacking(what) => says("Authorized", Verdict::False, PolicyReason::Forbidden, what),
    };
    let Summary { ready, reason, text } = summary(rules, facts, detection, next);
    let told = |type_, moves_on| match reason.moves_on() == moves_on {
        true => says(type_, Verdict::True, reason, text.clone()),
        false => says(type_, Verdict::False, PolicyReason::NoPersonNeeded, ""),
    };
    let (reconciling, stalled) = (told("Reconciling", MovesOn::Itself), told("Stalled", MovesOn::Person));
    vec![says("Ready", ready, reason, text), reconciling, stalled, accepted, authorized]
}

fn summary(
    rules: Option<&Rules>,
    facts: &PolicyFacts,
    detection: Option<&Detection>,
    next: &PolicyState,
) -> Summary {
    if !facts.faults.is_empty() {
        return Summary::not_ready(PolicyReason::Invalid, facts.faults.join("; "));
    }
    if let Access::Lacking(what) = &facts.access {
        return Summary::not_ready(PolicyReason::Forbidden, what);
    }
    if rules.is_some_and(|rules| rules.suspend) {
        return Summary::ready(PolicyReason::Suspended, "suspended: the policy watches, but opens nothing");
    }
    let claimed = match next.claim() {
        Claim::Vacant => None,
        claim @ (Claim::Announced { .. } | Claim::Revoked { .. } | Claim::Bound { .. }) => claim.name(),
    };
    let responding =
        claimed.map(|name| Summary::ready(PolicyReason::Responding, format!("Incident {name} is open")));
    let doubt = detection.and_then(|_| doubt(&next.rules));
    let unjudged = |(signal, what): (&String, &String)| format!("{signal}: {what}");
    let doubts: Vec<String> = doubt.into_iter().chain(facts.unjudged.iter().map(unjudged)).collect();
    let in_doubt = |text: &str| {
        std::iter::once(text.to_owned()).chain(doubts.iter().cloned()).collect::<Vec<_>>().join(". ")
    };
    let watching = || Summary::ready(PolicyReason::Watching, in_doubt(watching(rules)));
    let Some(detection) = detection else { return responding.unwrap_or_else(watching) };
    if let Some(refusal) = facts.refusal.as_ref().filter(|_| detection.assessment.holds()) {
        return Summary::not_ready(PolicyReason::CannotOpen, &refusal.why);
    }
    if let Some(error) = detection.assessment.rule_errors.first() {
        return Summary::not_ready(PolicyReason::RuleError, error);
    }
    let unknown = detection.assessment.signals.iter().filter(|signal| signal.state == SignalState::Unknown);
    let mut unknown: Vec<String> =
        unknown.map(|signal| format!("{}: {}", signal.name, signal.summary)).collect();
    // No rule knows of these.
    unknown.extend(facts.uncounted.iter().cloned());
    let blinds = |signal: &str| rules.is_some_and(|rules| blinds_a_rule(signal, rules, next));
    unknown.extend(facts.unjudged.iter().filter(|(signal, _)| blinds(signal)).map(unjudged));
    if !unknown.is_empty() {
        let text = format!("cannot be read: {}", unknown.join("; "));
        return Summary::not_ready(PolicyReason::SignalUnknown, text);
    }
    if let Some(responding) = responding {
        return responding;
    }
    let why_not = || detection.why_not.clone().unwrap_or_default();
    if detection.cooldown_until.is_some() {
        Summary::ready(PolicyReason::Cooldown, why_not())
    } else if !next.waiting_for.is_empty() {
        Summary::ready(PolicyReason::WaitingForFalse, in_doubt(&why_not()))
    } else {
        watching()
    }
}

/// Whether a rule that reads a signal is Unknown.
fn blinds_a_rule(signal: &str, rules: &Rules, next: &PolicyState) -> bool {
    let is_unknown =
        |reason: &str| next.rules.iter().any(|rule| rule.reason == reason && rule.truth == Verdict::Unknown);
    rules
        .severity
        .iter()
        .any(|rule| rule.reads().iter().any(|read| *read == signal) && is_unknown(&rule.reason))
}

/// What a policy waits for that opens nothing.
fn watching(rules: Option<&Rules>) -> &'static str {
    match rules {
        Some(rules) if rules.severity.is_empty() => NO_SEVERITY_RULES,
        Some(_) | None => "no rule holds",
    }
}
