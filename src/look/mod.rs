//! The live reads that a decision requests: read, decide again, until no request is left.
//!
//! The operator's loops and `firebreak plan` decide with the same reads.
//!
//! - `targets`: the objects that steps select, read as the policy's ServiceAccount.
//! - `applications`: the Applications of Argo CD, as the user of the command line.
//! - `own`: what the operator reads with its own permissions: `brake`, namespace, and each `holder` of a loan.

pub mod applications;
pub mod brake;
pub mod holder;
pub mod own;
pub mod targets;

use std::collections::BTreeMap;
use std::time::Duration;

use firebreak_engine::decide::{self as engine, Decision};
use firebreak_engine::facts::{Facts, Look};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use tokio::time::Instant;

use self::own::OwnReads;
pub use self::targets::{Account, Kinds};

/// The number of live reads for one decision: a read may require another one, but not forever.
const LOOKS: usize = 6;

/// A decision, and its live reads.
pub struct Looked {
    /// The decision.
    pub decision: Decision,
    /// Whether everything that it requested was read. If not, it does nothing.
    pub is_complete: bool,
    /// When the targets of each step were last listed for it.
    pub listed: BTreeMap<String, Instant>,
    /// How long the longest round of live reads took, if there was any.
    pub reads_took: Option<Duration>,
}

/// Decides, and performs the live reads that the decision requests, as `account`.
pub async fn decide(
    kinds: Kinds<'_>,
    account: &Account,
    own: OwnReads<'_>,
    rules: Option<&Rules>,
    facts: &mut Facts,
) -> Looked {
    let mut listed = BTreeMap::new();
    let mut reads_took = None;
    for _ in 0..LOOKS {
        let decision = engine::decide(facts, rules, Timestamp::now());
        if decision.look.is_empty() {
            return Looked { decision, is_complete: true, listed, reads_took };
        }
        let now = Instant::now();
        let (mut steps, mut objects, mut ours) = (Vec::new(), Vec::new(), Vec::new());
        for look in decision.look {
            match look {
                Look::Step(step) => steps.push(step),
                Look::Object(target) => objects.push(target),
                Look::Own(look) => ours.push(look),
            }
        }
        listed.extend(steps.iter().map(|step| (step.clone(), now)));
        let namespace = &facts.incident.namespace;
        let (targets, ours) = tokio::join!(
            targets::look(kinds, account, namespace, &facts.state, rules, steps, objects),
            own.look(ours),
        );
        reads_took = reads_took.max(Some(now.elapsed()));
        facts.looked.extend(targets);
        facts.looked.extend(ours);
    }
    // The decision does not act on what is still not known; the next pass reads again.
    let mut decision = engine::decide(facts, rules, Timestamp::now());
    decision.effects.clear();
    decision.next = facts.state.clone();
    decision.happened.clear();
    decision.report = false;
    Looked { decision, is_complete: false, listed, reads_took }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::facts::PolicyFact;
    use firebreak_engine::id::IncidentId;
    use firebreak_engine::policy::Severity;
    use firebreak_engine::reason::Reason;
    use serde_json::json;

    use super::holder::Holders;
    use super::*;
    use crate::kubernetes::discovery::Discovery;
    use crate::workloads::Profiles;

    /// A server that serves no kind at all.
    fn nothing_is_served() -> kube::Client {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let mut response = http::Response::new(kube::client::Body::from(Vec::new()));
            *response.status_mut() = http::StatusCode::NOT_FOUND;
            Ok::<_, tower::BoxError>(response)
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn a_long_ladder_is_looked_at_to_its_end() {
        let step = |number: usize| {
            json!({"name": format!("step-{number}"), "action": {"cpuFallback":
            {"targets": {"apiVersion": "apps/v1", "kind": "Deployment"}}}})
        };
        let spec = json!({
            "mode": "Enforce",
            "severity": [{"level": "P0", "reason": "Always", "when": "true"}],
            "steps": (0..32).map(step).collect::<Vec<_>>(),
        });
        let rules = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
        let text = |text: &str| text.to_owned();
        let incident = IncidentId { namespace: text("ns"), name: text("i"), uid: text("u") };
        let policy = PolicyFact::Usable {
            uid: text("p"),
            name: text("p"),
            generation: 1,
            service_account: text("sa"),
            responses: Vec::new(),
        };
        let mut facts = Facts::new(incident, policy);
        let client = nothing_is_served();
        let (discovery, profiles) = (Discovery::new(client.clone()), Profiles::built_in().unwrap());
        let kinds = Kinds { discovery: &discovery, profiles: &profiles };
        let holders = Holders { client: &client, namespaces: &[] };
        let own = OwnReads { holders, brake: None, namespace: "ns" };
        let looked = decide(kinds, &Ok(client.clone()), own, Some(&rules), &mut facts).await;
        assert!(looked.is_complete);
        let steps = &looked.decision.next.steps;
        assert_eq!(looked.decision.next.severity, Some(Severity::P0));
        assert!(steps.len() == 32 && steps.iter().all(|step| step.reason == Some(Reason::CannotListTargets)));
    }
}
