//! Where containers have a flag, and which containers may get one.
//!
//! Only the flag's own value is ever read. Messages about a container name
//! it and the flag, and nothing else of its arguments, which may hold secrets.

use std::collections::BTreeSet;

use firebreak_engine::flag::{Given, given};
use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::elsewhere;
use super::program::{Start, start};
use crate::workloads::profile::{Flag, Pattern, ServerNames};

/// The lists of arguments, in the order in which a program gets them.
const LISTS: [&str; 2] = ["command", "args"];

/// The flag in every container that has it, or that can be identified as the server and could get it.
///
/// # Errors
/// Why it must not be changed, for people.
pub(super) fn find(flag: &Flag, servers: &ServerNames, object: &Value) -> Result<Vec<FieldPath>, String> {
    let mut found = Vec::new();
    let mut unseen = None;
    for list in &flag.containers {
        let containers = list.node(object).and_then(Value::as_array);
        let mut names = BTreeSet::new();
        for container in containers.into_iter().flatten() {
            let name = container.get("name").and_then(Value::as_str).unwrap_or_default();
            // A path finds the first element of a name, so a second one cannot be addressed.
            let unique = !name.is_empty() && names.insert(name);
            let problem = |problem: &str| format!("container {name}: {problem}");
            match place(flag, servers, container) {
                Place::Nowhere => {}
                Place::In(..) if !unique => return Err(problem("it has no unique name")),
                Place::In(arguments, flag) => found.extend(path(list, name, arguments, flag)),
                Place::Unseen(why) => unseen = unseen.or_else(|| Some(problem(&why))),
                Place::Hindered(why) => return Err(problem(&why)),
            }
        }
    }
    if found.is_empty() {
        let unknown = || format!("no container can be identified as a server that takes {}", flag.names[0]);
        return Err(unseen.unwrap_or_else(unknown));
    }
    Ok(found)
}

/// The place of the flag in a container.
enum Place<'a> {
    /// It has none, and is not the server.
    Nowhere,
    /// In this list, with this spelling.
    In(&'static str, &'a str),
    /// Whether it is the server is not seen. That is no obstacle beside a container that is.
    Unseen(String),
    /// It has it, or would get it, and must not be changed.
    Hindered(String),
}

fn place<'a>(flag: &'a Flag, servers: &ServerNames, container: &Value) -> Place<'a> {
    let all = lists(container);
    let mut here = None;
    for (list, arguments) in
        LISTS.into_iter().filter_map(|list| Some((list, container.get(list)?.as_array()?)))
    {
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
        let problem = problem.or_else(|| elsewhere::in_a_variable(flag, servers, container, &all));
        return problem.map_or(Place::In(list, name), Place::Hindered);
    }
    let has_image = has_image(&flag.images, container);
    let in_a_shell = || {
        format!(
            "{} cannot be added, because a shell starts the server; write its command and its arguments as lists",
            flag.names[0]
        )
    };
    match start(&flag.programs, container) {
        Start::InText => Place::Hindered(in_a_shell()),
        Start::Program => new_place(flag, servers, container, &all),
        Start::OfImage if has_image => new_place(flag, servers, container, &all),
        // It is not known what another program does with its arguments, whatever the image is.
        Start::Other if has_image => Place::Nowhere,
        Start::Shell if has_image => Place::Unseen(in_a_shell()),
        Start::Shell | Start::Other | Start::OfImage => {
            elsewhere::seen_in_a_variable(flag, container).map_or(Place::Nowhere, Place::Hindered)
        }
    }
}

/// Where the server gets the flag that it does not have.
fn new_place<'a>(flag: &'a Flag, servers: &ServerNames, container: &Value, all: &[&Vec<Value>]) -> Place<'a> {
    let name = &flag.names[0];
    let why = elsewhere::in_a_variable(flag, servers, container, all);
    match (why.or_else(|| elsewhere::in_a_file(flag, all)), list_for_new(container)) {
        (Some(why), _) => Place::Hindered(why),
        (None, Some(list)) => Place::In(list, name),
        (None, None) => {
            Place::Hindered(format!("{name} cannot be added without replacing the arguments of the image"))
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

/// The container that has the flag at this path.
pub(super) fn container_of<'a>(flag: &FieldPath, object: &'a Value) -> Option<&'a Value> {
    let segments = flag.segments();
    FieldPath::new(segments[..segments.len().checked_sub(2)?].to_vec()).ok()?.node(object)
}

/// The lists of arguments that a container has.
pub(super) fn lists(container: &Value) -> Vec<&Vec<Value>> {
    LISTS.into_iter().filter_map(|list| container.get(list)?.as_array()).collect()
}

/// The list to which any flag can be appended, whatever the program is, or why there is none, for people.
pub(super) fn new_flags(container: &Value) -> Result<&'static str, String> {
    if start(&[], container) == Start::Shell {
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

/// Whether the image is one of these, whatever its registry, tag and digest.
pub(super) fn has_image(images: &[Pattern], container: &Value) -> bool {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = base_name(image.split('@').next().unwrap_or_default());
    Pattern::any(images, name.split(':').next().unwrap_or_default())
}

pub(super) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
