//! One flag in a list of arguments, as containers have them.
//!
//! A flag keeps the form in which it was written: `--x=256` in one element, or
//! `--x` and `256` in two, or `--x` alone, whose value is `true` here. A flag that was not there is
//! appended as `--x=16`. A flag that was removed goes back to its place, in the form that it had.
//! Where it is not clear which text is the value, nothing is read or changed.

mod place;

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

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

/// The flag with dashes and with underscores between its words. Servers that are written in Python accept both.
pub fn spellings(flag: &str) -> BTreeSet<String> {
    let (dashes, name) = flag.split_at(flag.len() - flag.trim_start_matches('-').len());
    let names = [name.to_owned(), name.replace('_', "-"), name.replace('-', "_")];
    names.into_iter().map(|name| format!("{dashes}{name}")).collect()
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
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const FLAG: &str = "--max-num-seqs";

    fn list(of: Value) -> Vec<Value> {
        of.as_array().unwrap().clone()
    }

    #[test]
    fn a_flag_is_read_in_its_other_spelling_and_in_its_own_first() {
        let read = |of: Value| read(&list(of), FLAG).map(Cow::into_owned);
        assert_eq!(read(json!(["--max_num_seqs=4"])), Some(json!("4")));
        assert_eq!(read(json!(["--max_num_seqs", "4", "--max-num-seqs", "8"])), Some(json!("8")));
        assert_eq!(read(json!(["--max_num_seqs=4", "--max_num_seqs=5"])), None);
        assert_eq!(read(json!(["--max.num.seqs=4"])), None);
    }

    #[test]
    fn a_flag_that_someone_has_spelled_otherwise_is_changed_and_removed_as_it_is_there() {
        let other = list(json!(["serve", "--max_num_seqs=16", "--eager"]));
        let written = |value: Option<Value>| {
            let mut args = other.clone();
            write(&mut args, FLAG, value).unwrap();
            Value::from(args)
        };
        assert_eq!(written(Some(json!("256"))), json!(["serve", "--max_num_seqs=256", "--eager"]));
        assert_eq!(written(None), json!(["serve", "--eager"]));
        let undo = removed(&other, FLAG, &json!("256"));
        let mut args = list(json!(["serve", "--eager"]));
        write(&mut args, FLAG, undo).unwrap();
        assert_eq!(Value::from(args), json!(["serve", "--max_num_seqs=256", "--eager"]));
        let mut unclear = list(json!(["--max_num_seqs=1", "--max_num-seqs=2"]));
        assert_eq!(
            read(&unclear, "--max-num_seqs").as_deref(),
            Some(&json!("1")),
            "no server reads the second one"
        );
        unclear.push("--max-num-seqs=3".into());
        assert!(write(&mut unclear, "--max-num_seqs", None).is_err());
    }

    #[test]
    fn a_flag_is_found_in_either_form_and_no_other_flag_is_taken_for_it() {
        let table = [
            (json!([]), Given::Not),
            (json!(["serve", "--model", "m"]), Given::Not),
            (json!(["--max-num-seqs-per-gpu=3", "--no--max-num-seqs", "--max-num-seqs_x", "4"]), Given::Not),
            (json!(["serve", "--max-num-seqs=256"]), Given::Joined(1)),
            (json!(["--max-num-seqs="]), Given::Joined(0)),
            (json!(["serve", "--max-num-seqs", "256", "--model"]), Given::Apart(1)),
            (json!(["--max-num-seqs", "-1"]), Given::Apart(0)),
            (json!(["--max-num-seqs", 256]), Given::Apart(0)),
            (json!(["--max-num-seqs"]), Given::Bare(0)),
            (json!(["--max-num-seqs", "--model", "m"]), Given::Bare(0)),
            (json!(["x", "--max-num-seqs", "-q"]), Given::Bare(1)),
            (json!(["--max-num-seqs=1", "--max-num-seqs", "2"]), Given::Twice),
            (json!(["-c", "vllm serve m --max-num-seqs 256 --port 80"]), Given::InText),
            (json!(["-c", "vllm serve m \\\n  --max-num-seqs=256"]), Given::InText),
            (json!(["--max-num-seqs=1", "echo --max-num-seqs"]), Given::InText),
            (json!(["--max-num-seqs 256"]), Given::InText),
            (json!([null, 3, {"a": "--max-num-seqs"}]), Given::Not),
        ];
        for (args, expected) in table {
            assert_eq!(given(&list(args.clone()), FLAG), expected, "{args}");
        }
    }

    #[test]
    fn what_is_not_clear_is_neither_read_nor_written() {
        for args in [json!(["--max-num-seqs=1", "--max-num-seqs=2"]), json!(["x --max-num-seqs 3"])] {
            let before = list(args);
            let mut after = before.clone();
            assert_eq!(read(&before, FLAG), None);
            assert!(write(&mut after, FLAG, Some(json!("16"))).is_err());
            assert!(write(&mut after, FLAG, None).is_err());
            assert_eq!(after, before);
        }
    }

    #[test]
    fn a_flag_without_a_value_is_a_switch_that_is_set_and_removed_and_gets_no_value() {
        let bare = list(json!([FLAG, "--model", "m"]));
        assert_eq!(read(&bare, FLAG).as_deref(), Some(&json!(true)));
        let mut args = bare.clone();
        assert!(write(&mut args, FLAG, Some(json!("16"))).is_err());
        assert_eq!(write(&mut args, FLAG, Some(json!(true))), Ok(()));
        assert_eq!(args, bare);
        assert_eq!(write(&mut args, FLAG, None), Ok(()));
        assert_eq!(args, list(json!(["--model", "m"])));
        assert_eq!(write(&mut args, FLAG, Some(json!(true))), Ok(()));
        assert_eq!(args, list(json!(["--model", "m", FLAG])));
        let mut valued = list(json!(["--max-num-seqs=3"]));
        assert!(write(&mut valued, FLAG, Some(json!(true))).is_err());
    }

    #[test]
    fn a_removed_flag_goes_back_to_its_place_and_never_between_a_flag_and_its_value() {
        let original = list(json!(["serve", "m", "--a", "1", "--b=2", FLAG, "4", "--eager"]));
        let undo = removed(&original, FLAG, &json!("4")).unwrap();
        assert_eq!(value(&undo).as_ref(), &json!("4"));
        let put_back = |now: Value| {
            let mut now = list(now);
            write(&mut now, FLAG, Some(undo.clone())).unwrap();
            Value::from(now)
        };
        assert_eq!(
            put_back(json!(["serve", "m", "--a", "1", "--b=2", "--eager"])),
            Value::from(original.clone())
        );
        // Someone else has added a flag before it, or changed its neighbour into another, or put it back alone.
        let added = json!(["serve", "m", "--new", "--a", "1", "--b=2", "--eager"]);
        assert_eq!(
            put_back(added),
            json!(["serve", "m", "--new", "--a", "1", "--b=2", FLAG, "4", "--eager"])
        );
        let other = json!(["serve", "m", "--a", "1", "--b", "2", "--eager", "--c"]);
        assert_eq!(
            put_back(other),
            json!(["serve", "m", "--a", "1", "--b", "2", FLAG, "4", "--eager", "--c"])
        );
        let neither = json!(["serve", "m", "--b", "2", "--c"]);
        assert_eq!(put_back(neither), json!(["serve", "m", "--b", "2", "--c", FLAG, "4"]));
        let again = json!(["serve", "m", "--a", "1", "--b=2", "--eager", "--max-num-seqs=9"]);
        assert_eq!(put_back(again), Value::from(original));
        assert_eq!(put_back(json!([])), json!([FLAG, "4"]));
    }

    #[test]
    fn a_flag_with_several_words_behind_it_is_told() {
        assert!(has_many_values(&list(json!([FLAG, "1", "2"])), FLAG));
        assert!(!has_many_values(&list(json!([FLAG, "1", "--x"])), FLAG));
        assert!(!has_many_values(&list(json!(["--max-num-seqs=1", "2"])), FLAG));
    }

    #[test]
    fn a_flag_keeps_its_form_and_one_that_is_new_comes_last() {
        let written = |args: Value| {
            let mut args = list(args);
            write(&mut args, FLAG, Some(json!("16"))).unwrap();
            Value::from(args)
        };
        assert_eq!(written(json!(["--max-num-seqs=256", "x"])), json!(["--max-num-seqs=16", "x"]));
        assert_eq!(written(json!(["--max-num-seqs", "256", "x"])), json!(["--max-num-seqs", "16", "x"]));
        assert_eq!(written(json!(["x"])), json!(["x", "--max-num-seqs=16"]));
    }

    proptest! {
        #[test]
        fn what_is_written_and_written_back_is_the_exact_list(
            before in prop::collection::vec("[a-z=./ -]{0,12}", 0..6),
            after in prop::collection::vec("[a-z=./ -]{0,12}", 0..6),
            value in "[0-9]{1,5}",
            form in 0..3,
            second in prop::option::of("[0-9]{1,3}"),
        ) {
            let own = match form {
                0 => vec![],
                1 => vec![format!("{FLAG}={value}")],
                _ => vec![FLAG.to_owned(), value],
            };
            let original: Vec<Value> = before.into_iter().chain(own).chain(after).map(Value::from).collect();
            let mut list = original.clone();
            let was = read(&list, FLAG).map(Cow::into_owned);
            prop_assert_eq!(was.is_some(), form != 0);
            // Another field of the same record is changed and reverted in the meantime.
            write(&mut list, "--max-model-len", second.map(Value::from)).unwrap();
            write(&mut list, FLAG, Some(json!("16"))).unwrap();
            prop_assert_eq!(read(&list, FLAG).map(Cow::into_owned), Some(json!("16")));
            write(&mut list, "--max-model-len", None).unwrap();
            write(&mut list, FLAG, was).unwrap();
            prop_assert_eq!(list, original);
        }

        #[test]
        fn flags_that_are_removed_go_back_exactly_in_reverse_order(
            others in prop::collection::vec("[a-z=./-]{0,8}", 0..5),
            at in prop::collection::vec(0..6usize, 3),
            forms in prop::collection::vec(0..3, 3),
            set in prop::option::of("[0-9]{1,3}"),
        ) {
            let mut original: Vec<Value> = others.into_iter().map(Value::from).collect();
            let flags = ["--one", "--two", "--three"];
            for (index, flag) in flags.iter().enumerate() {
                let words: Vec<Value> = match forms[index] {
                    0 => vec![format!("{flag}=7").into()],
                    1 => vec![(*flag).into(), "7".into()],
                    _ => vec![(*flag).into()],
                };
                let at = at[index].min(original.len());
                original.splice(at..at, words);
            }
            // Unclear lists, in which one flag took another word for its value, are no case for this.
            prop_assume!(flags.iter().all(|flag| words(given(&original, flag)).is_some()));
            let mut list = original.clone();
            write(&mut list, "--set", set.map(Value::from)).unwrap();
            let mut undo = Vec::new();
            for flag in flags {
                let Some(was) = read(&list, flag).map(Cow::into_owned) else { continue };
                undo.push((flag, removed(&list, flag, &was)));
                write(&mut list, flag, None).unwrap();
            }
            for (flag, before) in undo.into_iter().rev() {
                prop_assert!(given(&list, flag) == Given::Not);
                write(&mut list, flag, before).unwrap();
            }
            write(&mut list, "--set", None).unwrap();
            prop_assert_eq!(list, original);
        }
    }
}
