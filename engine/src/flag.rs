//! One flag in a list of arguments, as containers have them.
//!
//! A flag keeps the form in which it was written: `--x=256` in one element, or
//! `--x` and `256` in two. A flag that was not there is appended as `--x=16`.
//! Where it is not clear which text is the value, nothing is read or changed.

use std::borrow::Cow;

use serde_json::Value;

/// How a list of arguments contains a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// Not at all.
    Not,
    /// As `--x=256` in the element at this index.
    Joined(usize),
    /// As `--x` in the element at this index, with the value in the next one.
    Apart(usize),
    /// The list ends or continues with another flag where the value should be.
    WithoutValue,
    /// More than once, so that the program decides which one counts.
    Twice,
    /// Inside a longer text, as in the command of a shell.
    InText,
}

impl Given {
    /// Why the flag cannot be changed, for people; none if it can.
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Not | Self::Joined(_) | Self::Apart(_) => None,
            Self::WithoutValue => Some("it has no value"),
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
            Some("") if list.get(at + 1).is_none_or(is_flag) => Given::WithoutValue,
            Some("") => Given::Apart(at),
            Some(rest) if rest.starts_with('=') => Given::Joined(at),
            Some(_) | None if stands_in(text, flag) => return Given::InText,
            Some(_) | None => continue,
        };
        found = if found == Given::Not { here } else { Given::Twice };
    }
    found
}

/// The value of the flag in the list.
pub fn read<'a>(list: &'a [Value], flag: &str) -> Option<Cow<'a, Value>> {
    match given(list, flag) {
        Given::Joined(at) => {
            let (_, value) = list[at].as_str()?.split_once('=')?;
            Some(Cow::Owned(Value::from(value)))
        }
        Given::Apart(at) => list.get(at + 1).map(Cow::Borrowed),
        Given::Not | Given::WithoutValue | Given::Twice | Given::InText => None,
    }
}

/// Sets the flag to this value (`Some`), or removes it (`None`).
///
/// # Errors
/// What is wrong with the flag in this list.
pub fn write(list: &mut Vec<Value>, flag: &str, value: Option<Value>) -> Result<(), &'static str> {
    let how = given(list, flag);
    if let Some(problem) = how.problem() {
        return Err(problem);
    }
    match (how, value) {
        (Given::Joined(at), Some(value)) => list[at] = joined(flag, &value),
        (Given::Apart(at), Some(value)) => list[at + 1] = value,
        (_, Some(value)) => list.push(joined(flag, &value)),
        (Given::Joined(at), None) => drop(list.remove(at)),
        (Given::Apart(at), None) => drop(list.drain(at..=at + 1)),
        (_, None) => {}
    }
    Ok(())
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
fn is_flag(element: &Value) -> bool {
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
            (json!(["--max-num-seqs"]), Given::WithoutValue),
            (json!(["--max-num-seqs", "--model", "m"]), Given::WithoutValue),
            (json!(["--max-num-seqs", "-q"]), Given::WithoutValue),
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
        for args in
            [json!([FLAG]), json!(["--max-num-seqs=1", "--max-num-seqs=2"]), json!(["x --max-num-seqs 3"])]
        {
            let before = list(args);
            let mut after = before.clone();
            assert_eq!(read(&before, FLAG), None);
            assert!(write(&mut after, FLAG, Some(json!("16"))).is_err());
            assert!(write(&mut after, FLAG, None).is_err());
            assert_eq!(after, before);
        }
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
    }
}
