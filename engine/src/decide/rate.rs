//! The guardrails on the rate: how many responses, and how soon the next step.

use super::Deciding;
use super::held::Findings;
use crate::facts::PolicyFact;
use crate::incident::Held;
use crate::period::{Period, after, clock_time};
use crate::reason::Reason;
use crate::response::{RecentResponse, counted_before};
use crate::rules::Rules;

/// The maximum number of earlier responses that the message names.
const NAMED: usize = 3;

impl Deciding<'_> {
    /// What a person must know when the policy had already used up its automatic responses before this one.
    pub(super) fn too_many_incidents(&self, rules: &Rules) -> Option<Held> {
        let PolicyFact::Usable { responses, .. } = &self.facts.policy else { return None };
        let before = counted_before(responses, &self.facts.incident, &rules.limits)?;
        let most = rules.limits.max_incidents;
        if before.len() < most {
            return None;
        }
        let told = |one: &&RecentResponse| format!("{} ({})", one.name, clock_time(one.at));
        let newest: Vec<String> = before.iter().rev().take(NAMED).map(told).collect();
        let message = format!(
            "guardrails.maxIncidents allows {most} automatic response(s) per {}, and this is number {}, after {}{}: nothing \
             is applied. Find out why they come so often. To let this one continue, raise the guardrail in the policy. Or \
             close it with `{}` and open one by hand, which the guardrail does not count",
            Period::from(rules.limits.max_incidents_per),
            before.len() + 1,
            newest.join(", "),
            if before.len() > NAMED { " and others" } else { "" },
            self.facts.incident.withdraw_command()
        );
        Some(Held::new(Reason::TooManyIncidents, &message))
    }

    /// Nothing new is applied. Applied changes are watched, and recovery continues.
    pub(super) fn hold(&mut self, held: Held) -> Findings {
        for step in self.ladder.clone() {
            if !super::is_begun(&self.next, &step.name) {
                self.pending(
                    &step.name,
                    held.reason.clone(),
                    "the whole Incident waits for this; its condition Stalled has the details",
                );
            }
        }
        let mut findings = self.watch_steps();
        findings.add(held);
        findings
    }

    /// Why the next step may not start yet so soon after the last one; none if it may.
    pub(super) fn too_soon(&mut self) -> Option<String> {
        let interval = self.rules?.limits.min_step_interval;
        let started = self.next.steps.iter().filter_map(|step| Some((step.started_at?, &step.name)));
        let (at, last) = started.max()?;
        let due = after(at, interval);
        let why = format!(
            "guardrails.minStepInterval is {}, and step {last} started at {}",
            Period::from(interval),
            clock_time(at)
        );
        (due > self.now).then(|| {
            self.wake(Some(due));
            why
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Fixture, NOW, at};
    use crate::change::ChangeState;

    #[test]
    fn the_next_step_waits_until_the_interval_since_the_last_one_is_over() {
        let policy = |interval: &str| {
            Fixture::pinned().policy(|spec| {
                spec["guardrails"] = serde_json::json!({"minStepInterval": interval});
            })
        };
        for (interval, started, waits) in
            [("0s", NOW, false), ("1m", NOW - 59, true), ("1m", NOW - 60, false)]
        {
            let given = policy(interval).change("one", "a", ChangeState::Applied);
            let given = given.with(|facts| facts.state.steps[0].started_at = Some(at(started)));
            assert_eq!(given.deciding().too_soon().is_some(), waits, "{interval} {started}");
        }
        assert_eq!(policy("1m").deciding().too_soon(), None, "no step has started");
    }
}
