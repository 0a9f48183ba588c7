//! Events of Kubernetes: how often something was reported within a window.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched};
use crate::expression::{FieldKind, SignalShape};
use crate::period::Period;
use crate::rules::Faults;
use crate::selector::{Namespaces, NamespacesSpec};

const DEFAULT_WINDOW: Period = Period::seconds(10 * 60);
/// The API server keeps an Event for an hour after its last occurrence, unless `--event-ttl` says otherwise.
const WINDOW: (Period, Period) = (Period::seconds(1), Period::seconds(3600));

/// Events of Kubernetes. At least one of `reason`, `type` and `kind` must be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventsSpec {
    /// The reason of the Events, such as FailedScheduling. Defaults to every reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$"))
    )]
    pub reason: Option<String>,
    /// Their type: Normal or Warning. Defaults to both.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<EventType>,
    /// The kind of the objects that they are about, such as Pod. Defaults to every kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z][A-Za-z0-9]*$"))
    )]
    pub kind: Option<String>,
    /// How long an occurrence counts: 1s to 1h. Defaults to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
    /// The namespaces to select. Defaults to the namespace of the policy. Events about objects without a namespace, such as
    /// nodes, are in the namespace `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
}

/// The type of an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EventType {
    /// Something happened as it should.
    Normal,
    /// Something is wrong.
    Warning,
}

/// Events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Events {
    /// Their reason; none is every reason.
    pub reason: Option<String>,
    /// Their type; none is every type.
    pub type_: Option<EventType>,
    /// What they are about; none is everything.
    pub kind: Option<String>,
    /// How long an occurrence counts.
    pub window: SignedDuration,
    /// Where; none is the namespace of the policy.
    pub namespaces: Option<NamespacesSpec>,
}

impl Events {
    pub(super) fn parse(spec: &EventsSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        faults.check_namespaces(spec.namespaces.as_ref(), field);
        let window = spec.window.unwrap_or(DEFAULT_WINDOW);
        let (least, most) = WINDOW;
        if !(least..=most).contains(&window) {
            let why = "the API server forgets Events an hour after they last occurred";
            faults.add(format!("{field}.window"), format!("must be from {least} to {most}: {why}"));
        }
        if spec.reason.is_none() && spec.type_.is_none() && spec.kind.is_none() {
            let why = "set reason, type or kind: all Events of a namespace are too many, and mean nothing";
            faults.add(field.to_owned(), why.to_owned());
        }
        let is_name = |more: &'static str| {
            move |text: &String| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        for (name, text, more) in [("reason", &spec.reason, "_.:/-"), ("kind", &spec.kind, "")] {
            if text.as_ref().is_some_and(|text| text.is_empty() || !is_name(more)(text)) {
                let others = if more.is_empty() { String::new() } else { format!(" and any of {more}") };
                faults.add(format!("{field}.{name}"), format!("must be letters and digits{others}"));
            }
        }
        Some(Self {
            reason: spec.reason.clone(),
            type_: spec.type_,
            kind: spec.kind.clone(),
            window: window.length(),
            namespaces: spec.namespaces.clone(),
        })
    }

    /// What is watched for it.
    pub fn watched(&self) -> Watched<'_> {
        Watched {
            api_version: "v1",
            kind: "Event",
            names: &[],
            selector: None,
            namespaces: Namespaces::of(self.namespaces.as_ref()),
        }
    }
}

impl Kind for Events {
    fn source(&self) -> Source<'_> {
        Source::Watch(self.watched())
    }

    fn shape(&self) -> SignalShape {
        SignalShape { fields: [("count", FieldKind::Int)].into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::expression::{FieldValue, UNBOUNDED, UNDATED};
    use crate::rules::Rules;
    use crate::signal::SignalKind;
    use crate::verdict::Verdict;

    fn parse(signal: Value) -> Result<Rules, Vec<String>> {
        let mut whole = json!({"name": "s"});
        whole.as_object_mut().unwrap().extend(signal.as_object().unwrap().clone());
        let rule =
            json!({"level": "P1", "reason": "Storm", "when": "signals.s.count > 5 && signals.s.known"});
        let spec = serde_json::from_value(json!({"signals": [whole], "severity": [rule]})).unwrap();
        Rules::parse(&spec).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_occurrence_counts_for_ten_minutes_unless_the_signal_says_otherwise() {
        let window = |events: Value| {
            let rules = parse(json!({"events": events})).unwrap();
            let SignalKind::Events(events) = &rules.signals[0].kind else { panic!("{rules:?}") };
            events.window.as_secs()
        };
        let reason = json!({"reason": "FailedMount"});
        assert_eq!([window(reason), window(json!({"type": "Warning", "window": "1h"}))], [600, 3600]);
    }

    #[test]
    fn occurrences_that_may_be_older_than_the_window_matter_only_where_they_decide() {
        let evaluate = |when: &str, count: i64, undated: i64| {
            let rule = json!({"level": "P1", "reason": "Storm", "when": when});
            let signal = json!({"name": "s", "events": {"kind": "Pod"}});
            let spec = serde_json::from_value(json!({"signals": [signal], "severity": [rule]})).unwrap();
            let values = [("count", FieldValue::Int(count)), (UNDATED, FieldValue::Int(undated))];
            let values = values.map(|(field, value)| (field.to_owned(), value)).into();
            Rules::parse(&spec).unwrap().severity[0].when.evaluate(&[("s".to_owned(), values)].into())
        };
        let table = [
            ("signals.s.count > 5", 6, 38, Verdict::True),
            ("signals.s.count > 5", 3, 2, Verdict::False),
            ("signals.s.count > 5", 3, 3, Verdict::Unknown),
            ("signals.s.count >= 20", 30, 840, Verdict::True),
            ("signals.s.count >= 20", 3, 840, Verdict::Unknown),
            ("signals.s.count > 1000", 30, 840, Verdict::False),
            ("signals.s.count < 5", 3, 10, Verdict::Unknown),
            ("signals.s.count == 7 || signals.s.count == 900", 3, 840, Verdict::Unknown),
            ("signals.s.count != 7", 3, 840, Verdict::Unknown),
            ("signals.s.count > 5", 10_000, UNBOUNDED, Verdict::True),
            ("signals.s.count > 5", 5, UNBOUNDED, Verdict::Unknown),
            ("signals.s.count > 1000000000", 5, UNBOUNDED, Verdict::Unknown),
            ("signals.s.count < 5", 5, 3 * UNBOUNDED, Verdict::False),
            // What is computed with is tried one by one, if there are few.
            ("signals.s.count * 2 > 5", 3, 256, Verdict::True),
            ("signals.s.count * 2 > 5", 3, 257, Verdict::Unknown),
            ("signals.s.count * 2 > 5", 3, UNBOUNDED, Verdict::Unknown),
        ];
        for (when, count, undated, verdict) in table {
            let found = evaluate(when, count, undated);
            assert_eq!(found.verdict, verdict, "{when} {count} {undated}: {found:?}");
            assert!(!found.rule_error, "{found:?}");
        }
        let why = |undated: i64| evaluate("signals.s.count > 5", 3, undated).why.unwrap();
        assert_eq!(why(3), "3 more Event(s) may be in signals.s.count: when they occurred is not known");
        let unbounded = "more Events may be in signals.s.count: how many occurred is not known";
        assert_eq!(why(UNBOUNDED), unbounded);
    }

    #[test]
    fn what_makes_no_sense_for_events_is_a_fault() {
        let table = [
            (json!({"events": {}}), "spec.signals[0].events: set reason, type or kind"),
            (
                json!({"events": {"kind": "Pod", "window": "0s"}}),
                "spec.signals[0].events.window: must be from 1s",
            ),
            (
                json!({"events": {"kind": "Pod", "window": "61m"}}),
                "spec.signals[0].events.window: must be from 1s",
            ),
            (
                json!({"events": {"reason": "a,type=b"}}),
                "spec.signals[0].events.reason: must be letters and digits",
            ),
            (json!({"events": {"kind": "a.b"}}), "spec.signals[0].events.kind: must be letters and digits"),
            (json!({"events": {"kind": "Pod", "namespaces": {}}}), "spec.signals[0].events.namespaces: "),
            (json!({"events": {"kind": "Pod"}, "expect": 3}), "spec.signals[0].expect: this kind of signal"),
            (
                json!({"events": {"kind": "Pod"}, "every": "15s"}),
                "spec.signals[0].every: this kind of signal is watched",
            ),
        ];
        for (signal, expected) in table {
            let faults = parse(signal.clone()).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{signal}: {faults:?}");
        }
    }
}
