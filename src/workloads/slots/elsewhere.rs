//! Where a flag may come from, besides the arguments of its container: a file, or a variable.
//!
//! What a file or a Secret says is not known, so a flag that may be there is neither added nor changed. Of
//! the values of variables nothing is kept or shown but the names of the variables.

use firebreak_engine::flag::{Given, given, spellings};
use serde_json::Value;

use crate::workloads::profile::{Flag, ServerNames};

/// The text of a variable, as the container has it.
enum Text<'a> {
    /// It has no such variable.
    Absent,
    /// This.
    Seen(&'a str),
    /// It is in another object, or in another variable.
    Hidden,
}

/// Why the flag may come from a variable, for people; none if it does not.
pub(super) fn in_a_variable(
    flag: &Flag,
    servers: &ServerNames,
    container: &Value,
    lists: &[&Vec<Value>],
) -> Option<String> {
    let used = lists.iter().find_map(|list| used(flag, servers, container, list));
    let appended = || {
        flag.variables.iter().find(|variable| match text(container, variable) {
            Text::Absent => false,
            Text::Seen(text) => mentions(flag, text),
            Text::Hidden => true,
        })
    };
    let variable = used.or_else(|| appended().map(String::as_str))?;
    Some(may_be_in(flag, variable))
}

/// Why the flag of a container that does not show what it runs is in a variable of the server, for people; none if it is
/// not seen there.
pub(super) fn seen_in_a_variable(flag: &Flag, container: &Value) -> Option<String> {
    let has_it = |variable: &&String| match text(container, variable) {
        Text::Seen(text) => mentions(flag, text),
        Text::Absent | Text::Hidden => false,
    };
    flag.variables.iter().find(has_it).map(|variable| may_be_in(flag, variable))
}

fn may_be_in(flag: &Flag, variable: &str) -> String {
    format!("{} may be in the variable {variable}, which is not read; move the flag to args", flag.names[0])
}

/// Why a flag that the arguments do not have may be in a file, for people; none if they name none.
pub(super) fn in_a_file(flag: &Flag, lists: &[&Vec<Value>]) -> Option<String> {
    let is_given = |file: &&String| lists.iter().any(|list| given(list, file) != Given::Not);
    let file = flag.files.iter().find(is_given)?;
    Some(format!("{} may be in the file of {file}, which is not read; move the flag to args", flag.names[0]))
}

/// The variables of a container that may hold any flag and are not read, for people. Those whose text is seen and has no
/// flag are none.
pub(super) fn unread_variables(flag: Option<&Flag>, container: &Value, lists: &[&Vec<Value>]) -> Vec<String> {
    let may_hold = |variable: &str, otherwise: bool| match text(container, variable) {
        Text::Seen(text) => text.split_whitespace().any(|word| word.starts_with('-')),
        Text::Hidden => true,
        Text::Absent => otherwise,
    };
    let values_after = flag.map(|flag| flag.values_after.as_slice()).unwrap_or_default();
    let mut found = Vec::new();
    for list in lists {
        let mut before = "";
        for element in list.iter().filter_map(Value::as_str) {
            // What follows a flag without a value of its own is its value.
            let is_value = values_after.iter().any(|word| word == before)
                || before.starts_with('-') && !before.contains('=');
            before = element;
            let variable = element.strip_prefix("$(").and_then(|rest| rest.split_once(')'));
            let variable = variable.map(|(variable, _)| variable);
            found.extend(variable.filter(|variable| !is_value && may_hold(variable, true)));
        }
    }
    let appended = flag.map(|flag| flag.variables.as_slice()).unwrap_or_default();
    found.extend(appended.iter().map(String::as_str).filter(|variable| may_hold(variable, false)));
    found.into_iter().map(|variable| format!("the variable {variable}")).collect()
}

/// The files that may hold any flag and are not read, for people.
pub(super) fn unread_files(flag: Option<&Flag>, lists: &[&Vec<Value>]) -> Vec<String> {
    let files = flag.map(|flag| flag.files.as_slice()).unwrap_or_default();
    let is_given = |file: &&String| lists.iter().any(|list| given(list, file) != Given::Not);
    files.iter().filter(is_given).map(|file| format!("the file of {file}")).collect()
}

/// The variable that stands in the arguments where a flag can stand, unless it is known not to be this one.
fn used<'a>(flag: &Flag, servers: &ServerNames, container: &Value, list: &'a [Value]) -> Option<&'a str> {
    let mut before = "";
    list.iter().filter_map(Value::as_str).find_map(|element| {
        let is_value = has_value(flag, servers, before);
        before = element;
        let (variable, _) = element.strip_prefix("$(")?.split_once(')')?;
        let may_be = match text(container, variable) {
            Text::Seen(text) => mentions(flag, text),
            Text::Absent | Text::Hidden => !is_value,
        };
        may_be.then_some(variable)
    })
}

/// Whether the word that follows this one is a value, whatever it is.
fn has_value(flag: &Flag, servers: &ServerNames, word: &str) -> bool {
    let mut words = flag.values_after.iter().chain(&flag.names).chain(&servers.values_after);
    // Only a flag has spellings.
    words.any(|other| other == word || (word.starts_with('-') && spellings(word).contains(other)))
}

/// The last entry of a name counts.
fn text<'a>(container: &'a Value, variable: &str) -> Text<'a> {
    let mut entries = container.get("env").and_then(Value::as_array).into_iter().flatten();
    let is_it = |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some(variable);
    match entries.rfind(is_it) {
        None => Text::Absent,
        Some(entry) => match entry.get("value").and_then(Value::as_str) {
            Some(text) if !text.contains("$(") => Text::Seen(text),
            Some(_) | None => Text::Hidden,
        },
    }
}

/// Whether the text has the flag, or names a file that may have it.
fn mentions(flag: &Flag, text: &str) -> bool {
    let list = [Value::from(text)];
    flag.names.iter().chain(&flag.files).any(|name| given(&list, name) != Given::Not)
}
