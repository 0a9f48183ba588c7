//! Whether a policy's rules ask for an Incident.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::claim::{Claim, Fate};
use super::facts::PolicyFacts;
use super::state::PolicyState;
use crate::expected::{ExpectRequest, Expected, Sight};
use crate::incident::RuleStatus;
use crate::period::{Period, after, clock_time};
use crate::policy::Severity;
use crate::response::{RecentResponse, is_of, last_ended};
use crate::rules::Rules;
use crate::severity::{Assessment, Observed, assess, earliest, follow_expected, worst};
use crate::verdict::Verdict;

/// The input of a detection.
pub(super) struct Watch<'a> {
    /// The facts.
    pub facts: &'a PolicyFacts,
    /// The state as recorded.
    pub state: &'a PolicyState,
    /// The responses, with the end of the one that has just ended.
    pub responses: &'a [RecentResponse],
    /// What is known about the Incident that has the claim.
    pub fate: &'a Fate<'a>,
    /// The moment.
    pub now: Timestamp,
}

/// The result of a detection.
pub(super) struct Detection {
    /// The present rules and signals.
    pub assessment: Assessment,
    /// The expected numbers of the signals.
    pub expected: Vec<Expected>,
    /// The time of the newest request about expected numbers that was counted.
    pub requested_at: Option<Timestamp>,
    /// The rule that asks for a response.
    pub asks: Option<Opening>,
    /// The rule that asks for an Incident to be opened now.
    pub opens: Option<Opening>,
    /// Rules that must be False once before they open again.
    pub waiting_for: Vec<String>,
    /// Why nothing is opened although a rule is true.
    pub why_not: Option<String>,
    /// A rule asks for an Incident, and `guardrails.cooldown` says not before this.
    pub cooldown_until: Option<Timestamp>,
    /// When to look again even if nothing changes.
    pub wake_at: Option<Timestamp>,
}

impl Detection {
    /// The worst level whose rule is true now, whether or not the rule holds yet.
    pub fn urgency(&self) -> Option<Severity> {
        worst(&self.assessment.rules)
    }
}

/// The rule that asks for an Incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Its name.
    pub reason: String,
    /// The numbers that it read.
    pub evidence: String,
}

/// Assesses a policy's rules and returns whether they ask for an Incident.
pub(super) fn detect(watch: &Watch<'_>, rules: &Rules) -> Detection {
    let recorded = watch.state.expected.iter();
    let expected: Vec<Expected> =
        recorded.map(|expected| expected.after_absence(watch.facts.unwatched, watch.now)).collect();
    let observed = Observed {
        rules,
        previous: &watch.state.rules,
        signals: &watch.facts.signals,
        expected: &expected,
        began: watch.facts.began,
        clocks_broken: watch.facts.clocks_broken,
        now: watch.now,
    };
    let assessment = assess(&observed);
    let in_force = watch.facts.open.iter().any(|incident| incident.in_force);
    let requested: BTreeMap<&String, &ExpectRequest> =
        watch.facts.asked.iter().filter(|(_, asked)| is_new(asked, watch)).collect();
    let (expected, expected_due) = follow_expected(&observed, &assessment, |signal| Sight {
        in_force,
        asked: requested.iter().find(|(name, _)| name.as_str() == signal).map(|(_, asked)| *asked),
        ..Sight::at(watch.now)
    });
    let waiting_for = waiting_for(watch, &assessment.rules);
    let candidate = assessment.rules.iter().find(|rule| rule.holds && !waiting_for.contains(&rule.reason));
    let opening =
        candidate.map(|rule| Opening { reason: rule.reason.clone(), evidence: rule.evidence.clone() });
    let asks = opening.clone().filter(|_| !rules.suspend);
    let may_open = asks.as_ref().filter(|_| !watch.fate.is_open());
    let cooldown = may_open.and_then(|opening| cooldown(opening, watch, rules));
    let why_not = why_not(&assessment, &waiting_for, rules, opening.as_ref());
    let (cooldown_until, too_soon) = cooldown.unzip();
    Detection {
        opens: may_open.filter(|_| cooldown_until.is_none()).cloned(),
        why_not: why_not.or(too_soon),
        cooldown_until,
        waiting_for,
        wake_at: earliest(earliest(assessment.wake_at, expected_due), cooldown_until),
        asks,
        expected,
        requested_at: requested.values().map(|asked| asked.at).max().or(watch.state.expect_requested_at),
        assessment,
    }
}

/// Whether a request was not counted yet. One that is older than the policy was made of another policy of its name. The
/// time of the last one counts for all signals, so that it stays when a signal leaves the policy for a while.
fn is_new(asked: &ExpectRequest, watch: &Watch<'_>) -> bool {
    Some(asked.at) > watch.facts.created_at.max(watch.state.expect_requested_at)
}

/// The rules that must be False once before they open an Incident again.
fn waiting_for(watch: &Watch<'_>, rules: &[RuleStatus]) -> Vec<String> {
    let is_false = |rule: &RuleStatus| rule.truth == Verdict::False && !rule.holds;
    let mut waiting = watch.state.waiting_for.clone();
    waiting.retain(|reason| rules.iter().any(|rule| rule.reason == *reason && !is_false(rule)));
    if ends_by_a_person(watch) {
        // Otherwise a response that a person has ended would start again at once: by the rules that hold, or
        // by a milder one that is true and will hold soon. A more severe rule, or a rule about which nothing
        // is known yet, is another emergency.
        let worst = rules.iter().filter(|rule| rule.holds).map(|rule| rule.level).min();
        let returns = |rule: &&RuleStatus| {
            rule.holds || rule.truth == Verdict::True && worst.is_some_and(|worst| rule.level >= worst)
        };
        waiting.extend(rules.iter().filter(returns).map(|rule| rule.reason.clone()));
        waiting.sort();
        waiting.dedup();
    }
    waiting
}

/// Whether a person has ended the response that has the claim, and this is not recorded yet.
fn ends_by_a_person(watch: &Watch<'_>) -> bool {
    let (Fate::Over { recovered: false, .. }, Claim::Bound { uid, .. }) = (watch.fate, watch.state.claim())
    else {
        return false;
    };
    !watch.state.recent_responses.iter().any(|one| is_of(one, uid) && one.ended_at.is_some())
}

/// Until when nothing is opened after the last response, and why.
fn cooldown(opening: &Opening, watch: &Watch<'_>, rules: &Rules) -> Option<(Timestamp, String)> {
    let (last, ended) = last_ended(watch.responses)?;
    let until = after(ended, rules.limits.cooldown);
    let why = format!(
        "{} holds, but guardrails.cooldown of {} has not passed since the end of Incident {}. The next one \
         opens at {}, if a rule holds then. To respond now, open one by hand",
        opening.reason,
        Period::from(rules.limits.cooldown),
        last.name,
        clock_time(until)
    );
    (until > watch.now).then_some((until, why))
}

fn why_not(
    found: &Assessment,
    waiting_for: &[String],
    rules: &Rules,
    opening: Option<&Opening>,
) -> Option<String> {
    if rules.suspend && opening.is_some() {
        return Some("the policy is suspended; set spec.suspend to false to let it respond".to_owned());
    }
    if opening.is_some() {
        return None;
    }
    if !waiting_for.is_empty() {
        return Some(format!(
            "a person ended the last response while {} held: it opens nothing until it has been False once",
            waiting_for.join(", ")
        ));
    }
    let clock = found.rules.iter().find(|rule| rule.truth == Verdict::True && !rule.holds)?;
    Some(format!("{} is True, but not for long enough yet", clock.reason))
}
