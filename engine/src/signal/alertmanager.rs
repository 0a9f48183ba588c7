//! Alerts that fire in Alertmanager.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EndpointType, Kind, Polled, Source};
use crate::expression::{FieldKind, SignalShape};
use crate::policy::Severity;
use crate::rules::Faults;

/// Alerts that fire in Alertmanager, without those that are silenced or inhibited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AlertmanagerSpec {
    /// The name of an endpoint of type Alertmanager in the operator's configuration. The ServiceAccount of the policy needs
    /// the verb `use` on `endpoints.firebreak.dev` with this name.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub endpoint: String,
    /// Only alerts that match all of these, such as `namespace="llm-serving"` or `alertname=~"Gpu.*"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16), inner(length(min = 3, max = 256))))]
    pub matchers: Vec<String>,
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

/// Alerts of Alertmanager.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Alertmanager {
    /// The name of the endpoint.
    pub endpoint: String,
    /// What the alerts must match.
    pub matchers: Vec<String>,
    /// The label with the severity.
    pub severity_label: String,
    /// The level of each value of that label.
    pub severities: BTreeMap<String, Severity>,
}

impl Alertmanager {
    pub(super) fn parse(spec: &AlertmanagerSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        for (at, matcher) in spec.matchers.iter().enumerate() {
            if !is_matcher(matcher) {
                let why = "must be LABEL, then =, !=, =~ or !~, then a text in double quotes";
                faults.add(format!("{field}.matchers[{at}]"), why);
            }
        }
        let severities = if spec.severities.is_empty() {
            let levels = [Severity::P0, Severity::P1, Severity::P2, Severity::P3];
            levels.into_iter().map(|level| (level.to_string(), level)).collect()
        } else {
            spec.severities.clone()
        };
        Some(Self {
            endpoint: spec.endpoint.clone(),
            matchers: spec.matchers.clone(),
            severity_label: spec.severity_label.clone().unwrap_or_else(|| "severity".to_owned()),
            severities,
        })
    }
}

/// Whether it has the form `label="text"`. Whether a pattern in it is valid, only Alertmanager knows.
fn is_matcher(text: &str) -> bool {
    let name = text.chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').count();
    let (name, rest) = text.split_at(name);
    let value = ["=~", "!~", "!=", "="].iter().find_map(|operator| rest.strip_prefix(operator));
    let is_name = name.chars().next().is_some_and(|first| !first.is_ascii_digit());
    is_name && value.is_some_and(|value| value.len() > 1 && value.starts_with('"') && value.ends_with('"'))
}

impl Kind for Alertmanager {
    fn source(&self) -> Source<'_> {
        Source::Poll(Polled::Endpoint { name: &self.endpoint, type_: EndpointType::Alertmanager })
    }

    fn shape(&self) -> SignalShape {
        let fields = ["firing", "p0", "p1", "p2", "p3"];
        SignalShape { fields: fields.into_iter().map(|field| (field, FieldKind::Int)).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::rules::Rules;

    #[test]
    fn a_matcher_has_the_form_of_alertmanager() {
        let faults = |matcher: &str| {
            let alerts = json!({"endpoint": "main", "matchers": [matcher], "severities": {"critical": "P0"}});
            let spec = json!({"signals": [{"name": "s", "alertmanager": alerts}]});
            Rules::parse(&serde_json::from_value(spec).unwrap()).err().map(|faults| faults[0].to_string())
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
