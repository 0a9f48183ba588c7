//! Whether a policy's rules ask for an Incident.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::facts::Reading;
use crate::incident::RuleStatus;
use crate::period::{Period, after, clock_time};
use crate::policy::Severity;
use crate::response::{RecentResponse, last_ended};
use crate::rules::Rules;
use crate::severity::{Assessment, Observed, assess, earliest};
use crate::verdict::Verdict;

/// What a detection starts from.
pub struct PolicyFacts<'a> {
    /// The rules as the policy's status has them.
    pub previous: &'a [RuleStatus],
    /// What the signals say.
    pub signals: &'a BTreeMap<String, Reading>,
    /// `expected` as the policy's status has it.
    pub baselines: &'a BTreeMap<String, i64>,
    /// Rules that must be False once before they open an Incident again.
    pub waiting_for: &'a [String],
    /// The responses that the policy has had lately.
    pub responses: &'a [RecentResponse],
    /// The policy has an open Incident.
    pub incident_open: bool,
    /// Too long nobody watched.
    pub clocks_broken: bool,
}

/// What a detection found.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Rules, signals and baselines as they are.
    pub assessment: Assessment,
    /// The rule that asks for an Incident.
    pub open: Option<Opening>,
    /// Rules that must be False once before they open again.
    pub waiting_for: Vec<String>,
    /// Why nothing is opened although a rule is true.
    pub why_not: Option<String>,
    /// A rule asks for an Incident, and `guardrails.cooldown` says not before this.
    pub cooldown_until: Option<Timestamp>,
    /// When to look again though nothing moves.
    pub wake_at: Option<Timestamp>,
}

/// The rule that asks for an Incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its level.
    pub level: Severity,
    /// Its name.
    pub reason: String,
}

/// Assesses a policy's rules and says whether they ask for an Incident.
pub fn detect(facts: &PolicyFacts<'_>, rules: &Rules, now: Timestamp) -> Detection {
    let assessment = assess(&Observed {
        rules,
        previous: facts.previous,
        signals: facts.signals,
        baselines: facts.baselines,
        incident_open: facts.incident_open,
        clocks_broken: facts.clocks_broken,
        now,
    });
    let mut waiting_for = facts.waiting_for.to_vec();
    waiting_for.retain(|reason| {
        assessment
            .rules
            .iter()
            .any(|rule| rule.reason == *reason && (rule.truth != Verdict::False || rule.holds))
    });
    let candidate = assessment.rules.iter().find(|rule| rule.holds && !waiting_for.contains(&rule.reason));
    let opening = candidate.map(|rule| Opening { level: rule.level, reason: rule.reason.clone() });
    let may_open = !rules.suspend && !facts.incident_open;
    let cooldown =
        opening.as_ref().filter(|_| may_open).and_then(|opening| cooldown(opening, facts, rules, now));
    let why_not = why_not(&assessment, &waiting_for, rules, opening.as_ref());
    let (cooldown_until, too_soon) = cooldown.unzip();
    Detection {
        open: opening.filter(|_| may_open && cooldown_until.is_none()),
        why_not: why_not.or(too_soon),
        cooldown_until,
        waiting_for,
        wake_at: earliest(assessment.wake_at, cooldown_until),
        assessment,
    }
}

/// Until when nothing is opened so soon after the last response, and why.
fn cooldown(
    opening: &Opening,
    facts: &PolicyFacts<'_>,
    rules: &Rules,
    now: Timestamp,
) -> Option<(Timestamp, String)> {
    let (last, ended) = last_ended(facts.responses)?;
    let until = after(ended, rules.limits.cooldown);
    let why = format!(
        "{} holds, and guardrails.cooldown is {} after the end of Incident {}: the next one opens at {}, if a rule holds \
         then. One that a person applies need not wait",
        opening.reason,
        Period::from(rules.limits.cooldown),
        last.name,
        clock_time(until)
    );
    (until > now).then_some((until, why))
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
            "an earlier response was ended by a person while {} held: it opens again after it was false once",
            waiting_for.join(", ")
        ));
    }
    let clock = found.rules.iter().find(|rule| rule.truth == Verdict::True && !rule.holds)?;
    Some(format!("{} is true but not yet for as long as it must be", clock.reason))
}
