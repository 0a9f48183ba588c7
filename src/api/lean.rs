//! Objects of our own kinds without their managedFields, which are about as long as the rest and which no decision reads:
//! to decode and drop them took a twelfth of the processor time of a response.

use std::collections::BTreeMap;

use firebreak_engine::alerts::{Fingerprint, FiringAlert, PartialAlerts, PartialReason, ReceivedAlerts};
use firebreak_engine::change::{Beside, Change, FieldChange};
use firebreak_engine::expected::{Accepted, Expected, Peak};
use firebreak_engine::id::{ChangeId, TargetId};
use firebreak_engine::path::FieldPath;
use firebreak_engine::policy::Severity;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::core::{ObjectMeta, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::incident::{Incident, IncidentSpec, IncidentStatus};
use super::policy::{RemediationPolicy, RemediationPolicySpec, RemediationPolicyStatus};

/// A kind that consists of metadata, spec and status.
pub trait Parts: Resource<DynamicType = ()> {
    /// What people write.
    type Spec: DeserializeOwned;
    /// What the controller writes.
    type Status: DeserializeOwned;

    /// The object of these parts.
    fn of(metadata: ObjectMeta, spec: Self::Spec, status: Option<Self::Status>) -> Self;

    /// The format of its status.
    fn format(&self) -> Option<u16>;

    /// Fields of its status that came with the newest format, so that definitions of an earlier release drop them.
    fn newest() -> Map<String, Value>;
}

impl Parts for Incident {
    type Spec = IncidentSpec;
    type Status = IncidentStatus;

    fn of(metadata: ObjectMeta, spec: IncidentSpec, status: Option<IncidentStatus>) -> Self {
        Self { metadata, spec, status }
    }

    fn format(&self) -> Option<u16> {
        self.status.as_ref()?.format
    }

    fn newest() -> Map<String, Value> {
        let path = "/spec/probe".parse::<FieldPath>().ok();
        let field = path.map(|path| FieldChange {
            beside: Some(Beside { path: path.clone(), value: None }),
            path,
            before: None,
            after: None,
            created: None,
            owner: None,
            ceded_to: None,
        });
        let text = || "probe".to_owned();
        let target =
            TargetId { api_version: text(), kind: text(), namespace: text(), name: text(), uid: text() };
        let id = ChangeId::of("probe", "probe", "probe");
        let change = Change::planned(id, "probe", target, field.into_iter().collect());
        Map::from_iter([
            ("changes".to_owned(), json!([change])),
            ("expectedAcceptedAt".to_owned(), json!(Timestamp::UNIX_EPOCH)),
            ("common".to_owned(), json!("probe")),
            ("commonLabels".to_owned(), json!(["probe"])),
        ])
    }
}

impl Parts for RemediationPolicy {
    type Spec = RemediationPolicySpec;
    type Status = RemediationPolicyStatus;

    fn of(
        metadata: ObjectMeta,
        spec: RemediationPolicySpec,
        status: Option<RemediationPolicyStatus>,
    ) -> Self {
        Self { metadata, spec, status }
    }

    fn format(&self) -> Option<u16> {
        self.status.as_ref()?.format
    }

    fn newest() -> Map<String, Value> {
        let at = Timestamp::UNIX_EPOCH;
        let expected = Expected {
            scope: Some("probe".to_owned()),
            peaks: vec![Peak { value: 1, last_seen: at }],
            idle: 1,
            there: 1,
            noted_at: Some(at),
            frozen_since: Some(at),
            blind_since: Some(at),
            lost_since: Some(at),
            accepted: Some(Accepted { at, value: 1, request: Some(at) }),
            ..Expected::of("probe")
        };
        let fingerprint = Fingerprint::default();
        let firing = FiringAlert { fingerprint, level: Some(Severity::P0), heard_at: at };
        let alerts = ReceivedAlerts {
            signal: "probe".to_owned(),
            scope: "probe".to_owned(),
            heard_at: at,
            firing: vec![firing],
            unreadable: vec![firing],
            partial: Some(PartialAlerts { reason: PartialReason::TooManyAlerts, at }),
        };
        Map::from_iter([
            ("expected".to_owned(), json!([expected])),
            ("expectRequestedAt".to_owned(), json!(at)),
            ("alerts".to_owned(), json!([alerts])),
        ])
    }
}

/// An object that is read without its managedFields.
#[derive(Clone, Debug)]
pub struct Lean<K>(pub K);

/// The metadata that is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    generate_name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    finalizers: Option<Vec<String>>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Deserialize)]
struct Whole<S, T> {
    #[serde(default)]
    metadata: Option<Metadata>,
    spec: S,
    #[serde(default = "nothing")]
    status: Option<T>,
}

fn nothing<T>() -> Option<T> {
    None
}

impl<'de, K: Parts> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Whole { metadata, spec, status } = Whole::<K::Spec, K::Status>::deserialize(deserializer)?;
        let metadata = metadata.map(|read| ObjectMeta {
            name: read.name,
            generate_name: read.generate_name,
            namespace: read.namespace,
            uid: read.uid,
            resource_version: read.resource_version,
            generation: read.generation,
            creation_timestamp: read.creation_timestamp,
            deletion_timestamp: read.deletion_timestamp,
            deletion_grace_period_seconds: read.deletion_grace_period_seconds,
            labels: read.labels,
            annotations: read.annotations,
            finalizers: read.finalizers,
            owner_references: read.owner_references,
            managed_fields: None,
            self_link: None,
        });
        Ok(Self(K::of(metadata.unwrap_or_default(), spec, status)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_is_lost_but_the_managed_fields() {
        let written = json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {
                "name": "a", "generateName": "a-", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
                "creationTimestamp": "2026-03-01T10:00:00Z", "deletionTimestamp": "2026-03-01T11:00:00Z",
                "deletionGracePeriodSeconds": 0, "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["e"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "q"}],
            },
            "spec": {"response": "Withdrawn"},
            "status": {"changesInForce": 0, "phase": "Reverting"},
        });
        let mut sent = written.clone();
        sent["metadata"]["managedFields"] = json!([{"manager": "m", "fieldsV1": {"f:spec": {}}}]);
        let read: Lean<Incident> = serde_json::from_value(sent).unwrap();
        assert_eq!(serde_json::to_value(&read.0).unwrap(), written);
    }

    #[test]
    fn an_object_without_a_status_is_one_and_what_does_not_decode_is_none() {
        let read: Lean<Incident> =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {}})).unwrap();
        assert!(read.0.status.is_none());
        assert!(serde_json::from_value::<Lean<Incident>>(json!({"metadata": {"name": "a"}})).is_err());
        assert!(serde_json::from_value::<Lean<Incident>>(json!({"spec": {"policyRef": 3}})).is_err());
    }
}
