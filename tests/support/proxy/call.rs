//! What the proxy records of a request and of its answer.

use std::{fmt, sync::Arc, time::Duration};

use http::{Method, request::Parts};
use serde_json::Value;

/// A request as it came from the operator.
#[derive(Clone, Debug)]
pub struct Call {
    /// From 0, in the order of arrival.
    pub number: usize,
    /// Since the start of the proxy.
    pub at: Duration,
    pub method: Method,
    pub path: String,
    pub query: String,
    /// The impersonated user, if any.
    pub user: Option<String>,
    pub target: Target,
    /// The body of a mutating request, if it is JSON.
    pub body: Option<Value>,
}

/// What a path of the Kubernetes API names. Absent parts are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    pub group: String,
    pub namespace: String,
    pub resource: String,
    pub name: String,
    pub subresource: String,
}

impl Target {
    /// `/api/v1/…` and `/apis/GROUP/VERSION/…`; other paths name nothing.
    pub fn of(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts.as_slice() {
            ["api", _, rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return Self::default(),
        };
        let (namespace, rest) = match rest {
            // A namespace itself has at most a subresource of these below it.
            ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            _ => ("", rest),
        };
        let part = |i: usize| rest.get(i).copied().unwrap_or_default().to_owned();
        Self {
            group: group.to_owned(),
            namespace: namespace.to_owned(),
            resource: part(0),
            name: part(1),
            subresource: part(2),
        }
    }
}

impl Call {
    pub(super) fn new(number: usize, at: Duration, parts: &Parts, body: &[u8]) -> Self {
        let user = parts.headers.get("impersonate-user");
        Self {
            number,
            at,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            user: user.map(|user| String::from_utf8_lossy(user.as_bytes()).into_owned()),
            target: Target::of(parts.uri.path()),
            body: serde_json::from_slice(body).ok(),
        }
    }

    /// The server may change something because of it.
    pub fn is_mutating(&self) -> bool {
        is_mutating(&self.method)
    }

    /// A write that matters for the protocol: not an access review, not a
    /// lease, not an event.
    pub fn is_write(&self) -> bool {
        let beside = matches!(self.target.resource.as_str(), "leases" | "events")
            || matches!(self.target.group.as_str(), "authorization.k8s.io" | "authentication.k8s.io");
        self.is_mutating() && !beside && !self.query.contains("dryRun=")
    }

    /// A write to a resource by its plural name, whatever the subresource.
    pub fn writes(&self, resource: &str) -> bool {
        self.is_write() && self.target.resource == resource
    }

    pub fn is_watch(&self) -> bool {
        self.method == Method::GET
            && self.query.split('&').any(|part| matches!(part, "watch=true" | "watch=1" | "watch"))
    }

    /// A watch of a resource by its plural name.
    pub fn watches(&self, resource: &str) -> bool {
        self.is_watch() && self.target.resource == resource
    }

    /// The object that is written, as `resource namespace/name`, with `/subresource` where there is one.
    pub fn object(&self) -> String {
        let Target { resource, namespace, name, subresource, .. } = &self.target;
        let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        // A create has the name in the body.
        let created = self.body.as_ref().and_then(|body| body["metadata"]["name"].as_str());
        let name = if name.is_empty() { created.unwrap_or_default() } else { name };
        format!("{resource} {namespace}/{name}{subresource}")
    }
}

pub(super) fn is_mutating(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method)
}

/// A call and its outcome.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub call: Arc<Call>,
    /// The answer of the API server. None: it got no request, or has not answered yet.
    pub server: Option<u16>,
    /// The answer that the operator got. None: none, or not yet.
    pub client: Option<u16>,
    /// The uid of the priority level in which the API server has served the request, once it has answered.
    pub level: Option<String>,
    /// The fault that the proxy injected.
    pub fault: Option<String>,
}

impl Exchange {
    /// The server did what was asked.
    pub fn was_applied(&self) -> bool {
        self.server.is_some_and(|code| (200..300).contains(&code))
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Call { number, at, method, path, query, user, .. } = &*self.call;
        let mark = if query.is_empty() { "" } else { "?" };
        let code = |code: Option<u16>| code.map_or("-".to_owned(), |code| code.to_string());
        let (server, client) = (code(self.server), code(self.client));
        write!(
            f,
            "{number:>4} {:>8.3}s {server:>3} {client:>3} {method} {path}{mark}{query}",
            at.as_secs_f64()
        )?;
        if let Some(user) = user {
            write!(f, " as {user}")?;
        }
        if let Some(fault) = &self.fault {
            write!(f, " [{fault}]")?;
        }
        Ok(())
    }
}
