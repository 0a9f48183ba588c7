//! Paths to one field of an object, as the undo record writes them.
//!
//! A path is a JSON pointer in which a list element is named by a merge key,
//! `[name=main]`, and never by its index: an index may mean another element
//! by the time the value goes back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A member of an object.
    Key(String),
    /// The element of a list whose member `key` has this value.
    Element {
        /// The merge key, most often `name`.
        key: String,
        /// The value that names the element.
        value: String,
    },
}

/// The place of one field in an object, such as
/// `/spec/template/spec/containers/[name=vllm]/resources/limits/nvidia.com~1gpu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldPath(Vec<Segment>);

#[cfg(feature = "schema")]
impl schemars::JsonSchema for FieldPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FieldPath".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "maxLength": 512})
    }
}

/// Why a text is not a path, or a path does not fit an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text is not a path.
    #[error(
        "\"{0}\" is not a field path: it must be like /spec/replicas or /spec/containers/[name=main]/image"
    )]
    Malformed(String),
    /// The object has something else where the path needs a map or a list.
    #[error("{0} is not a map or list in this object")]
    WrongShape(FieldPath),
    /// The list has no such element, and Firebreak never makes one.
    #[error("{0} does not exist in this object")]
    NoElement(FieldPath),
}

impl FieldPath {
    /// A path from its segments. At least one is needed.
    pub fn new(segments: Vec<Segment>) -> Result<Self, PathError> {
        if segments.is_empty() {
            return Err(PathError::Malformed(String::new()));
        }
        Ok(Self(segments))
    }

    /// A path of plain keys.
    pub fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, PathError> {
        Self::new(keys.into_iter().map(|key| Segment::Key(key.to_owned())).collect())
    }

    /// This path with one more key.
    pub fn child(&self, key: &str) -> Self {
        let mut segments = self.0.clone();
        segments.push(Segment::Key(key.to_owned()));
        Self(segments)
    }

    /// The steps of the path; never empty.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The value at this path, if there is one.
    pub fn read<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(object, |at, segment| step_into(at, segment))
    }

    /// The topmost ancestor (or the field itself is not counted) that does not
    /// exist in `object`: what setting this path would create.
    pub fn missing_ancestor(&self, object: &Value) -> Option<Self> {
        let mut at = object;
        for (depth, segment) in self.0[..self.0.len() - 1].iter().enumerate() {
            match step_into(at, segment) {
                Some(next) if !next.is_null() => at = next,
                _ => return Some(Self(self.0[..=depth].to_vec())),
            }
        }
        None
    }

    /// Sets (`Some`) or removes (`None`) the value, creating missing maps on the
    /// way. Removing what is not there does nothing.
    ///
    /// # Errors
    /// A list element on the way that does not exist, or something that is
    /// neither map nor list.
    pub fn write(&self, object: &mut Value, value: Option<Value>) -> Result<(), PathError> {
        let (last, way) = self.0.split_last().ok_or_else(|| PathError::Malformed(String::new()))?;
        let mut at = object;
        for (depth, segment) in way.iter().enumerate() {
            let here = || Self(self.0[..=depth].to_vec());
            at = match segment {
                Segment::Key(key) => {
                    let map = as_map(at).ok_or_else(|| PathError::WrongShape(here()))?;
                    if value.is_none() && !map.contains_key(key) {
                        return Ok(());
                    }
                    map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()))
                }
                Segment::Element { key, value: name } => match element_mut(at, key, name) {
                    Some(element) => element,
                    None if value.is_none() => return Ok(()),
                    None => return Err(PathError::NoElement(here())),
                },
            };
        }
        let Segment::Key(key) = last else {
            return Err(PathError::WrongShape(self.clone()));
        };
        let map = as_map(at).ok_or_else(|| PathError::WrongShape(self.clone()))?;
        match value {
            Some(value) => map.insert(key.clone(), value),
            None => map.remove(key),
        };
        Ok(())
    }

    /// Removes the maps from this path's parent up to `top` that are empty.
    pub fn prune_empty(&self, object: &mut Value, top: &Self) {
        for depth in (top.0.len()..self.0.len()).rev() {
            let ancestor = Self(self.0[..depth].to_vec());
            match ancestor.read(object) {
                Some(Value::Object(map)) if map.is_empty() => {
                    // The path was just read, so it cannot be malformed.
                    let _ = ancestor.write(object, None);
                }
                _ => return,
            }
        }
    }

    /// The fields that are only valid together share this text: the request and
    /// limit of one resource, the minimum and maximum of replicas.
    pub fn group(&self) -> String {
        let mut segments = self.0.clone();
        let length = segments.len();
        if length >= 2
            && let Segment::Key(parent) = &mut segments[length - 2]
            && (parent == "limits" || parent == "requests")
        {
            *parent = "limits+requests".to_owned();
        }
        if let Some(Segment::Key(last)) = segments.last_mut()
            && (last == "minReplicas" || last == "maxReplicas")
        {
            *last = "minReplicas+maxReplicas".to_owned();
        }
        Self(segments).to_string()
    }

    /// Whether the value is a Kubernetes quantity, which has many spellings.
    pub fn is_quantity(&self) -> bool {
        let length = self.0.len();
        length >= 2
            && matches!(&self.0[length - 2], Segment::Key(parent) if parent == "limits" || parent == "requests")
    }
}

fn step_into<'a>(at: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Key(key) => at.as_object()?.get(key),
        Segment::Element { key, value } => {
            at.as_array()?.iter().find(|element| element.get(key).and_then(Value::as_str) == Some(value))
        }
    }
}

fn as_map(at: &mut Value) -> Option<&mut Map<String, Value>> {
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    at.as_object_mut()
}

fn element_mut<'a>(at: &'a mut Value, key: &str, name: &str) -> Option<&'a mut Value> {
    at.as_array_mut()?.iter_mut().find(|element| element.get(key).and_then(Value::as_str) == Some(name))
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.0 {
            match segment {
                Segment::Key(key) => write!(f, "/{}", escape(key))?,
                Segment::Element { key, value } => write!(f, "/[{}={}]", escape(key), escape(value))?,
            }
        }
        Ok(())
    }
}

impl FromStr for FieldPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        let malformed = || PathError::Malformed(text.chars().take(80).collect());
        let rest = text.strip_prefix('/').ok_or_else(malformed)?;
        let mut segments = Vec::new();
        for part in rest.split('/') {
            if part.is_empty() {
                return Err(malformed());
            }
            segments.push(match part.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
                Some(inner) => {
                    let (key, value) = inner.split_once('=').ok_or_else(malformed)?;
                    if key.is_empty() || value.is_empty() {
                        return Err(malformed());
                    }
                    Segment::Element { key: unescape(key), value: unescape(value) }
                }
                None => Segment::Key(unescape(part)),
            });
        }
        Self::new(segments)
    }
}

impl TryFrom<String> for FieldPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<FieldPath> for String {
    fn from(path: FieldPath) -> Self {
        path.to_string()
    }
}

fn escape(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}

fn unescape(text: &str) -> String {
    text.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> FieldPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_reads_through_named_list_elements() {
        let object = json!({"spec": {"containers": [{"name": "proxy"}, {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "4"}}}]}});
        let gpu = path("/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu");
        assert_eq!(gpu.read(&object), Some(&json!("4")));
        assert_eq!(gpu.to_string(), "/spec/containers/[name=main]/resources/limits/nvidia.com~1gpu");
    }

    #[test]
    fn writing_creates_maps_but_never_list_elements() {
        let mut object = json!({"spec": {}});
        let precision = path("/spec/model/quantization/precision");
        assert_eq!(precision.missing_ancestor(&object), Some(path("/spec/model")));
        precision.write(&mut object, Some(json!("int8"))).unwrap();
        assert_eq!(object, json!({"spec": {"model": {"quantization": {"precision": "int8"}}}}));
        let element = path("/spec/containers/[name=main]/image");
        assert!(element.write(&mut json!({"spec": {"containers": []}}), Some(json!("x"))).is_err());
    }

    #[test]
    fn pruning_stops_at_what_somebody_else_put_there() {
        let mut object = json!({"spec": {"model": {"uri": "m", "quantization": {}}}});
        path("/spec/model/quantization/precision").prune_empty(&mut object, &path("/spec/model"));
        assert_eq!(object, json!({"spec": {"model": {"uri": "m"}}}));
    }

    #[test]
    fn request_and_limit_of_one_resource_are_one_group() {
        let limit = path("/spec/resources/limits/nvidia.com~1gpu");
        let request = path("/spec/resources/requests/nvidia.com~1gpu");
        assert_eq!(limit.group(), request.group());
        assert_ne!(limit.group(), path("/spec/resources/limits/memory").group());
    }

    #[test]
    fn malformed_paths_are_refused() {
        for text in ["", "spec", "/", "//", "/spec//x", "/[name]", "/[=x]"] {
            assert!(text.parse::<FieldPath>().is_err(), "{text}");
        }
    }
}
