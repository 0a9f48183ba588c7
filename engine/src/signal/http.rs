//! A request over HTTP: whether it is answered as it should be, and how fast.

use serde::{Deserialize, Serialize};

use super::{EndpointType, Kind, Polled, Source};
use crate::expression::{FieldKind, SignalShape};
use crate::rules::Faults;

/// A GET request to an endpoint of the operator's configuration, or to a Service of the cluster. Exactly one of both must be
/// set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.endpoint) != has(self.service)", "message": "exactly one of endpoint and service must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct HttpSpec {
    /// The name of an endpoint of type HTTP in the operator's configuration. The ServiceAccount of the policy needs the verb
    /// `use` on `endpoints.firebreak.dev` with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub endpoint: Option<String>,
    /// A Service, through the proxy of the API server. The ServiceAccount of the policy needs the verb `get` on
    /// `services/proxy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
    /// The path below the URL of the endpoint, or of the Service. Defaults to `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 1024), regex(pattern = "^/[^?#]*$")))]
    pub path: Option<String>,
    /// The only status that is ok. Defaults to every status from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 100, max = 599)))]
    pub expect_status: Option<u16>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// The name of the Service.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub name: String,
    /// Its namespace. Defaults to the namespace of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))
    )]
    pub namespace: Option<String>,
    /// The number of its port.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 65535)))]
    pub port: u16,
    /// How its pods are spoken to. Defaults to HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
}

/// How pods are spoken to. With HTTPS the API server does not check the certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// With TLS.
    Https,
}

impl ServiceSpec {
    /// The name of the Service with its port, as the proxy of the API server takes it, and RBAC in `resourceNames`.
    pub fn proxied(&self) -> String {
        let scheme = match self.scheme.unwrap_or_default() {
            Scheme::Http => "",
            Scheme::Https => "https:",
        };
        format!("{scheme}{}:{}", self.name, self.port)
    }

    /// Its namespace, for a policy in the namespace `own`.
    pub fn place<'a>(&'a self, own: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(own)
    }
}

/// A GET request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Http {
    /// Whom to ask.
    pub to: HttpTarget,
    /// The path.
    pub path: String,
    /// The only status that is ok; none: from 200 to 299.
    pub expect_status: Option<u16>,
}

/// Whom a request over HTTP asks.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpTarget {
    /// An endpoint of the operator's configuration.
    Endpoint(String),
    /// A Service of the cluster.
    Service(ServiceSpec),
}

impl Http {
    pub(super) fn parse(spec: &HttpSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        let path = spec.path.clone().unwrap_or_else(|| "/".to_owned());
        if let Some(why) = strange(&path) {
            faults.add(format!("{field}.path"), why);
        }
        let to = match (&spec.endpoint, &spec.service) {
            (Some(endpoint), None) => HttpTarget::Endpoint(endpoint.clone()),
            (None, Some(service)) => HttpTarget::Service(service.clone()),
            (Some(_), Some(_)) | (None, None) => {
                faults.add(field, "exactly one of endpoint and service must be set");
                return None;
            }
        };
        Some(Self { to, path, expect_status: spec.expect_status })
    }
}

/// Why a path is not taken: it must stay below the URL of its endpoint, and reach nothing else of the API server.
fn strange(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("must begin with /");
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic())
        || path.contains(['?', '#', '\\', '"', '<', '>', '`', '{', '}'])
    {
        return Some("must be the path of a URL, without ? and #; write other characters as %20");
    }
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%3b", ";");
    if ["%25", "%2f", "%5c"].iter().any(|hidden| plain.contains(hidden)) {
        return Some("must have no %25, %2F and %5C: some servers take them for % and / of the path itself");
    }
    // Some servers leave out what is behind a semicolon before they resolve the path.
    let parts = plain.split('/').filter_map(|part| part.split(';').next());
    parts
        .into_iter()
        .any(|part| part == "." || part == "..")
        .then_some("must have no . and no .. as a part of it")
}

impl Kind for Http {
    fn source(&self) -> Source<'_> {
        Source::Poll(match &self.to {
            HttpTarget::Endpoint(name) => Polled::Endpoint { name, type_: EndpointType::Http },
            HttpTarget::Service(service) => Polled::Service(service),
        })
    }

    fn shape(&self) -> SignalShape {
        let fields = [("ok", FieldKind::Boolean), ("status", FieldKind::Int), ("latencyMs", FieldKind::Int)];
        SignalShape { fields: fields.into() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::rules::Rules;

    fn faults(http: Value) -> Vec<String> {
        let rule =
            json!({"level": "P0", "reason": "Outage", "when": "!signals.s.ok || signals.s.latencyMs > 1000"});
        let spec = json!({"signals": [{"name": "s", "http": http}], "severity": [rule]});
        let faults = Rules::parse(&serde_json::from_value(spec).unwrap()).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_request_goes_to_an_endpoint_or_to_a_service() {
        let service = json!({"name": "vllm", "port": 8000, "scheme": "HTTPS"});
        assert_eq!(faults(json!({"service": service, "path": "/health", "expectStatus": 204})), [""; 0]);
        assert_eq!(faults(json!({"endpoint": "gateway"})), [""; 0]);
        let both = "spec.signals[0].http: exactly one of endpoint and service must be set";
        assert_eq!(faults(json!({"path": "/"})), [both]);
        assert_eq!(faults(json!({"endpoint": "gateway", "service": service})), [both]);
    }

    #[test]
    fn a_path_stays_below_the_url_of_its_endpoint() {
        for path in [
            "health",
            "/../admin",
            "/a/%2E%2e/b",
            "/a%2f..%2fb",
            "/a?b=c",
            "/a#b",
            "/a b",
            "/ä",
            "/.",
            "/a\\..\\b",
            "/%5c..",
            "/..;/admin",
            "/a/..;x=1/b",
            "/.;/b",
            "/%2E.%3Bx/b",
            "/%252e%252e/b",
            "/a%2Fb",
            "/a%5Cb",
        ] {
            let faults = faults(json!({"endpoint": "gateway", "path": path}));
            assert!(
                faults.len() == 1 && faults[0].starts_with("spec.signals[0].http.path: must "),
                "{path}: {faults:?}"
            );
        }
        for path in ["/", "/v1/models", "/a%20b", "/...", "/a.b/..c", "//", "/a;v=1/b"] {
            assert_eq!(faults(json!({"endpoint": "gateway", "path": path})), [""; 0], "{path}");
        }
    }
}
