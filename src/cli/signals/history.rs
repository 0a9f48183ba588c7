//! The last minutes of each value, as a sparkline.

use std::collections::BTreeMap;

use firebreak_engine::expression::FieldValue;
use jiff::Timestamp;

use super::view::SignalsView;

/// How many seconds one column stands for; it shows the last value in them.
const COLUMN: i64 = 5;
/// How many columns there are: five minutes.
const COLUMNS: i64 = 60;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values of the last minutes, by signal and field.
#[derive(Debug, Default)]
pub struct History {
    values: BTreeMap<(String, String), BTreeMap<i64, f64>>,
    began: Option<i64>,
    column: i64,
}

impl History {
    /// Adds the present values.
    pub fn record(&mut self, view: &SignalsView, now: Timestamp) {
        self.column = now.as_second().div_euclid(COLUMN);
        self.began.get_or_insert(self.column);
        let first = self.first();
        for signal in &view.signals {
            for field in &signal.read {
                let past = self.values.entry((signal.name.clone(), field.clone())).or_default();
                *past = past.split_off(&first);
                if let Some(value) = signal.fields.get(field).and_then(number) {
                    past.insert(self.column, value);
                }
            }
        }
    }

    /// A column for each five seconds, the newest last, and the least and the greatest value. A gap is a time without a
    /// value.
    pub fn sparkline(&self, signal: &str, field: &str) -> String {
        let Some(past) = self.values.get(&(signal.to_owned(), field.to_owned())) else {
            return String::new();
        };
        let past: BTreeMap<i64, f64> = past.range(self.first()..).map(|(at, value)| (*at, *value)).collect();
        let least = past.values().copied().fold(f64::INFINITY, f64::min);
        let most = past.values().copied().fold(f64::NEG_INFINITY, f64::max);
        if past.is_empty() {
            return String::new();
        }
        let bar = |column: i64| past.get(&column).map_or(' ', |value| bar(*value, least, most));
        let columns: String = (self.first()..=self.column).map(bar).collect();
        let range = if least < most { format!("  {least} to {most}") } else { String::new() };
        format!("{columns}{range}")
    }

    fn first(&self) -> i64 {
        self.began.unwrap_or(self.column).max(self.column - COLUMNS + 1)
    }
}

fn bar(value: f64, least: f64, most: f64) -> char {
    if most <= least {
        return BARS[0];
    }
    let share = (value - least) / (most - least);
    // A share is from 0 to 1.
    let steps = (1..BARS.len()).filter(|step| share * 7.0 >= *step as f64 - 0.5).count();
    BARS[steps]
}

fn number(value: &FieldValue) -> Option<f64> {
    match value {
        FieldValue::Boolean(truth) => Some(f64::from(u8::from(*truth))),
        FieldValue::Int(number) => Some(*number as f64),
        FieldValue::Double(number) => Some(*number),
        FieldValue::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::lines;
    use super::super::view::tests::{policy, view_of};
    use super::*;
    use crate::cli::screen::plain;
    use serde_json::json;

    #[test]
    fn a_column_is_the_last_value_of_five_seconds_and_a_gap_is_no_value() {
        let mut history = History::default();
        let at = |second: i64| Timestamp::from_second(1_000 + second).unwrap();
        let mut seen = |second: i64, ready: i64| {
            history.record(&view_of(&policy(json!({})), Some(ready), at(second)), at(second));
        };
        for (second, ready) in [(0, 8), (5, 8), (7, 4), (10, 6), (20, 0)] {
            seen(second, ready);
        }
        assert_eq!(history.sparkline("gpuNodes", "ready"), "█▅▆ ▁  0 to 8");
        let view = view_of(&policy(json!({})), Some(0), at(20));
        let text = plain(&lines(&view, Some(&history), at(20)));
        assert!(text.contains("    ready     0  █▅▆ ▁  0 to 8\n"), "{text}");
        // After five minutes only the last ones are left.
        history.record(&view_of(&policy(json!({})), None, at(315)), at(315));
        let line = history.sparkline("gpuNodes", "ready");
        assert_eq!((line.chars().count(), line.trim()), (60, "▁"), "{line}");
        assert_eq!(history.sparkline("gpuNodes", "cordoned"), "", "no rule reads it");
    }
}
