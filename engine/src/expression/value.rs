//! Readings and objects as values of CEL.

use std::collections::BTreeMap;
use std::fmt;

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::Val;
use serde_json::Value as Json;

use super::FieldValue;

/// The maximum number of elements of a list, and of entries of maps in an object if there is a comprehension.
const MAX_ITEMS: usize = 256;

/// A CEL value, which may borrow texts from the data that it represents.
pub(super) type Boxed<'v> = Box<dyn Val + 'v>;

/// The part of an object that an expression reads. Converting only that saves most of the time
/// of an evaluation, as most of an object is managed fields and templates.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Part {
    #[default]
    Nothing,
    Fields(BTreeMap<String, Part>),
    Whole,
}

impl Part {
    /// Adds the value at a path, and everything in it.
    pub(super) fn add(&mut self, path: &[&str]) {
        match (&mut *self, path) {
            (Self::Whole, _) => {}
            (_, []) => *self = Self::Whole,
            (Self::Fields(fields), [first, rest @ ..]) => {
                fields.entry((*first).to_owned()).or_default().add(rest);
            }
            (Self::Nothing, _) => {
                *self = Self::Fields(BTreeMap::new());
                self.add(path);
            }
        }
    }
}

/// A field of a signal. None for NaN, which is not a number.
pub(super) fn field_value(value: &FieldValue) -> Option<Boxed<'_>> {
    Some(match value {
        FieldValue::Boolean(truth) => Box::new(CelBool::from(*truth)),
        FieldValue::Int(number) => Box::new(CelInt::from(*number)),
        FieldValue::Double(number) if number.is_nan() => return None,
        FieldValue::Double(number) => Box::new(CelDouble::from(*number)),
        FieldValue::Map(numbers) => {
            let value = |number: &i64| Box::new(CelInt::from(*number)) as Boxed<'_>;
            map(numbers.iter().map(|(name, number)| (name, value(number))))
        }
    })
}

/// A part of an object. CEL's own conversion is not used: it makes every integer that is not
/// negative a UInt, on which `+ 1` is an error.
pub(super) fn object_value<'v>(json: &'v Json, part: &Part, bound_maps: bool) -> Result<Boxed<'v>, TooLong> {
    Ok(match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(truth) => Box::new(CelBool::from(*truth)),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => Box::new(CelInt::from(integer)),
            None => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(items) => {
            TooLong::check(items.len())?;
            let mut values = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                let value = object_value(item, &Part::Whole, bound_maps);
                values.push(value.map_err(|error| error.within(&format!("[{index}]")))?);
            }
            Box::new(CelList::from(values))
        }
        Json::Object(fields) => {
            let read: Vec<(&String, &Json, &Part)> = match part {
                Part::Nothing => Vec::new(),
                Part::Fields(parts) => {
                    let read = |(name, part)| {
                        let (name, value) = fields.get_key_value(name)?;
                        Some((name, value, part))
                    };
                    parts.iter().filter_map(read).collect()
                }
                Part::Whole => {
                    if bound_maps {
                        TooLong::check(fields.len())?;
                    }
                    fields.iter().map(|(name, value)| (name, value, &Part::Whole)).collect()
                }
            };
            let mut values = Vec::with_capacity(read.len());
            for (name, value, part) in read {
                let value = object_value(value, part, bound_maps);
                values.push((name, value.map_err(|error| error.within(&format!(".{name}")))?));
            }
            map(values)
        }
    })
}

/// A map.
#[expect(clippy::disallowed_types, reason = "CEL takes no other map; an expression only looks up keys in it")]
pub(super) fn map<'v>(entries: impl IntoIterator<Item = (&'v String, Boxed<'v>)>) -> Boxed<'v> {
    let entries = entries.into_iter().map(|(name, value)| (CelMapKey::from(name.as_str()), value));
    Box::new(CelMap::from(entries.collect::<std::collections::HashMap<_, _>>()))
}

/// A list or map has too many items.
#[derive(Debug)]
pub(super) struct TooLong {
    path: String,
    items: usize,
}

impl TooLong {
    fn check(items: usize) -> Result<(), Self> {
        let path = String::new();
        if items > MAX_ITEMS { Err(Self { path, items }) } else { Ok(()) }
    }

    fn within(self, outer: &str) -> Self {
        Self { path: format!("{outer}{}", self.path), ..self }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object{} has {} items, more than {MAX_ITEMS}", self.path, self.items)
    }
}
