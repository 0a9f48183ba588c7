//! Alerts that fire in Alertmanager.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::matcher::{Form, Matcher};
use super::{EndpointType, Kind, Polled, Source};
use crate::expression::{FieldKind, SignalShape};
use crate::policy::Severity;
use crate::rules::Faults;

/// Alerts that fire in Alertmanager, without those that are silenced or inhibited. Exactly one of endpoint and receive must be
/// set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.endpoint) != has(self.receive)", "message": "exactly one of endpoint and receive must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerSpec {
    /// The name of an endpoint of type Alertmanager in the operator's configuration, which is asked at intervals. The
    /// ServiceAccount of the policy needs the verb `use` on `endpoints.firebreak.dev` with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub endpoint: Option<String>,
    /// Only alerts that match all of these, such as `namespace="llm-serving"` or `alertname=~"Gpu.*"`. Only with endpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), inner(length(min = 3, max = 256))))]
    pub matchers: Vec<String>,
    /// Alertmanager sends its alerts to the operator, which must run with `--alerts-listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive: Option<ReceiveSpec>,
    /// The label with the severity of an alert. Defaults to `severity`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-zA-Z_][a-zA-Z0-9_]*$"))
    )]
    pub severity_label: Option<String>,
    /// The level of each value of that label, such as `{critical: P0, warning: P2}`. Defaults to the levels by their own names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(feature = "schema", schemars(extend("maxProperties" = 16)))]
    pub severities: BTreeMap<String, Severity>,
}

/// Which of the alerts that Alertmanager sends count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ReceiveSpec {
    /// Only alerts that match all of these, such as `namespace="llm-serving"` or `alertname=~"Gpu.*"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), inner(length(min = 3, max = 256))))]
    pub matchers: Vec<String>,
}

/// Alerts of Alertmanager.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alertmanager {
    /// How they come here.
    pub from: AlertsFrom,
    /// The label with the severity.
    pub severity_label: String,
    /// The level of each value of that label.
    pub severities: BTreeMap<String, Severity>,
}

/// How alerts come here.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertsFrom {
    /// Alertmanager is asked at intervals.
    Endpoint {
        /// The name of the endpoint.
        name: String,
        /// What the alerts must match. Alertmanager itself compares.
        matchers: Vec<String>,
    },
    /// Alertmanager sends them.
    Sent {
        /// What the alerts must match.
        matchers: Vec<Matcher>,
    },
}

impl Alertmanager {
    pub(super) fn parse(spec: &AlertmanagerSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let severities = if spec.severities.is_empty() {
            let levels = [Severity::P0, Severity::P1, Severity::P2, Severity::P3];
            levels.into_iter().map(|level| (level.to_string(), level)).collect()
        } else {
            spec.severities.clone()
        };
        Some(Self {
            from: AlertsFrom::parse(spec, field, faults)?,
            severity_label: spec.severity_label.clone().unwrap_or_else(|| "severity".to_owned()),
            severities,
        })
    }

    /// The level of an alert with these labels; none if its label has no level.
    pub fn level(&self, labels: &BTreeMap<String, String>) -> Option<Severity> {
        labels.get(&self.severity_label).and_then(|value| self.severities.get(value)).copied()
    }
}

impl AlertsFrom {
    fn parse(spec: &AlertmanagerSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        match (&spec.endpoint, &spec.receive) {
            (Some(name), None) => {
                for (at, matcher) in spec.matchers.iter().enumerate() {
                    // Whether a pattern in it is valid, only Alertmanager knows.
                    if let Err(why) = Form::of(matcher) {
                        faults.add(format!("{field}.matchers[{at}]"), why);
                    }
                }
                Some(Self::Endpoint { name: name.clone(), matchers: spec.matchers.clone() })
            }
            (None, Some(receive)) => {
                if !spec.matchers.is_empty() {
                    let why =
                        "alerts that are received have their matchers in receive.matchers; move them there";
                    faults.add(format!("{field}.matchers"), why);
                }
                let mut matchers = Vec::new();
                for (at, text) in receive.matchers.iter().enumerate() {
                    match Matcher::parse(text) {
                        Ok(matcher) => matchers.push(matcher),
                        Err(why) => faults.add(format!("{field}.receive.matchers[{at}]"), why),
                    }
                }
                Some(Self::Sent { matchers })
            }
            (Some(_), Some(_)) | (None, None) => {
                faults.add(field, "exactly one of endpoint and receive must be set");
                None
            }
        }
    }
}

impl Kind for Alertmanager {
    fn source(&self) -> Source<'_> {
        match &self.from {
            AlertsFrom::Endpoint { name, .. } => {
                Source::Poll(Polled::Endpoint { name, type_: EndpointType::Alertmanager })
            }
            AlertsFrom::Sent { .. } => Source::Push,
        }
    }

    fn shape(&self) -> SignalShape {
        let fields = ["firing", "p0", "p1", "p2", "p3"];
        SignalShape { fields: fields.into_iter().map(|field| (field, FieldKind::Int)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;

    fn fault(alerts: Value) -> Option<String> {
        let spec = json!({"signals": [{"name": "s", "alertmanager": alerts}]});
        Rules::parse(&serde_json::from_value(spec).unwrap()).err().map(|faults| faults[0].to_string())
    }

    #[test]
    fn alerts_are_either_asked_for_or_received() {
        let table = [
            (json!({}), "spec.signals[0].alertmanager: exactly one of endpoint and receive"),
            (
                json!({"endpoint": "a", "receive": {}}),
                "spec.signals[0].alertmanager: exactly one of endpoint and receive",
            ),
            (
                json!({"receive": {}, "matchers": [r#"a="b""#]}),
                "spec.signals[0].alertmanager.matchers: alerts that are received have their matchers in receive.matchers",
            ),
            (
                json!({"receive": {"matchers": [r#"a="b""#, "a=b"]}}),
                "spec.signals[0].alertmanager.receive.matchers[1]: must be LABEL",
            ),
            (
                json!({"receive": {"matchers": [r#"a=~"(""#]}}),
                "spec.signals[0].alertmanager.receive.matchers[0]: the pattern is invalid",
            ),
        ];
        for (alerts, expected) in table {
            let fault = fault(alerts.clone()).unwrap_or_default();
            assert!(fault.starts_with(expected), "{alerts}: {fault}");
        }
        assert_eq!(fault(json!({"receive": {}})), None);
    }

    #[test]
    fn a_matcher_has_the_form_of_alertmanager() {
        let faults = |matcher: &str| {
            fault(json!({"endpoint": "main", "matchers": [matcher], "severities": {"critical": "P0"}}))
        };
        for good in [r#"a="b""#, r#"alertname=~"Gpu.*""#, r#"a_1!~"""#, r#"a!="b c""#] {
            assert_eq!(faults(good), None, "{good}");
        }
        for bad in ["a=b", r#"="b""#, r#"1a="b""#, r#"a>"b""#, r#"a=""#, r#"a b="c""#, r#"{a="b"}"#] {
            let fault = faults(bad).unwrap();
            assert!(
                fault.starts_with("spec.signals[0].alertmanager.matchers[0]: must be LABEL"),
                "{bad}: {fault}"
            );
        }
    }
}
