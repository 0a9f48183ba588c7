//! What signals have in common whose values are sent to Firebreak.

use jiff::SignedDuration;

use super::{SignalSpec, Source};
use crate::period::Period;
use crate::rules::Faults;

/// Longer than Alertmanager waits before it repeats what fires, which is 4 h by default.
const DEFAULT_MAX_AGE: Period = Period::seconds(5 * 3600);
const MAX_AGE: (Period, Period) = (Period::seconds(60), Period::seconds(7 * 24 * 3600));

/// How long what was sent counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hearing {
    /// After this time without a repetition nothing is known.
    pub max_age: SignedDuration,
}

impl Hearing {
    /// How long what was sent to the signal counts; none if nothing is sent to it. What does not fit is a fault.
    pub(crate) fn parse(
        spec: &SignalSpec,
        source: Source<'_>,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        match source {
            Source::Watch(_) | Source::Poll(_) => None,
            Source::Push => {
                for (name, _) in [("every", spec.every), ("timeout", spec.timeout)]
                    .into_iter()
                    .filter(|(_, period)| period.is_some())
                {
                    let why = "nobody is asked, because Alertmanager sends its alerts; remove it";
                    faults.add(format!("{field}.{name}"), why);
                }
                let max_age = spec.max_age.unwrap_or(DEFAULT_MAX_AGE);
                let (least, most) = MAX_AGE;
                if max_age < least || max_age > most {
                    faults.add(format!("{field}.maxAge"), format!("must be from {least} to {most}"));
                }
                Some(Self { max_age: max_age.length() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;

    fn parse(more: Value) -> Result<Rules, String> {
        let mut signal = json!({"name": "s", "alertmanager": {"receive": {}}});
        signal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec = serde_json::from_value(json!({"signals": [signal]})).unwrap();
        Rules::parse(&spec).map_err(|faults| faults[0].to_string())
    }

    #[test]
    fn what_was_sent_counts_for_five_hours_unless_the_signal_says_otherwise() {
        let of = |more| {
            let signal = parse(more).unwrap().signals.remove(0);
            assert_eq!(signal.pace, None);
            signal.hearing.unwrap().max_age.as_secs()
        };
        assert_eq!((of(json!({})), of(json!({"maxAge": "10m"}))), (5 * 3600, 600));
    }

    #[test]
    fn what_does_not_fit_is_a_fault() {
        let table = [
            (json!({"every": "15s"}), "spec.signals[0].every: nobody is asked"),
            (json!({"timeout": "5s"}), "spec.signals[0].timeout: nobody is asked"),
            (json!({"maxAge": "30s"}), "spec.signals[0].maxAge: must be from 1m to 168h"),
            (json!({"maxAge": "169h"}), "spec.signals[0].maxAge: must be from 1m to 168h"),
            (json!({"expect": 1}), "spec.signals[0].expect: this kind of signal has no `expected`"),
        ];
        for (more, expected) in table {
            let why = parse(more.clone()).unwrap_err();
            assert!(why.starts_with(expected), "{more}: {why}");
        }
    }
}
