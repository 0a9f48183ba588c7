//! How the pods of an object are restarted.

use firebreak_engine::path::{FieldPath, Segment};
use serde::Deserialize;
use serde_json::Value;

/// The fields in which a new value makes the controller of the object replace its pods.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Restart {
    /// The field.
    pub at: FieldPath,
    /// Annotations that get the same value, if the object has the map around them: other components of it.
    #[serde(default)]
    pub also: Vec<FieldPath>,
    /// The objects in which its controller keeps each template that it has seen. A restart whose answer was lost is
    /// settled by them.
    #[serde(default)]
    pub revisions: Option<Revisions>,
}

/// The objects in which a controller keeps templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Revisions {
    /// ReplicaSets.
    ReplicaSets,
    /// ControllerRevisions.
    ControllerRevisions,
}

impl Restart {
    /// The fields that are written in this object.
    pub fn fields(&self, object: &Value) -> Vec<FieldPath> {
        let also = self.also.iter().filter(|path| around(path).is_some_and(|map| has_map(&map, object)));
        [&self.at].into_iter().chain(also).cloned().collect()
    }
}

impl Revisions {
    /// Their apiVersion and kind.
    pub fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::ReplicaSets => ("apps/v1", "ReplicaSet"),
            Self::ControllerRevisions => ("apps/v1", "ControllerRevision"),
        }
    }
}

/// The map that has the map of annotations.
pub(super) fn around(path: &FieldPath) -> Option<FieldPath> {
    let segments = path.segments();
    let end = segments.len().checked_sub(2)?;
    matches!(&segments[end], Segment::Key(key) if key == "annotations").then_some(())?;
    FieldPath::new(segments[..end].to_vec()).ok()
}

fn has_map(path: &FieldPath, object: &Value) -> bool {
    path.node(object).is_some_and(Value::is_object)
}
