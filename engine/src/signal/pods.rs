//! Pods by label: how many of them do not start, crash, or are killed.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Kind, Source, Watched};
use crate::expression::{FieldKind, FieldValue, SignalShape};
use crate::period::Period;
use crate::rules::Faults;
use crate::selector::{LabelSelector, Namespaces, NamespacesSpec};

/// The fields that are 0 as long as all pods run.
const TROUBLE: [&str; 8] = [
    "pending",
    "unschedulable",
    "failed",
    "crashLooping",
    "oomKilled",
    "imagePullBackOff",
    "restarts",
    "oldestPendingSeconds",
];
const DEFAULT_WINDOW: Period = Period::seconds(10 * 60);
const WINDOW: (Period, Period) = (Period::seconds(1), Period::seconds(24 * 3600));

/// Pods by label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PodsSpec {
    /// The pods to select. Defaults to all pods of the namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// The namespaces to select. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespacesSpec>,
    /// How long a restart counts in `restarts`, and a container that was killed for its memory in `oomKilled`: 1s to 24h.
    /// Defaults to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
}

/// Pods.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Pods {
    /// Which; none is all.
    pub selector: Option<LabelSelector>,
    /// Where; none is the namespace of the policy.
    pub namespaces: Option<NamespacesSpec>,
    /// How long a restart and a kill count.
    pub window: SignedDuration,
}

impl Pods {
    pub(super) fn parse(spec: &PodsSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        faults.check_namespaces(spec.namespaces.as_ref(), field);
        let window = spec.window.unwrap_or(DEFAULT_WINDOW);
        let (least, most) = WINDOW;
        if !(least..=most).contains(&window) {
            faults.add(format!("{field}.window"), format!("must be from {least} to {most}"));
        }
        Some(Self {
            selector: spec.selector.clone(),
            namespaces: spec.namespaces.clone(),
            window: window.length(),
        })
    }

    /// What is watched for it.
    pub fn watched(&self) -> Watched<'_> {
        Watched {
            api_version: "v1",
            kind: "Pod",
            names: &[],
            selector: self.selector.as_ref(),
            namespaces: Namespaces::of(self.namespaces.as_ref()),
        }
    }
}

impl Kind for Pods {
    fn source(&self) -> Source<'_> {
        Source::Watch(self.watched())
    }

    /// Pods come and go with every rollout and every autoscaler, so no number of them is expected. Their workload knows it.
    fn shape(&self) -> SignalShape {
        let fields = ["total", "running"].into_iter().chain(TROUBLE);
        SignalShape { fields: fields.map(|name| (name, FieldKind::Int)).collect() }
    }

    /// A reading of pods has all fields, so trouble that the story does not name is not there.
    fn complete(&self, values: &mut BTreeMap<String, FieldValue>) {
        for field in TROUBLE {
            values.entry(field.to_owned()).or_insert(FieldValue::Int(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;
    use crate::signal::SignalKind;

    fn parse(signal: Value, when: &str) -> Result<Rules, Vec<String>> {
        let mut whole = json!({"name": "s"});
        whole.as_object_mut().unwrap().extend(signal.as_object().unwrap().clone());
        let rule = json!({"level": "P1", "reason": "PodsSick", "when": when});
        let spec = serde_json::from_value(json!({"signals": [whole], "severity": [rule]})).unwrap();
        Rules::parse(&spec).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn restarts_count_for_ten_minutes_unless_the_signal_says_otherwise() {
        let window = |pods: Value| {
            let rules = parse(json!({"pods": pods}), "signals.s.restarts > 5 && signals.s.known").unwrap();
            let SignalKind::Pods(pods) = &rules.signals[0].kind else { panic!("{rules:?}") };
            pods.window.as_secs()
        };
        assert_eq!([window(json!({})), window(json!({"window": "1h"}))], [600, 3600]);
    }

    #[test]
    fn a_signal_knows_its_fields_that_any_expression_reads() {
        let spec = json!({
            "signals": [{"name": "s", "pods": {}}, {"name": "other", "pods": {}}],
            "severity": [{"level": "P1", "reason": "A", "when": "signals.s.failed > 0", "until": "signals.s.running > 2"}],
            "recovery": {"when": "signals.s.known && signals.other.pending == 0"},
            "steps": [{
                "name": "restart", "when": "signals.s.crashLooping > 0",
                "action": {"rolloutRestart": {"targets": {"apiVersion": "apps/v1", "kind": "Deployment"}}},
                "verify": {"checks": [{"rollout": {}}, {"cel": {"expression": "signals.s.restarts < 3"}}]},
            }],
        });
        let rules = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let read = rules.signals.iter().map(|signal| signal.read_fields.iter().map(String::as_str).collect());
        let expected = [vec!["crashLooping", "failed", "known", "restarts", "running"], vec!["pending"]];
        assert_eq!(read.collect::<Vec<Vec<&str>>>(), expected);
    }

    #[test]
    fn what_makes_no_sense_for_pods_is_a_fault() {
        let table = [
            (json!({"pods": {"window": "0s"}}), "spec.signals[0].pods.window: must be from 1s to 24h"),
            (json!({"pods": {"window": "25h"}}), "spec.signals[0].pods.window: must be from 1s to 24h"),
            (json!({"pods": {"namespaces": {}}}), "spec.signals[0].pods.namespaces: "),
            (
                json!({"pods": {}, "expect": 3}),
                "spec.signals[0].expect: this kind of signal has no `expected`",
            ),
            (json!({"pods": {}, "expectWithin": "1h"}), "spec.signals[0].expectWithin: this kind of signal"),
            (json!({"pods": {}, "every": "15s"}), "spec.signals[0].every: this kind of signal is watched"),
        ];
        for (signal, expected) in table {
            let faults = parse(signal.clone(), "signals.s.failed > 0").unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{signal}: {faults:?}");
        }
        let faults = parse(json!({"pods": {}}), "signals.s.missing > 0").unwrap_err();
        assert!(faults[0].contains("crashLooping, failed, imagePullBackOff, known, oldest"), "{faults:?}");
    }
}
