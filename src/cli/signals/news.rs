//! What has changed between two looks, one line for each.

use jiff::Timestamp;

use super::lines::{reads, shown, truth};
use super::view::{RuleView, SignalView, SignalsView};
use crate::cli::screen::{Line, Style};
use crate::cli::time::clock;

/// What is new: values of interest, signals that are Unknown or Known now, and rules.
pub fn news(before: &SignalsView, view: &SignalsView, now: Timestamp) -> Vec<Line> {
    let at = clock(now, now);
    let mut lines = Vec::new();
    if let Some(problem) =
        view.policy.problem.as_ref().filter(|now| before.policy.problem.as_ref() != Some(now))
    {
        lines.push(Line::of(format!("{at}  ")).add(Style::Bad, problem));
    }
    for signal in &view.signals {
        let old = before.signals.iter().find(|old| old.name == signal.name);
        of_signal(&mut lines, &at, old, signal);
    }
    for rule in &view.rules {
        let old = before.rules.iter().find(|old| old.status.reason == rule.status.reason);
        of_rule(&mut lines, &at, old, rule);
    }
    lines
}

fn of_signal(lines: &mut Vec<Line>, at: &str, old: Option<&SignalView>, signal: &SignalView) {
    let name = &signal.name;
    let why = |signal: &SignalView| signal.unknown.as_ref().map(|why| why.reason.clone());
    if old.map(|old| (old.state, why(old))) != Some((signal.state, why(signal))) {
        let why = signal.unknown.as_ref();
        let why =
            why.map(|why| format!("  {}: {}; {}", why.reason, why.detail, why.next)).unwrap_or_default();
        lines.push(Line::of(format!("{at}  {name}  {:?}{why}", signal.state)));
    }
    for field in &signal.read {
        let value = signal.fields.get(field);
        let was = old.and_then(|old| old.fields.get(field));
        if was != value {
            lines.push(Line::of(format!(
                "{at}  {name}.{field}  {} → {}",
                shown(field, was),
                shown(field, value)
            )));
        }
    }
}

fn of_rule(lines: &mut Vec<Line>, at: &str, old: Option<&RuleView>, rule: &RuleView) {
    let is = truth(&rule.status);
    let was = old.map(|old| truth(&old.status));
    if was.as_ref() == Some(&is) {
        return;
    }
    let was = was.map(|was| format!("{was} → ")).unwrap_or_default();
    let waits: String = rule.waits.iter().map(|wait| format!("; {wait}")).collect();
    let head = format!("{at}  {} {}  {was}{is}", rule.status.level, rule.status.reason);
    lines.push(Line::of(format!("{head}  {}{waits}", reads(rule))));
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{policy, view_of};
    use super::*;
    use crate::cli::screen::plain;
    use serde_json::json;

    #[test]
    fn a_line_for_each_change_and_none_for_what_stays() {
        let (policy, now) = (policy(json!({})), "2026-03-01T10:00:00Z".parse().unwrap());
        let [eight, four, blind] = [Some(8), Some(4), None].map(|ready| view_of(&policy, ready, now));
        assert_eq!(news(&eight, &eight, now), []);
        insta::assert_snapshot!(plain(&news(&eight, &four, now)), @"
        10:00:00Z  gpuNodes.ready  8 → 4
        10:00:00Z  P0 Lost  False → True  gpuNodes.expected 8, gpuNodes.ready 4; it holds once the operator has seen it True for 30s
        ");
        let lost = plain(&news(&four, &blind, now));
        let mut lines = lost.lines();
        let unknown = "10:00:00Z  gpuNodes  Unknown  Forbidden: cannot list nodes; grant what is missing: ";
        assert!(lines.next().is_some_and(|line| line.starts_with(unknown)), "{lost}");
        assert_eq!(lines.next(), Some("10:00:00Z  gpuNodes.expected  8 → no value"));
        assert_eq!(lines.next(), Some("10:00:00Z  gpuNodes.ready  4 → no value"));
        let rule = "10:00:00Z  P0 Lost  True → Unknown  gpuNodes.expected no value, gpuNodes.ready no value";
        assert_eq!((lines.next(), lines.next()), (Some(rule), None));
    }
}
