//! Alertmanager as far as its webhook goes: it sends messages to the operator's receiver of alerts.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{object::PATIENCE, operator::Operator, world::World};

/// An Alertmanager with an account of its own.
#[derive(Clone)]
pub struct Alertmanager {
    token: String,
    namespace: String,
}

/// What the receiver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The head and the body.
    pub text: String,
}

/// One alert of a message.
pub fn alert(number: usize, status: &str, severity: &str) -> Value {
    json!({
        "status": status, "fingerprint": format!("{number:016x}"),
        "labels": {"alertname": "GpuLost", "severity": severity, "node": format!("node-{number}")},
        "annotations": {"summary": "a GPU is lost"}, "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph",
    })
}

/// A message with these alerts.
pub fn message(alerts: impl IntoIterator<Item = Value>) -> Value {
    let alerts: Vec<Value> = alerts.into_iter().collect();
    json!({
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "firebreak",
        "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        "alerts": alerts,
    })
}

impl Alertmanager {
    /// One that may send alerts to these policies of the first namespace; to all of them if none is named.
    pub async fn new(world: &World, policies: &[&str]) -> Self {
        let mut rule = json!({"apiGroups": ["firebreak.dev"], "resources": ["alerts"], "verbs": ["create"]});
        if !policies.is_empty() {
            rule["resourceNames"] = json!(policies);
        }
        let group = "rbac.authorization.k8s.io";
        let metadata = json!({"name": "alertmanager", "namespace": world.a});
        let version = format!("{group}/v1");
        let role = json!({"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": [rule]});
        let binding = json!({
            "apiVersion": version, "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "alertmanager"},
            "subjects": [{"kind": "ServiceAccount", "name": "alertmanager", "namespace": world.b}],
        });
        for document in [role, binding] {
            world.apply("harness", &document.to_string()).await;
        }
        Self::without_rights(world).await
    }

    /// One that has an account and nothing else.
    pub async fn without_rights(world: &World) -> Self {
        let metadata = json!({"name": "alertmanager", "namespace": world.b});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata});
        world.apply("harness", &account.to_string()).await;
        let token = world.token(&world.b, "alertmanager").await;
        Self { token, namespace: world.a.clone() }
    }

    /// The token of its account.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The path of a policy of the first namespace.
    pub fn path(&self, policy: &str) -> String {
        format!("/api/v1/namespaces/{}/policies/{policy}/alerts", self.namespace)
    }

    /// Sends a message to the policy `drill`.
    pub async fn send(&self, operator: &Operator, message: &Value) -> Answer {
        self.post(operator, &self.path("drill"), message.to_string()).await
    }

    /// Sends a message to the policy `drill` until it is recorded.
    pub async fn deliver(&self, operator: &Operator, message: &Value) {
        let delivered = async {
            while self.send(operator, message).await.status != 200 {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(2 * PATIENCE, delivered).await.expect("the message is recorded");
    }

    /// Sends a body to a path.
    pub async fn post(&self, operator: &Operator, path: &str, body: String) -> Answer {
        let head = format!("POST {path} HTTP/1.1\r\nAuthorization: Bearer {}\r\n", self.token);
        say(operator, &head, &body).await
    }
}

/// Sends a request with this head, to which the length of the body is added. Waits until the operator listens.
pub async fn say(operator: &Operator, head: &str, body: &str) -> Answer {
    let request =
        format!("{head}Host: firebreak\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answered = async {
        loop {
            // After a restart the log has the old address for a while.
            let address = operator.alerts_address().await;
            match ask(&address, &request).await {
                Ok(answer) if !answer.is_empty() => return answer,
                Ok(_) | Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let text = timeout(PATIENCE, answered).await.expect("the receiver answers");
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer { status: status.unwrap_or_else(|| panic!("{text}")), text }
}

async fn ask(address: &str, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // It may answer before it has read everything.
    let sent = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    loop {
        match stream.read(&mut part).await {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&part[..length]),
            // The connection is reset when the rest of a request is not read.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
