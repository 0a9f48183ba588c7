//! Partial knowledge: objects whose health is Unknown.
//!
//! One odd object must not blind a signal. The expression is evaluated with k of the unknown objects healthy and the
//! others unhealthy, for each k, and for each combination if it reads several such signals. The same truth every time is
//! the truth, whatever the health of these objects is. `expected` and the other fields stay as they are.

use super::check::Checked;
use super::evaluate::over_signals;
use super::{Evaluation, FieldValue, Readings};
use crate::verdict::Verdict;

/// The maximum number of evaluations of one expression.
const MOST: usize = 65;

/// The fields of a kind that judges the health of objects.
const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";
const RATIO: &str = "healthyRatio";
const UNKNOWN: &str = "unknown";

/// A signal with objects whose health is Unknown.
struct Doubt<'a> {
    signal: &'a str,
    healthy: i64,
    unhealthy: i64,
    unknown: i64,
}

/// Evaluates an expression over signals.
pub(super) fn evaluate(checked: &Checked, readings: &Readings) -> Evaluation {
    let doubts: Vec<Doubt<'_>> =
        checked.signals.iter().filter_map(|signal| doubt(checked, signal, readings)).collect();
    if doubts.is_empty() {
        return over_signals(checked, readings);
    }
    let cases = doubts.iter().try_fold(1_usize, |cases, doubt| {
        let own = usize::try_from(doubt.unknown).ok()?.checked_add(1)?;
        cases.checked_mul(own).filter(|cases| *cases <= MOST)
    });
    let Some(cases) = cases else {
        return Evaluation::missing(format!(
            "{}, and that is too many to tell whether it matters",
            told(&doubts)
        ));
    };
    let mut possible = readings.clone();
    possible.retain(|signal, _| checked.signals.contains(signal));
    let mut found: Option<Evaluation> = None;
    for case in 0..cases {
        suppose(&doubts, case, &mut possible);
        let next = over_signals(checked, &possible);
        if next.verdict == Verdict::Unknown {
            return next;
        }
        match &found {
            None => found = Some(next),
            Some(first) if first.verdict == next.verdict => {}
            Some(_) => return Evaluation::missing(told(&doubts)),
        }
    }
    found.unwrap_or_else(|| Evaluation::missing(told(&doubts)))
}

/// The doubt about a signal; none if everything is known of it, or the expression reads nothing that depends on it.
fn doubt<'a>(checked: &'a Checked, signal: &'a str, readings: &Readings) -> Option<Doubt<'a>> {
    let depends = |field: &str| [HEALTHY, UNHEALTHY, RATIO].contains(&field);
    checked.reads.iter().find(|read| read.signal == *signal && depends(&read.field))?;
    let fields = readings.get(signal)?;
    let number = |field: &str| match fields.get(field) {
        Some(FieldValue::Int(number)) => Some(*number),
        Some(_) | None => None,
    };
    let unknown = number(UNKNOWN).filter(|unknown| *unknown > 0)?;
    Some(Doubt { signal, healthy: number(HEALTHY)?, unhealthy: number(UNHEALTHY)?, unknown })
}

/// Changes the readings to those of one case.
fn suppose(doubts: &[Doubt<'_>], mut case: usize, readings: &mut Readings) {
    for doubt in doubts {
        let cases = usize::try_from(doubt.unknown).unwrap_or_default() + 1;
        let better = i64::try_from(case % cases).unwrap_or_default();
        case /= cases;
        let (healthy, unhealthy) = (doubt.healthy + better, doubt.unhealthy + doubt.unknown - better);
        let Some(fields) = readings.get_mut(doubt.signal) else { continue };
        fields.insert(HEALTHY.to_owned(), FieldValue::Int(healthy));
        fields.insert(UNHEALTHY.to_owned(), FieldValue::Int(unhealthy));
        #[expect(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
        let ratio = healthy as f64 / (healthy + unhealthy) as f64;
        fields.insert(RATIO.to_owned(), FieldValue::Double(ratio));
    }
}

fn told(doubts: &[Doubt<'_>]) -> String {
    let told: Vec<String> = doubts
        .iter()
        .map(|doubt| {
            format!("the health of {} object(s) of signals.{} is Unknown", doubt.unknown, doubt.signal)
        })
        .collect();
    told.join(", and ")
}
