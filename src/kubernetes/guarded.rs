//! One object of a list or a watch that does not decode must not make the others unreadable.
//!
//! Like kube's `DeserializeGuard`, but that decodes into a tree of values and clones it, which took a tenth of the
//! processor time of a response. This one decodes the text, and keeps what does not decode. It needs the text, so it
//! works in what serde_json reads without buffering: a list, an object, and an event whose `type` comes first, as the
//! API server writes it.

use std::borrow::Cow;

use kube::core::{DynamicObject, ObjectMeta, Resource};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::api::format;
use crate::api::lean::{Lean, Parts};

/// An object of a kind, if it decodes.
#[derive(Clone, Debug)]
pub enum Guarded<K> {
    /// The object.
    Decoded(Box<K>),
    /// It does not decode.
    Undecodable {
        /// The object as the API server sent it.
        raw: Box<DynamicObject>,
        /// Why it does not decode.
        why: String,
    },
}

impl<K: Parts> Guarded<K> {
    /// The format of its status.
    pub fn format(&self) -> Option<u16> {
        match self {
            Self::Decoded(object) => object.format(),
            Self::Undecodable { raw, .. } => format::of_undecodable(&raw.data["status"]),
        }
    }
}

impl<'de, K: Parts> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let decoded = serde_json::from_str(text.get());
        decoded.map(|Lean(object)| Self::Decoded(Box::new(object))).or_else(|error| {
            let raw = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
            Ok(Self::Undecodable { raw, why: error.to_string() })
        })
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Decoded(object) => object.meta(),
            Self::Undecodable { raw, .. } => &raw.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Decoded(object) => object.meta_mut(),
            Self::Undecodable { raw, .. } => &mut raw.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use kube::core::{ObjectList, WatchEvent};

    use super::*;
    use crate::api::Incident;

    #[test]
    fn one_that_does_not_decode_is_kept_as_it_is_and_hides_no_other() {
        let list: ObjectList<Guarded<Incident>> = serde_json::from_str(
            r#"{"apiVersion": "firebreak.dev/v1alpha1", "kind": "IncidentList", "metadata": {"resourceVersion": "9"}, "items": [
                {"metadata": {"name": "a"}, "spec": {"summary": 3}}, {"metadata": {"name": "b"}, "spec": {"summary": "v"}}]}"#,
        )
        .unwrap();
        let [Guarded::Undecodable { raw, why }, Guarded::Decoded(b)] = list.items.as_slice() else {
            panic!("{list:?}")
        };
        assert_eq!(raw.name_any(), "a");
        assert_eq!(raw.data["spec"]["summary"], 3);
        assert!(why.contains("expected a string"), "{why}");
        assert_eq!(b.name_any(), "b");
        assert_eq!(list.items[0].name_any(), "a");
    }

    #[test]
    fn it_is_what_a_watch_shows() {
        let event = r#"{"type": "ADDED", "object": {"metadata": {"name": "a"}, "spec": {}}}"#;
        let event: WatchEvent<Guarded<Incident>> = serde_json::from_str(event).unwrap();
        let WatchEvent::Added(Guarded::Decoded(incident)) = event else { panic!("{event:?}") };
        assert_eq!(incident.name_any(), "a");
    }
}
