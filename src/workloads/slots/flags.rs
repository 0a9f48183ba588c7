//! Where containers have a flag, and which containers may get one.
//!
//! Only the flag's own value is ever read. Messages about a container name
//! it and the flag, and nothing else of its arguments, which may hold secrets.

use std::collections::BTreeSet;

use firebreak_engine::flag::{Given, given};
use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::elsewhere;
use crate::workloads::profile::{Flag, Pattern};

/// Programs that run a command from a text.
const SHELLS: [&str; 6] = ["sh", "bash", "ash", "dash", "zsh", "ksh"];
/// Programs that start another one with the arguments that follow their own.
const INITS: [&str; 4] = ["tini", "tini-static", "dumb-init", "catatonit"];
/// The lists of arguments, in the order in which a program gets them.
const LISTS: [&str; 2] = ["command", "args"];

/// The flag in every container that has it, or that can be identified as the server and could get it.
///
/// # Errors
/// Why it must not be changed, for people.
pub(super) fn find(flag: &Flag, object: &Value) -> Result<Vec<FieldPath>, String> {
    let mut found = Vec::new();
    for list in &flag.containers {
        let containers = list.node(object).and_then(Value::as_array);
        let mut names = BTreeSet::new();
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            // A path finds the first element of a name, so a second one cannot be addressed.
            let unique = !name.is_empty() && names.insert(name);
            let problem = |problem: &str| Err(format!("container {name}: {problem}"));
            match place(flag, container) {
                Place::Nowhere => {}
                Place::In(..) if !unique => return problem("it has no unique name"),
                Place::In(arguments, flag) => found.extend(path(list, name, arguments, flag)),
                Place::Hindered(why) => return problem(&why),
            }
        }
    }
    if found.is_empty() {
        return Err(format!("no container can be identified as a server that takes {}", flag.names[0]));
    }
    Ok(found)
}

/// The place of the flag in a container.
enum Place<'a> {
    /// It has none, and is not the server.
    Nowhere,
    /// In this list, with this spelling.
    In(&'static str, &'a str),
    /// It has it, or would get it, and must not be changed.
    Hindered(String),
}

fn place<'a>(flag: &'a Flag, container: &Value) -> Place<'a> {
    let lists = || LISTS.into_iter().filter_map(|list| Some((list, container.get(list)?.as_array()?)));
    let all: Vec<&Vec<Value>> = lists().map(|(_, list)| list).collect();
    let mut here = None;
    for (list, arguments) in lists() {
        for name in &flag.names {
            match (given(arguments, name), here) {
                (Given::Not, _) => {}
                (how, None) => here = Some((list, name, how)),
                (_, Some(_)) => here = Some((list, name, Given::Twice)),
            }
        }
    }
    if let Some((list, name, how)) = here {
        let problem = how.problem().map(|problem| format!("{name}: {problem}"));
        let problem = problem.or_else(|| elsewhere::in_a_variable(flag, container, &all));
        return problem.map_or(Place::In(list, name), Place::Hindered);
    }
    let elements = words(&all);
    let runs_it = runs(flag, &elements);
    let name = &flag.names[0];
    let own_command = has_own_command(container);
    if !runs_it && !has_image(flag, container) {
        elsewhere::seen_in_a_variable(flag, container).map_or(Place::Nowhere, Place::Hindered)
    } else if is_run_by_a_shell(flag, &elements) {
        Place::Hindered(format!(
            "{name} cannot be added, because a shell starts the server; write its command and its arguments as lists"
        ))
    } else if !runs_it && own_command {
        // It is not known what another program does with its arguments, whatever the image is.
        Place::Nowhere
    } else if let Some(why) =
        elsewhere::in_a_variable(flag, container, &all).or_else(|| elsewhere::in_a_file(flag, &all))
    {
        Place::Hindered(why)
    } else {
        match list_for_new(container) {
            Some(list) => Place::In(list, name),
            None => Place::Hindered(format!(
                "{name} cannot be added without replacing the arguments of the image"
            )),
        }
    }
}

/// The list to which a flag can be appended; none if the container has none, because a new one would replace the arguments
/// of the image.
fn list_for_new(container: &Value) -> Option<&'static str> {
    if container.get("args").is_some_and(Value::is_array) {
        Some("args")
    } else {
        // The arguments of the image are not used with a command of its own.
        has_own_command(container).then_some("command")
    }
}

fn has_own_command(container: &Value) -> bool {
    container.get("command").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
}

fn words<'a>(lists: &[&'a Vec<Value>]) -> Vec<&'a str> {
    lists.iter().flat_map(|list| list.iter()).filter_map(Value::as_str).collect()
}

/// The lists of arguments that a container has.
pub(super) fn lists(container: &Value) -> Vec<&Vec<Value>> {
    LISTS.into_iter().filter_map(|list| container.get(list)?.as_array()).collect()
}

/// The list to which any flag can be appended, whatever the program is, or why there is none, for people.
pub(super) fn new_flags(container: &Value) -> Result<&'static str, String> {
    if words(&lists(container)).iter().any(|word| SHELLS.contains(&base_name(word))) {
        return Err("a shell starts the server".to_owned());
    }
    list_for_new(container).ok_or_else(|| {
        "the container has neither args nor a command, and new ones would replace those of its image"
            .to_owned()
    })
}

fn path(list: &FieldPath, container: &str, arguments: &str, flag: &str) -> Option<FieldPath> {
    let element = Segment::Element { key: "name".to_owned(), value: container.to_owned() };
    let behind = [element, Segment::Key(arguments.to_owned()), Segment::Flag(flag.to_owned())];
    // The name of the flag was checked with the profile.
    FieldPath::new(list.segments().iter().cloned().chain(behind).collect()).ok()
}

/// Whether one of the words names a program of the profile. A word after `--something` is a value.
fn runs(flag: &Flag, elements: &[&str]) -> bool {
    let mut words = elements.iter().flat_map(|element| element.split_whitespace()).peekable();
    if words.peek().is_some_and(|word| INITS.contains(&base_name(word))) {
        words.next();
        // An option of the init may have a value, so `--` ends them if it is there.
        match words.clone().position(|word| word == "--") {
            Some(options) => drop(words.nth(options)),
            None => while words.next_if(|word| word.starts_with('-')).is_some() {},
        }
    }
    let mut behind = "";
    words.any(|word| {
        let is_value = std::mem::replace(&mut behind, word).starts_with("--");
        !is_value && !word.contains("://") && Pattern::any(&flag.programs, base_name(word))
    })
}

fn is_run_by_a_shell(flag: &Flag, elements: &[&str]) -> bool {
    elements.iter().any(|element| {
        let is_text = element.contains(char::is_whitespace);
        SHELLS.contains(&base_name(element)) || (is_text && runs(flag, &[element]))
    })
}

/// Whether the image is one of the profile's, whatever its registry, tag and digest.
fn has_image(flag: &Flag, container: &Value) -> bool {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = base_name(image.split('@').next().unwrap_or_default());
    Pattern::any(&flag.images, name.split(':').next().unwrap_or_default())
}

pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
