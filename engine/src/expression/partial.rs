//! Partial knowledge: objects whose health is Unknown, alerts that may have ended, and usage that was not measured.
//!
//! One odd object must not blind a signal. The expression is evaluated with k of the unknown objects healthy and the
//! others unhealthy, for each k, and for each combination if it reads several such signals. The same truth every time is
//! the truth, whatever the health of these objects is. `expected` and the other fields stay as they are. Of a value of
//! which only bounds are known, those values are tried that stand for all others.

use super::bounds;
use super::check::Checked;
use super::evaluate::over_signals;
use super::{Evaluation, FieldValue, Readings};
use crate::verdict::Verdict;

/// Counts that may be higher, and in which field of the reading stands by how many; no expression reads that. Of alerts that
/// were not heard of for long, or could not be read.
pub const MAY_BE_MORE: [(&str, &str); 5] = [
    ("firing", "unheard"),
    ("p0", "unheardP0"),
    ("p1", "unheardP1"),
    ("p2", "unheardP2"),
    ("p3", "unheardP3"),
];

/// Values that may be higher, and in which field of the reading stands by how much at most. Of objects some of which were not
/// measured. An infinite value, or the highest of its type, is no bound.
pub const AT_MOST: [(&str, &str); 3] = [
    ("cpuRatio", "cpuRatioAtMost"),
    ("memoryRatio", "memoryRatioAtMost"),
    ("maxMemoryBytes", "maxMemoryBytesAtMost"),
];
/// Occurrences of Events that may be within the window or not, beside the field that may be higher. [`UNBOUNDED`] or more of
/// them are no bound.
pub const UNDATED: &str = "undated";
/// As many undated occurrences as nobody can tell a bound of: far more than occur.
pub const UNBOUNDED: i64 = 1 << 40;
/// The field of the kind that counts Events.
const COUNT: &str = "count";

/// The maximum number of evaluations of one expression.
const MOST: usize = 257;

/// The fields of a kind that judges the health of objects.
const HEALTHY: &str = "healthy";
const UNHEALTHY: &str = "unhealthy";
const RATIO: &str = "healthyRatio";
const UNKNOWN: &str = "unknown";

/// Something that is not known of a signal.
struct Doubt<'a> {
    signal: &'a str,
    about: About,
}

/// What is not known.
enum About {
    /// The health of so many objects.
    Health { unknown: i64, healthy: i64, unhealthy: i64 },
    /// Whether so many alerts are to be added to this number in this field.
    More { unknown: i64, field: &'static str, least: i64 },
    /// Which of the values between two bounds this field has; those that stand for all of them, if that is known.
    Between { field: &'static str, values: Option<Vec<FieldValue>>, because: Because },
}

/// Why only bounds of a value are known.
enum Because {
    /// Some objects were not measured.
    Unmeasured,
    /// Nobody knows when so many Events occurred.
    Undated(i64),
}

impl About {
    /// How many cases there are; none if they cannot be counted.
    fn cases(&self) -> Option<usize> {
        match self {
            Self::Health { unknown, .. } | Self::More { unknown, .. } => {
                usize::try_from(*unknown).ok()?.checked_add(1)
            }
            Self::Between { values, .. } => values.as_ref().map(Vec::len),
        }
    }
}

/// Evaluates an expression over signals.
pub(super) fn evaluate(checked: &Checked, readings: &Readings) -> Evaluation {
    let doubts: Vec<Doubt<'_>> =
        checked.signals.iter().flat_map(|signal| doubts_of(checked, signal, readings)).collect();
    if doubts.is_empty() {
        return over_signals(checked, readings);
    }
    let cases = doubts.iter().try_fold(1_usize, |cases, doubt| {
        cases.checked_mul(doubt.about.cases()?).filter(|cases| *cases <= MOST)
    });
    let Some(cases) = cases else {
        let is_computed = |doubt: &Doubt<'_>| doubt.about.cases().is_none();
        let why = match doubts.iter().any(is_computed) {
            true => "the expression does more with it than compare it with numbers",
            false => "that is too many to tell whether it matters",
        };
        return Evaluation::missing(format!("{}, and {why}", told(&doubts)));
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

/// The doubts about a signal; none if everything is known of it, or the expression reads nothing that depends on it.
fn doubts_of<'a>(checked: &'a Checked, signal: &'a str, readings: &Readings) -> Vec<Doubt<'a>> {
    let Some(fields) = readings.get(signal) else { return Vec::new() };
    let is_read =
        |field: &str| checked.reads.iter().any(|read| read.signal == *signal && read.field == field);
    let number = |field: &str| match fields.get(field) {
        Some(FieldValue::Int(number)) => Some(*number),
        Some(_) | None => None,
    };
    let in_doubt = |field: &str| number(field).filter(|unknown| *unknown > 0);
    let health = || {
        let depends = [HEALTHY, UNHEALTHY, RATIO].into_iter().any(is_read);
        let unknown = in_doubt(UNKNOWN).filter(|_| depends)?;
        let about = About::Health { unknown, healthy: number(HEALTHY)?, unhealthy: number(UNHEALTHY)? };
        Some(Doubt { signal, about })
    };
    let more = |(field, doubtful): (&'static str, &str)| {
        let unknown = in_doubt(doubtful).filter(|_| is_read(field))?;
        Some(Doubt { signal, about: About::More { unknown, field, least: number(field)? } })
    };
    let between = |(field, at_most): (&'static str, &str)| {
        let (least, most) = (fields.get(field)?, fields.get(at_most).filter(|_| is_read(field))?);
        let values = bounds::values(&checked.tree, signal, field, least, most);
        Some(Doubt { signal, about: About::Between { field, values, because: Because::Unmeasured } })
    };
    let undated = || {
        let undated = in_doubt(UNDATED).filter(|_| is_read(COUNT))?;
        let values = counts(checked, signal, number(COUNT)?, undated);
        let because = Because::Undated(undated);
        Some(Doubt { signal, about: About::Between { field: COUNT, values, because } })
    };
    let more = MAY_BE_MORE.into_iter().filter_map(more).chain(undated());
    health().into_iter().chain(more).chain(AT_MOST.into_iter().filter_map(between)).collect()
}

/// The counts to try of Events, of which so many are undated: each one, if they are few and the expression computes with them.
fn counts(checked: &Checked, signal: &str, least: i64, undated: i64) -> Option<Vec<FieldValue>> {
    let most = if undated < UNBOUNDED { least.saturating_add(undated) } else { i64::MAX };
    let each = || {
        let are_few = usize::try_from(undated).is_ok_and(|undated| undated < MOST);
        are_few.then(|| (least..=most).map(FieldValue::Int).collect())
    };
    let bounds = (FieldValue::Int(least), FieldValue::Int(most));
    bounds::values(&checked.tree, signal, COUNT, &bounds.0, &bounds.1).or_else(each)
}

/// Changes the readings to those of one case.
fn suppose(doubts: &[Doubt<'_>], mut case: usize, readings: &mut Readings) {
    for Doubt { signal, about } in doubts {
        let cases = about.cases().unwrap_or(1);
        let own = case % cases;
        let better = i64::try_from(own).unwrap_or_default();
        case /= cases;
        let Some(fields) = readings.get_mut(*signal) else { continue };
        match about {
            About::Health { unknown, healthy, unhealthy } => {
                let (healthy, unhealthy) = (healthy + better, unhealthy + unknown - better);
                fields.insert(HEALTHY.to_owned(), FieldValue::Int(healthy));
                fields.insert(UNHEALTHY.to_owned(), FieldValue::Int(unhealthy));
                #[expect(clippy::cast_precision_loss, reason = "counts of objects are far below 2^52")]
                let ratio = healthy as f64 / (healthy + unhealthy) as f64;
                fields.insert(RATIO.to_owned(), FieldValue::Double(ratio));
            }
            About::More { field, least, .. } => {
                fields.insert((*field).to_owned(), FieldValue::Int(least + better));
            }
            About::Between { field, values, .. } => {
                if let Some(value) = values.as_ref().and_then(|values| values.get(own)) {
                    fields.insert((*field).to_owned(), value.clone());
                }
            }
        }
    }
}

fn told(doubts: &[Doubt<'_>]) -> String {
    let told = |Doubt { signal, about }: &Doubt<'_>| match about {
        About::Health { unknown, .. } => {
            format!("the health of {unknown} object(s) of signals.{signal} is Unknown")
        }
        About::Between { field, because: Because::Undated(UNBOUNDED..), .. } => {
            format!("more Events may be in signals.{signal}.{field}: how many occurred is not known")
        }
        About::Between { field, because: Because::Undated(undated), .. } => format!(
            "{undated} more Event(s) may be in signals.{signal}.{field}: when they occurred is not known"
        ),
        About::Between { field, because: Because::Unmeasured, .. } => {
            format!(
                "signals.{signal}.{field} is known only within bounds, because some objects were not measured"
            )
        }
        About::More { unknown, field, .. } => format!(
            "{unknown} alert(s) may be missing in signals.{signal}.{field}: they were neither repeated nor resolved for maxAge, or \
             cannot be read"
        ),
    };
    doubts.iter().map(told).collect::<Vec<_>>().join(", and ")
}
