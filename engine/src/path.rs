//! Paths to one field of an object, as the undo record writes them.
//!
//! A path is a JSON pointer in which a list element is named by a merge key, `[name=main]`, and never by its
//! index: an index may refer to another element by the time of the revert. A flag in the arguments of a
//! container is `[flag=--max-num-seqs]`, whatever the form in which it is written there.

mod group;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::flag;

/// The lists that have flags.
const ARGUMENTS: [&str; 2] = ["args", "command"];

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A member of a map.
    Key(String),
    /// The element of a list whose member `key` has this value.
    Element {
        /// The merge key, most often `name`.
        key: String,
        /// The value that names the element.
        value: String,
    },
    /// The value of this flag in a list of arguments; only as the last step, below `args` or `command`.
    Flag(String),
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
        "\"{0}\" is not a field path: write it like /spec/replicas or /spec/containers/[name=main]/image"
    )]
    Malformed(String),
    /// The object has something else where the path needs a map or a list.
    #[error("{0} is not a map or list in this object")]
    WrongShape(FieldPath),
    /// The list has no such element, and Firebreak never makes one.
    #[error("{0} does not exist in this object")]
    NoElement(FieldPath),
    /// The value is sealed, and the object does not have it.
    #[error("{0} has no value to go back to: it is only in the undo record, which no longer has it")]
    Sealed(FieldPath),
    /// The flag exists, but not in a form in which its value is clear.
    #[error("{path} cannot be changed: {problem}")]
    Flag {
        /// The flag.
        path: FieldPath,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl FieldPath {
    /// A path from its segments. At least one is needed.
    pub fn new(segments: Vec<Segment>) -> Result<Self, PathError> {
        let is_misplaced = |(at, segment): (usize, &Segment)| match segment {
            Segment::Key(_) | Segment::Element { .. } => false,
            Segment::Flag(flag) => {
                let in_arguments = at.checked_sub(1).is_some_and(|parent| is_arguments(&segments[parent]));
                let is_name =
                    flag.starts_with('-') && !flag.contains(|c: char| c == '=' || c.is_whitespace());
                !(in_arguments && is_name && at + 1 == segments.len())
            }
        };
        if segments.is_empty() || segments.iter().enumerate().any(is_misplaced) {
            return Err(PathError::Malformed(Self(segments).to_string()));
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

    /// This path with one more step.
    pub fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// The steps of the path; never empty.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The rest of this path below `top`; none if it is not below it.
    pub fn below(&self, top: &Self) -> Option<Self> {
        let rest = self.0.strip_prefix(top.0.as_slice()).filter(|rest| !rest.is_empty())?;
        Some(Self(rest.to_vec()))
    }

    /// Whether one of the two paths is the other one, or below it.
    pub fn overlaps(&self, other: &Self) -> bool {
        self == other || self.below(other).is_some() || other.below(self).is_some()
    }

    /// Whether this is a flag in a list of arguments.
    pub fn is_flag(&self) -> bool {
        matches!(self.0.last(), Some(Segment::Flag(_)))
    }

    /// The value at this path, if there is one.
    pub fn read<'a>(&self, object: &'a Value) -> Option<Cow<'a, Value>> {
        match self.0.split_last() {
            Some((Segment::Flag(flag), way)) => flag::read(walk(object, way)?.as_array()?, flag),
            Some((Segment::Key(_) | Segment::Element { .. }, _)) | None => {
                self.node(object).map(Cow::Borrowed)
            }
        }
    }

    /// What puts the flag back exactly after it was removed from this object, with this value. None if this is no flag, or
    /// the object does not have it.
    pub fn removed_flag(&self, object: &Value, value: &Value) -> Option<Value> {
        let (Segment::Flag(flag), way) = self.0.split_last()? else { return None };
        flag::removed(walk(object, way)?.as_array()?, flag, &flag::value(value))
    }

    /// The part of the object at this path. A flag is none: its value may be a part of a text.
    pub fn node<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        walk(object, &self.0)
    }

    /// The topmost ancestor, not the field itself, that does not
    /// exist in `object`: what setting this path would create. Setting a flag
    /// creates nothing but the flag.
    pub fn missing_ancestor(&self, object: &Value) -> Option<Self> {
        if self.is_flag() {
            return None;
        }
        let mut at = object;
        for (depth, segment) in self.0[..self.0.len() - 1].iter().enumerate() {
            match step_into(at, segment) {
                Some(next) if !next.is_null() => at = next,
                _ => return Some(Self(self.0[..=depth].to_vec())),
            }
        }
        None
    }

    /// Whether this is a variable of a container. Its value may be a secret.
    pub fn is_variable(&self) -> bool {
        self.0
            .windows(2)
            .any(|pair| matches!(pair, [Segment::Key(list), Segment::Element { .. }] if list == "env"))
    }

    /// Sets (`Some`) or removes (`None`) the value, creating missing maps on the
    /// way, and the list of an element. An element that is not there is appended. Removing what is not there does
    /// nothing.
    ///
    /// # Errors
    /// A list element on the way that does not exist, something that is neither
    /// map nor list, or a flag whose value is not clear.
    pub fn write(&self, object: &mut Value, value: Option<Value>) -> Result<(), PathError> {
        let (last, way) = self.0.split_last().ok_or_else(|| PathError::Malformed(String::new()))?;
        if let Segment::Flag(flag) = last {
            return self.write_flag(object, way, flag, value);
        }
        let mut at = object;
        for (depth, segment) in way.iter().enumerate() {
            let here = || Self(self.0[..=depth].to_vec());
            at = match segment {
                Segment::Key(key) => {
                    let map = as_map(at).ok_or_else(|| PathError::WrongShape(here()))?;
                    if value.is_none() && !map.contains_key(key) {
                        return Ok(());
                    }
                    let is_list = matches!(self.0.get(depth + 1), Some(Segment::Element { .. }));
                    let empty = || if is_list { Value::Array(Vec::new()) } else { Value::Object(Map::new()) };
                    map.entry(key.clone()).or_insert_with(empty)
                }
                Segment::Element { key, value: name } => match element_mut(at, key, name) {
                    Some(element) => element,
                    None if value.is_none() => return Ok(()),
                    None => return Err(PathError::NoElement(here())),
                },
                Segment::Flag(_) => return Err(PathError::WrongShape(here())),
            };
        }
        let written = match last {
            Segment::Key(key) => as_map(at).map(|map| match value {
                Some(value) => drop(map.insert(key.clone(), value)),
                None => drop(map.remove(key)),
            }),
            Segment::Element { key, value: name } => write_element(at, key, name, value),
            Segment::Flag(_) => None,
        };
        written.ok_or_else(|| PathError::WrongShape(self.clone()))
    }

    /// A list of arguments is never created, because it would replace the arguments of the image.
    fn write_flag(
        &self,
        object: &mut Value,
        way: &[Segment],
        flag: &str,
        value: Option<Value>,
    ) -> Result<(), PathError> {
        let list = way.iter().try_fold(object, |at, segment| match segment {
            Segment::Key(key) => at.as_object_mut()?.get_mut(key),
            Segment::Element { key, value } => element_mut(at, key, value),
            Segment::Flag(_) => None,
        });
        match list.filter(|list| !list.is_null()) {
            Some(Value::Array(list)) => flag::write(list, flag, value)
                .map_err(|problem| PathError::Flag { path: self.clone(), problem }),
            Some(_) => Err(PathError::WrongShape(Self(way.to_vec()))),
            None if value.is_none() => Ok(()),
            None => Err(PathError::NoElement(Self(way.to_vec()))),
        }
    }

    /// Removes the maps and lists from this path's parent up to `top` that are empty.
    pub fn prune_empty(&self, object: &mut Value, top: &Self) {
        for depth in (top.0.len()..self.0.len()).rev() {
            let ancestor = Self(self.0[..depth].to_vec());
            let is_empty = match ancestor.node(object) {
                Some(Value::Object(map)) => map.is_empty(),
                // A list of arguments is never created.
                Some(Value::Array(list)) => {
                    list.is_empty() && matches!(self.0[depth], Segment::Element { .. })
                }
                _ => false,
            };
            if !is_empty {
                return;
            }
            // The path was just read, so it cannot be malformed.
            let _ = ancestor.write(object, None);
        }
    }
}

fn walk<'a>(object: &'a Value, way: &[Segment]) -> Option<&'a Value> {
    way.iter().try_fold(object, step_into)
}

fn is_arguments(segment: &Segment) -> bool {
    matches!(segment, Segment::Key(key) if ARGUMENTS.contains(&key.as_str()))
}

fn step_into<'a>(at: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Key(key) => at.as_object()?.get(key),
        Segment::Element { key, value } => {
            at.as_array()?.iter().find(|element| element.get(key).and_then(Value::as_str) == Some(value))
        }
        Segment::Flag(_) => None,
    }
}

fn as_map(at: &mut Value) -> Option<&mut Map<String, Value>> {
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    at.as_object_mut()
}

/// Replaces, appends or removes the element of this name. None if there is no list.
fn write_element(at: &mut Value, key: &str, name: &str, value: Option<Value>) -> Option<()> {
    if at.is_null() {
        *at = Value::Array(Vec::new());
    }
    let list = at.as_array_mut()?;
    let place = list.iter().position(|element| element.get(key).and_then(Value::as_str) == Some(name));
    match (place, value) {
        (Some(place), Some(value)) => list[place] = value,
        (Some(place), None) => drop(list.remove(place)),
        (None, Some(value)) => list.push(value),
        (None, None) => {}
    }
    Some(())
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
                Segment::Flag(flag) => write!(f, "/[flag={}]", escape(flag))?,
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
                    if key == "flag" && segments.last().is_some_and(is_arguments) {
                        Segment::Flag(unescape(value))
                    } else {
                        Segment::Element { key: unescape(key), value: unescape(value) }
                    }
                }
                None => Segment::Key(unescape(part)),
            });
        }
        Self::new(segments).map_err(|_| malformed())
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
#[path = "path_tests.rs"]
mod tests;
