//! What a user may see of the operator: whether one leads, without which nobody carries out what a person decides, and
//! whether its brake is engaged.

use std::time::Duration;

use firebreak_engine::facts::Brake;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use super::time::age;
use crate::kubernetes::{lease, retry};
use crate::look::brake;

/// How much the clocks of this machine and of the operator may differ.
const SKEW: SignedDuration = SignedDuration::from_secs(10);
/// The user waits for the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The operator in a namespace, as a user of the cluster sees it.
pub struct Operator {
    client: Client,
    namespace: String,
}

impl Operator {
    /// The operator in this namespace. Sends nothing.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned() }
    }

    /// That no operator leads, or that it is not known, and why, as a sentence. None if one does, or if the user may not
    /// know.
    pub async fn absence(&self) -> Option<String> {
        let namespace = &self.namespace;
        let api: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        let read = tokio::time::timeout(PATIENCE, retry::find(lease::NAME, || api.get(lease::NAME)));
        let found = read.await.ok()?.ok()?;
        let Some(found) = found else {
            return Some(format!(
                "namespace {namespace} has no Lease {}, so it is not known whether an operator leads: it may run in \
                 another namespace (set --operator-namespace), with --no-leader-election, or not at all",
                lease::NAME
            ));
        };
        let why = over(found.spec.as_ref(), Timestamp::now())?;
        Some(format!("no operator leads in namespace {namespace}: its Lease {} {why}", lease::NAME))
    }

    /// The same, to be added to a text; empty if there is nothing to say.
    pub async fn absence_after(&self) -> String {
        self.absence().await.map(|why| format!("; {why}")).unwrap_or_default()
    }

    /// That its brake is engaged, or that it is not known, and why. None if the brake is off.
    pub async fn brake(&self) -> Option<String> {
        let (name, namespace) = (brake::NAME, &self.namespace);
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let unknown = |why: &str| {
            Some(format!(
                "it is not known whether the brake is engaged: ConfigMap {namespace}/{name} cannot be read: {why}"
            ))
        };
        match tokio::time::timeout(PATIENCE, retry::find(name, || api.get(name))).await {
            Ok(Ok(map)) => match brake::state(map.as_ref(), namespace) {
                Brake::Off => None,
                Brake::Engaged { why } => Some(format!("{why}, so no response writes")),
            },
            Ok(Err(error)) => unknown(&retry::explain(&error)),
            Err(_) => unknown(&format!("no answer within {} s", PATIENCE.as_secs())),
        }
    }
}

/// Since when a Lease is held by nobody; none if somebody holds it.
fn over(spec: Option<&LeaseSpec>, now: Timestamp) -> Option<String> {
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|at| at.0);
    let lasts = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let is_over = |at: Timestamp| now.duration_since(at) > SignedDuration::from_secs(lasts.into()) + SKEW;
    match (holder, renewed) {
        ("", _) => Some("has no holder".to_owned()),
        (_, None) => Some("was never renewed".to_owned()),
        (_, Some(at)) => {
            is_over(at).then(|| format!("was last renewed {} ago by the clock of this machine", age(at, now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::*;

    #[test]
    fn a_lease_is_over_when_it_was_released_or_not_renewed_for_too_long() {
        let now = Timestamp::from_second(1000).unwrap();
        let spec = |holder: &str, second: i64| LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            renew_time: Some(MicroTime(Timestamp::from_second(second).unwrap())),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        assert_eq!(over(Some(&spec("a", 985)), now), None);
        assert_eq!(over(Some(&spec("a", 975)), now), None, "the clocks may differ");
        assert_eq!(
            over(Some(&spec("a", 970)), now).unwrap(),
            "was last renewed 30s ago by the clock of this machine"
        );
        assert_eq!(over(Some(&spec("", 999)), now).unwrap(), "has no holder");
        assert_eq!(over(None, now).unwrap(), "has no holder");
    }
}
