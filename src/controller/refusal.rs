//! Why this process must not lead: it would lose what is stored.
//!
//! # Guarantees
//! The election begins only after every stored object that can be listed was seen once. What cannot be listed, in a namespace
//! without rights for example, is looked at when it can be, and before each pass. A process that meets a reason starts
//! nothing new, finishes what it has recorded, releases the Lease and ends, so that a release that can lead does.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;

use super::Context;
use crate::api::format::{self, FORMAT};
use crate::api::lean::Parts;
use crate::kubernetes::events::{EventType, Notice};
use crate::kubernetes::guarded::Guarded;

/// Why this process must not lead.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// A newer release wrote the status of this object.
    #[error(
        "a newer release of Firebreak wrote the status of {}: it has format {format}, and this release knows formats up to \
         {FORMAT}. This operator does not lead, because it would lose a part of it: run the newer release",
        called(.object)
    )]
    NewerFormat {
        /// The object.
        object: Box<ObjectReference>,
        /// The format of its status.
        format: u16,
    },
    /// The API server does not store all of a status.
    #[error(
        "the CustomResourceDefinitions in the cluster are older than this operator: the API server did not store all of the \
         status of {}. This operator does not lead: install the definitions of its release, with `firebreak crds | kubectl \
         apply --server-side --force-conflicts -f -`",
        called(.object)
    )]
    OldDefinitions {
        /// The object.
        object: Box<ObjectReference>,
    },
}

fn called(object: &ObjectReference) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{} {} in namespace {}", text(&object.kind), text(&object.name), text(&object.namespace))
}

impl Refusal {
    /// The reason if a newer release wrote the status of this object.
    pub fn of<K: Parts>(object: &K) -> Option<Self> {
        Self::by_format(object.object_ref(&()), object.format())
    }

    /// The same of an object that may not decode.
    pub fn of_guarded<K: Parts>(object: &Guarded<K>) -> Option<Self> {
        Self::by_format(object.object_ref(&()), object.format())
    }

    fn by_format(object: ObjectReference, found: Option<u16>) -> Option<Self> {
        let format = found.filter(|_| format::is_newer(found))?;
        Some(Self::NewerFormat { object: Box::new(object), format })
    }

    fn notice(&self) -> Notice {
        let (reason, object) = match self {
            Self::NewerFormat { object, .. } => ("NewerFormat", object),
            Self::OldDefinitions { object } => ("OldDefinitions", object),
        };
        Notice {
            regarding: object.as_ref().clone(),
            event_type: EventType::Warning,
            reason: reason.to_owned(),
            action: "RefuseToLead".to_owned(),
            note: self.to_string(),
        }
    }
}

impl Context {
    /// Stops the control loops for this reason, and says so with the object. Only the first reason counts.
    pub fn refuse(&self, refusal: Refusal) {
        let notice = refusal.notice();
        if self.refusal.set(refusal).is_ok() {
            self.events.publish(notice);
        }
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::Incident;

    #[test]
    fn a_newer_format_is_a_reason_whether_the_rest_decodes_or_not() {
        let incident = |status: serde_json::Value| -> Guarded<Incident> {
            let incident =
                json!({"metadata": {"name": "i", "namespace": "ns"}, "spec": {}, "status": status});
            serde_json::from_str(&incident.to_string()).unwrap()
        };
        assert!(Refusal::of_guarded(&incident(json!({}))).is_none());
        assert!(
            Refusal::of_guarded(&incident(json!({"format": FORMAT, "phase": "FromAnotherRelease"})))
                .is_none()
        );
        for phase in ["Open", "FromAnotherRelease"] {
            let refusal =
                Refusal::of_guarded(&incident(json!({"format": FORMAT + 1, "phase": phase}))).unwrap();
            let said = refusal.to_string();
            assert!(
                said.contains("Incident i in namespace ns: it has format 4, and this release knows"),
                "{said}"
            );
            assert_eq!(refusal.notice().regarding.kind.as_deref(), Some("Incident"));
        }
    }
}
