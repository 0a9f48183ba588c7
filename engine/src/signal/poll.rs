//! What signals have in common whose values are asked for at intervals.

use jiff::SignedDuration;

use super::{Metrics, ServiceSpec, SignalSpec, Source};
use crate::period::Period;
use crate::rules::Faults;

const DEFAULT_EVERY: Period = Period::seconds(15);
const DEFAULT_TIMEOUT: Period = Period::seconds(5);
const DEFAULT_MAX_AGE: Period = Period::seconds(60);
const EVERY: (Period, Period) = (Period::seconds(1), Period::seconds(3600));
const TIMEOUT: (Period, Period) = (Period::seconds(1), Period::seconds(30));
const LONGEST_MAX_AGE: Period = Period::seconds(24 * 3600);

/// What a signal asks, and whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled<'a> {
    /// An endpoint of the operator's configuration, with the operator's credentials.
    Endpoint {
        /// Its name.
        name: &'a str,
        /// What it must be.
        type_: EndpointType,
    },
    /// A Service, through the proxy of the API server, as the policy's ServiceAccount.
    Service(&'a ServiceSpec),
    /// The metrics API of the cluster, as the policy's ServiceAccount.
    Metrics(&'a Metrics),
}

/// What an endpoint of the operator's configuration speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointType {
    /// The query API of Prometheus.
    Prometheus,
    /// The API of Alertmanager, version 2.
    Alertmanager,
    /// Anything that is asked with GET, and of which only the status counts.
    Http,
}

impl EndpointType {
    /// All types, in the order in which they are documented.
    pub const ALL: &'static [Self] = &[Self::Prometheus, Self::Alertmanager, Self::Http];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::Alertmanager => "Alertmanager",
            Self::Http => "HTTP",
        }
    }
}

/// How often something is asked, and how long an answer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Pace {
    /// The time from one request to the next.
    pub every: SignedDuration,
    /// How long one request may take.
    pub timeout: SignedDuration,
    /// How old a value may be. An older one is Unknown.
    pub max_age: SignedDuration,
}

impl Pace {
    /// The pace of a signal that is asked; none if nobody is asked. What does not fit the source of the signal is a fault.
    pub(crate) fn parse(
        spec: &SignalSpec,
        source: Source<'_>,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        match source {
            Source::Watch(_) => {
                let set = [("every", spec.every), ("timeout", spec.timeout), ("maxAge", spec.max_age)];
                for (name, _) in set.into_iter().filter(|(_, period)| period.is_some()) {
                    let why = "this kind of signal is watched and follows every change; remove it";
                    faults.add(format!("{field}.{name}"), why);
                }
                None
            }
            Source::Poll(_) => Some(Self::of(spec, field, faults)),
            // Its own file finds what does not fit.
            Source::Push => None,
        }
    }

    fn of(spec: &SignalSpec, field: &str, faults: &mut Faults) -> Self {
        let mut within =
            |name: &str, given: Option<Period>, usual: Period, (least, most): (Period, Period)| {
                let period = given.unwrap_or(usual);
                if period < least || period > most {
                    faults.add(format!("{field}.{name}"), format!("must be from {least} to {most}"));
                }
                period.length()
            };
        let every = within("every", spec.every, DEFAULT_EVERY, EVERY);
        let timeout = within("timeout", spec.timeout, DEFAULT_TIMEOUT, TIMEOUT);
        let max_age = spec.max_age.unwrap_or(DEFAULT_MAX_AGE);
        if max_age.length() < every + timeout * 2 || max_age > LONGEST_MAX_AGE {
            let why = format!(
                "must be at least every and twice timeout together, or each value would be too old before the next, because a \
                 request may wait for its turn as long as for its answer; and at most \
                 {LONGEST_MAX_AGE}; it is {max_age}"
            );
            faults.add(format!("{field}.maxAge"), why);
        }
        Self { every, timeout, max_age: max_age.length() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;

    fn parse(signal: Value) -> Result<Rules, Vec<String>> {
        let spec = serde_json::from_value(json!({"signals": [signal]})).unwrap();
        Rules::parse(&spec).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    fn query(more: Value) -> Value {
        let mut signal = json!({"name": "s", "prometheus": {"endpoint": "prometheus", "query": "up"}});
        signal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        signal
    }

    #[test]
    fn a_signal_is_asked_every_15_seconds_unless_it_says_otherwise() {
        let pace = |more| parse(query(more)).unwrap().signals[0].pace.unwrap();
        let usual = pace(json!({}));
        assert_eq!((usual.every.as_secs(), usual.timeout.as_secs(), usual.max_age.as_secs()), (15, 5, 60));
        let own = pace(json!({"every": "5m", "timeout": "10s", "maxAge": "6m"}));
        assert_eq!((own.every.as_secs(), own.timeout.as_secs(), own.max_age.as_secs()), (300, 10, 360));
        assert_eq!(parse(json!({"name": "s", "nodes": {}})).unwrap().signals[0].pace, None);
    }

    #[test]
    fn what_does_not_fit_the_kind_or_itself_is_a_fault() {
        let table = [
            (json!({"name": "s", "nodes": {}, "every": "15s"}), "spec.signals[0].every: "),
            (json!({"name": "s", "nodes": {}, "timeout": "5s"}), "spec.signals[0].timeout: "),
            (json!({"name": "s", "nodes": {}, "maxAge": "1m"}), "spec.signals[0].maxAge: "),
            (query(json!({"expect": 3})), "spec.signals[0].expect: this kind of signal has no `expected`"),
            (
                query(json!({"expectWithin": "1h"})),
                "spec.signals[0].expectWithin: this kind of signal has no `expected`",
            ),
            (query(json!({"every": "500ms"})), "spec.signals[0].every: must be from 1s to 1h"),
            (query(json!({"every": "2h", "maxAge": "3h"})), "spec.signals[0].every: must be from 1s to 1h"),
            (
                query(json!({"timeout": "40s", "maxAge": "2m"})),
                "spec.signals[0].timeout: must be from 1s to 30s",
            ),
            (
                query(json!({"every": "1m"})),
                "spec.signals[0].maxAge: must be at least every and twice timeout together",
            ),
            (
                query(json!({"every": "20s", "timeout": "10s", "maxAge": "39s"})),
                "spec.signals[0].maxAge: must be at least every and twice timeout together",
            ),
            (
                query(json!({"maxAge": "25h"})),
                "spec.signals[0].maxAge: must be at least every and twice timeout together",
            ),
        ];
        for (signal, expected) in table {
            let faults = parse(signal.clone()).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{signal}: {faults:?}");
        }
    }

    #[test]
    fn a_signal_that_counts_no_objects_has_nothing_that_is_expected_or_missing() {
        let spec = json!({
            "signals": [query(json!({}))],
            "severity": [{"level": "P0", "reason": "Outage", "when": "signals.s.missing > 0"}],
        });
        let faults = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap_err();
        assert!(faults[0].problem.contains("count, known, max, min, sum, value"), "{}", faults[0]);
    }
}
