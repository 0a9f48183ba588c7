//! The signals and rules of a policy, as lines for people.

use firebreak_engine::expression::FieldValue;
use firebreak_engine::incident::{RuleStatus, SignalState};
use firebreak_engine::verdict::Verdict;
use jiff::{SignedDuration, Timestamp};

use super::history::History;
use super::view::{RuleView, SignalView, SignalsView};
use crate::cli::screen::{Line, Style};
use crate::cli::time::{age, clock, short};

/// Everything, with a sparkline behind each value if there is a history.
pub fn lines(view: &SignalsView, history: Option<&History>, now: Timestamp) -> Vec<Line> {
    let policy = &view.policy;
    let mut lines = vec![
        Line::of("Policy ")
            .add(Style::Strong, format!("{}/{}", policy.namespace, policy.name))
            .and(format!(", {:?}, read as {}", policy.mode, policy.read_as)),
    ];
    lines.extend(policy.problem.iter().map(|why| Line::of("  ").add(Style::Bad, why).whole()));
    lines.push(Line::styled(Style::Strong, "Signals"));
    if view.signals.is_empty() {
        lines.push(Line::of("  the policy has no signals"));
    }
    for signal in &view.signals {
        signal_lines(&mut lines, signal, history);
    }
    lines.push(Line::styled(Style::Strong, "Rules"));
    if view.rules.is_empty() {
        lines.push(Line::of("  the policy has no rules, so it opens nothing"));
    }
    for rule in &view.rules {
        rule_lines(&mut lines, rule, now);
    }
    lines
}

fn signal_lines(lines: &mut Vec<Line>, signal: &SignalView, history: Option<&History>) {
    let style = match signal.state {
        SignalState::Known => Style::Good,
        SignalState::Unknown => Style::Bad,
    };
    let head = Line::of("  ").add(Style::Strong, &signal.name).and(format!("  {}  ", signal.kind));
    lines.push(head.add(style, format!("{:?}", signal.state)));
    lines.extend(signal.source.iter().map(|source| Line::of("    ").add(Style::Faint, source)));
    if let Some(why) = &signal.unknown {
        lines.push(Line::of("    ").add(Style::Bad, format!("{}: {}", why.reason, why.detail)).whole());
        lines.push(Line::of("    ").add(Style::Busy, format!("do: {}", why.next)).whole());
    }
    let rows: Vec<(&String, String)> =
        signal.read.iter().map(|field| (field, shown(field, signal.fields.get(field)))).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or_default();
    let names = width(&mut rows.iter().map(|(field, _)| field.len()));
    let values = width(&mut rows.iter().map(|(_, value)| value.len()));
    for (field, value) in &rows {
        let line = Line::of(format!("    {field:names$}  {value:values$}"));
        let past = history.map(|history| history.sparkline(&signal.name, field)).unwrap_or_default();
        lines.push(line.add(Style::Faint, format!("  {past}")));
    }
    let others = signal.fields.iter().filter(|(field, _)| !signal.read.contains(field) && *field != "known");
    let others: Vec<String> =
        others.map(|(field, value)| format!("{field} {}", shown(field, Some(value)))).collect();
    if !others.is_empty() {
        lines.push(Line::of("    ").add(Style::Faint, format!("no rule reads: {}", others.join(", "))));
    }
}

fn rule_lines(lines: &mut Vec<Line>, rule: &RuleView, now: Timestamp) {
    let status = &rule.status;
    let style = match status.truth {
        Verdict::True | Verdict::Unknown => Style::Bad,
        Verdict::False => Style::Plain,
    };
    let head = Line::of(format!("  {} ", status.level)).add(Style::Strong, &status.reason).and("  ");
    let since = match rule.at_least_since {
        Some(since) => format!(", at least since {}", clock(since, now)),
        None => since(status, now),
    };
    lines.push(head.add(style, truth(status)).and(since));
    lines.push(Line::of("    ").add(Style::Faint, format!("when {}", rule.when)).whole());
    let reads = reads(rule);
    if !reads.is_empty() {
        lines.push(Line::of(format!("    {reads}")).whole());
    }
    if status.truth == Verdict::Unknown {
        lines.push(Line::of("    ").add(Style::Bad, &status.evidence).whole());
    }
    lines.extend(rule.waits.iter().map(|wait| Line::of("    ").add(Style::Busy, wait).whole()));
    if let Some(recorded) = &rule.recorded {
        let text = format!("the operator has recorded {}{}", truth(recorded), self::since(recorded, now));
        lines.push(Line::of("    ").add(Style::Busy, text));
    }
}

/// The truth of a rule, and whether it holds.
pub fn truth(status: &RuleStatus) -> String {
    let holds = if status.holds { ", holds" } else { "" };
    format!("{:?}{holds}", status.truth)
}

/// Since when it has this truth; empty if that is not known.
fn since(status: &RuleStatus, now: Timestamp) -> String {
    let since = if status.truth == Verdict::Unknown { status.unknown_since } else { status.since };
    since.map(|since| format!(" since {}, {} ago", clock(since, now), age(since, now))).unwrap_or_default()
}

/// The values that a rule reads, in one line.
pub fn reads(rule: &RuleView) -> String {
    let parts = rule.reads.iter().map(|(name, value)| {
        let field = name.split_once('.').map_or("", |(_, field)| field);
        format!("{name} {}", shown(field, value.as_ref()))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// The value of a field, with its unit.
pub fn shown(field: &str, value: Option<&FieldValue>) -> String {
    match value {
        None => "no value".to_owned(),
        Some(FieldValue::Boolean(truth)) => truth.to_string(),
        Some(FieldValue::Int(number)) if field.ends_with("Seconds") => {
            format!("{number} s ({})", short(SignedDuration::from_secs(*number)))
        }
        Some(FieldValue::Int(number)) if field.ends_with("Ms") => format!("{number} ms"),
        Some(FieldValue::Int(number)) if field.ends_with("Bytes") => bytes(*number),
        Some(FieldValue::Int(number)) => number.to_string(),
        Some(FieldValue::Double(number)) if field.ends_with("Ratio") => {
            format!("{number:.3} ({:.1} %)", number * 100.0)
        }
        Some(FieldValue::Double(number)) => format!("{number:?}"),
        Some(FieldValue::Map(map)) => {
            let parts: Vec<String> = map.iter().map(|(key, number)| format!("{key}: {number}")).collect();
            format!("{{{}}}", parts.join(", "))
        }
    }
}

/// A number of bytes, with the largest unit in which it is at least 1.
fn bytes(number: i64) -> String {
    let unit = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match unit.into_iter().find(|(size, _)| number >= *size) {
        Some((size, unit)) => {
            let tenths = (i128::from(number) * 10 + i128::from(size) / 2) / i128::from(size);
            format!("{number} B ({}.{} {unit})", tenths / 10, tenths % 10)
        }
        None => format!("{number} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_the_unit_of_its_field() {
        let int = |field: &str, number: i64| shown(field, Some(&FieldValue::Int(number)));
        assert_eq!(int("ready", 4), "4");
        assert_eq!(int("oldestPendingSeconds", 125), "125 s (2m5s)");
        assert_eq!(int("latencyMs", 150), "150 ms");
        assert_eq!(int("maxMemoryBytes", 1536 << 20), "1610612736 B (1.5 GiB)");
        assert_eq!(int("maxMemoryBytes", 1023), "1023 B");
        assert_eq!(shown("readyRatio", Some(&FieldValue::Double(0.5))), "0.500 (50.0 %)");
        assert_eq!(shown("value", Some(&FieldValue::Double(1e-7))), "1e-7");
        assert_eq!(shown("readyRatio", None), "no value");
    }
}
