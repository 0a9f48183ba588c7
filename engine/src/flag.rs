//! One flag in a list of arguments, as containers have them.
//!
//! A flag keeps the form in which it was written: `--x=256` in one element, or
//! `--x` and `256` in two, or `--x` alone, whose value is `true` here. A flag that was not there is
//! appended as `--x=16`. A flag that was removed goes back to its place, in the form that it had.
//! Where it is not clear which text is the value, nothing is read or changed.

mod alias;
mod place;

use std::borrow::Cow;

use serde_json::{Value, json};

pub use self::alias::{canonical, one_letter, spellings};
use self::place::Removed;

/// How a list of arguments contains a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Not at all.
    Not,
    /// As `--x=256` in the element at this index.
    Joined(usize),
    /// As `--x` in the element at this index, with the value in the next one.
    Apart(usize),
    /// As `--x` in the element at this index, and the list ends or continues with another flag: it has no value.
    Bare(usize),
    /// More than once, so that the program decides which one counts.
    Twice,
    /// Inside a longer text, as in the command of a shell.
    InText,
}

const WITHOUT_VALUE: &str = "it has no value";
const WITH_VALUE: &str = "it has a value";

impl Given {
    /// Why the value of the flag cannot be changed, for people; none if it can.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Not | Self::Joined(_) | Self::Apart(_) => None,
            Self::Bare(_) => Some(WITHOUT_VALUE),
            Self::Twice => Some("it occurs twice"),
            Self::InText => Some("it is inside a longer text, such as a shell command"),
        }
    }
}

/// How the list contains the flag, which starts with a dash.
pub fn given(list: &[Value], flag: &str) -> Given {
    let mut found = Given::Not;
    for (at, text) in list.iter().enumerate().filter_map(|(at, element)| Some((at, element.as_str()?))) {
        let here = match text.strip_prefix(flag) {
            Some("") if list.get(at + 1).is_none_or(is_flag) => Given::Bare(at),
            Some("") => Given::Apart(at),
            Some(rest) if rest.starts_with('=') => Given::Joined(at),
            Some(_) | None if stands_in(text, flag) => return Given::InText,
            Some(_) | None => continue,
        };
        found = if found == Given::Not { here } else { Given::Twice };
    }
    found
}

/// How the list contains the flag, and how it is spelled there. If it is not there as it is spelled, it may be there in
/// another spelling, because someone has replaced it.
fn find(list: &[Value], flag: &str) -> (Given, String) {
    let own = (given(list, flag), flag.to_owned());
    if own.0 != Given::Not {
        return own;
    }
    let others = spellings(flag).into_iter().map(|other| (given(list, &other), other));
    let mut others = others.filter(|(how, _)| *how != Given::Not);
    match (others.next(), others.next()) {
        (None, _) => own,
        (Some(other), None) => other,
        (Some((_, other)), Some(_)) => (Given::Twice, other),
    }
}

/// Whether the list has the flag, by whichever of its names and in whatever form.
pub fn is_mentioned(list: &[Value], flag: &str) -> bool {
    find(list, flag).0 != Given::Not
}

/// The value of the flag in the list. One without a value is `true`.
pub fn read<'a>(list: &'a [Value], flag: &str) -> Option<Cow<'a, Value>> {
    let (how, _) = find(list, flag);
    value_of(list, how)
}

fn value_of(list: &[Value], how: Given) -> Option<Cow<'_, Value>> {
    match how {
        Given::Joined(at) => {
            let (_, value) = list[at].as_str()?.split_once('=')?;
            Some(Cow::Owned(Value::from(value)))
        }
        Given::Apart(at) => list.get(at + 1).map(Cow::Borrowed),
        Given::Bare(_) => Some(Cow::Owned(Value::Bool(true))),
        Given::Not | Given::Twice | Given::InText => None,
    }
}

/// Sets the flag to this value (`Some`), or removes it (`None`). A flag [as it was removed](removed) goes back to its
/// place.
///
/// # Errors
/// What is wrong with the flag in this list.
pub fn write(list: &mut Vec<Value>, flag: &str, value: Option<Value>) -> Result<(), &'static str> {
    let (how, flag) = find(list, flag);
    if let Given::Twice | Given::InText = how {
        return Err(how.problem().unwrap_or_default());
    }
    if let Some(removed) = value.as_ref().and_then(Removed::of) {
        take(list, how);
        removed.put_back(list);
        return Ok(());
    }
    match (how, value) {
        (Given::Joined(_) | Given::Apart(_), Some(Value::Bool(true))) => return Err(WITH_VALUE),
        (Given::Joined(at), Some(value)) => list[at] = joined(&flag, &value),
        (Given::Apart(at), Some(value)) => list[at + 1] = value,
        (Given::Bare(_), Some(Value::Bool(true))) => {}
        (Given::Bare(_), Some(_)) => return Err(WITHOUT_VALUE),
        (_, Some(Value::Bool(true))) => list.push(flag.into()),
        (_, Some(value)) => list.push(joined(&flag, &value)),
        (how, None) => take(list, how),
    }
    Ok(())
}

/// Removes the words of the flag.
fn take(list: &mut Vec<Value>, how: Given) {
    if let Some((at, length)) = words(how) {
        list.drain(at..at + length);
    }
}

/// The words of the flag: the index of the first one, and how many there are.
fn words(how: Given) -> Option<(usize, usize)> {
    match how {
        Given::Joined(at) | Given::Bare(at) => Some((at, 1)),
        Given::Apart(at) => Some((at, 2)),
        Given::Not | Given::Twice | Given::InText => None,
    }
}

/// Whether a value is a flag [as it was removed](removed).
pub fn is_removed(value: &Value) -> bool {
    Removed::of(value).is_some()
}

/// What puts the flag back exactly after it was removed from this list; `value` is the value that it gets back. None if the
/// list does not have it.
pub fn removed(list: &[Value], flag: &str, value: &Value) -> Option<Value> {
    let (how, flag) = find(list, flag);
    let (at, length) = words(how)?;
    let mut words = list[at..at + length].to_vec();
    match words.as_mut_slice() {
        [_, old] => old.clone_from(value),
        [word] if *value != Value::Bool(true) => *word = joined(&flag, value),
        _ => {}
    }
    let before = at.checked_sub(1).map_or(Value::Null, |at| list[at].clone());
    let behind = list.get(at + length).cloned().unwrap_or_default();
    Some(json!(Removed { words, at, between: [before, behind] }))
}

/// The value of a flag, also of one [as it was removed](removed).
pub fn value(value: &Value) -> Cow<'_, Value> {
    match Removed::of(value).and_then(|removed| removed.value()) {
        Some(value) => Cow::Owned(value),
        None => Cow::Borrowed(value),
    }
}

/// Whether an element is this flag of one letter with its value in the same word, as `-qfp8`.
pub fn is_attached(list: &[Value], flag: &str) -> bool {
    let value = |element: &Value| Some(element.as_str()?.strip_prefix(flag)?.chars().next()? != '=');
    list.iter().any(|element| value(element) == Some(true))
}

/// Whether more than one word follows the flag, so that it is not clear which of them are its values.
pub fn has_many_values(list: &[Value], flag: &str) -> bool {
    matches!(given(list, flag), Given::Apart(at) if list.get(at + 2).is_some_and(|next| !is_flag(next)))
}

fn joined(flag: &str, value: &Value) -> Value {
    match value {
        Value::String(text) => format!("{flag}={text}").into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            format!("{flag}={value}").into()
        }
    }
}

/// Whether an element is a flag and not a value; a negative number is a value.
pub fn is_flag(element: &Value) -> bool {
    let rest = element.as_str().and_then(|text| text.strip_prefix('-'));
    rest.is_some_and(|rest| rest.starts_with(|c: char| c == '-' || c.is_alphabetic()))
}

/// Whether the flag is a word of the text.
fn stands_in(text: &str, flag: &str) -> bool {
    let in_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(flag)
        .any(|(at, _)| !text[..at].ends_with(in_word) && !text[at + flag.len()..].starts_with(in_word))
}

#[cfg(test)]
mod tests;
