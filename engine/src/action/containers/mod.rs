//! What containers need to run without an accelerator: another image, flags, variables, CPU and memory.

mod spec;

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde_json::{Value, json};

pub(super) use self::spec::parse;
use self::spec::{Amounts, exceeds};
pub use self::spec::{AmountsSpec, ArgsSpec, ContainerEdit, ContainerSpec, ResourcesSpec, VariableSpec};
use crate::facts::{Container, Part, Role, Runs, Target};
use crate::flag::{self, Given};
use crate::path::{FieldPath, Segment};
use crate::reason::Reason;
use crate::value::{is_zero, quantity};

/// The lists of arguments, in the order in which a program gets them.
const LISTS: [&str; 2] = ["command", "args"];

/// A new value for a field; none if it is removed.
type Edit = (FieldPath, Option<Value>);
/// Why the object must be left alone.
type Refused = (Reason, String);

/// The new values of the fields of all these containers. Either all of them can be set, or none is.
///
/// # Errors
/// Why the object must be left alone.
pub(super) fn edits(wanted: &[ContainerEdit], target: &Target) -> Result<Vec<Edit>, Refused> {
    let mut all = Vec::new();
    for edit in wanted {
        let Some(found) = find(edit, target)? else { continue };
        let container = found.path.node(&target.object).unwrap_or(&Value::Null);
        let of_container =
            |problem: String| (Reason::NotApplicable, format!("container {}: {problem}", edit.name));
        if !edit.env.is_empty() && target.slots.metadata_propagates {
            return Err(of_container(format!(
                "labels and annotations of the {} propagate to its pods, so the undo record would show the values of its \
                 variables there; set env on the object itself",
                target.id.kind
            )));
        }
        let image = edit.image.as_ref().map(|image| (found.path.child("image"), Some(json!(image))));
        all.extend(image);
        let env = edit.env.iter().map(|variable| variable_edit(found, container, variable));
        all.extend(env.collect::<Result<Vec<_>, _>>().map_err(of_container)?);
        for amounts in &edit.amounts {
            all.extend(amount_edits(found, container, amounts)?);
        }
        all.extend(flag_edits(edit, found, container).map_err(of_container)?);
    }
    Ok(all)
}

/// The container that an edit means. None if it would mean one of a server that requests no accelerators, while containers
/// beside the server do: what serves without them needs no other image.
fn find<'t>(edit: &ContainerEdit, target: &'t Target) -> Result<Option<&'t Container>, Refused> {
    let containers = &target.slots.containers;
    let of_name = |part: Part| {
        containers.iter().filter(move |container| container.name == edit.name && container.part == part)
    };
    // Containers beside the server may have the same names as its own.
    let only_beside = asks(target, Part::Beside) && !asks(target, Part::Server);
    let is_of_server = of_name(Part::Server).next().is_some();
    let part = if is_of_server && !only_beside { Part::Server } else { Part::Beside };
    let mut found = of_name(part);
    let why = match (found.next(), found.next()) {
        (Some(found), None) => return Ok(Some(found)),
        (None, _) if is_of_server => return Ok(None),
        (Some(_), Some(_)) => format!("more than one container is called {}", edit.name),
        (None, _) if containers.is_empty() => "Firebreak knows no containers of this kind".to_owned(),
        (None, _) => {
            let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
            format!(
                "it has no container {}, only {}; correct the name, or give objects with other containers a step of their own",
                edit.name,
                names.join(", ")
            )
        }
    };
    Err((Reason::NotApplicable, why))
}

/// Whether a container of this part requests accelerators.
fn asks(target: &Target, part: Part) -> bool {
    let of_part = target.slots.containers.iter().filter(|container| container.part == part);
    let paths: Vec<&FieldPath> = of_part.map(|container| &container.path).collect();
    let mut amounts = target.slots.of(&Role::Accelerator);
    amounts.any(|slot| {
        paths.iter().any(|path| slot.path.segments().starts_with(path.segments()))
            && !is_zero(slot.path.read(&target.object).as_deref())
    })
}

/// A variable that is not there is appended as a whole element. One that has another source than a value stays.
fn variable_edit(found: &Container, container: &Value, variable: &VariableSpec) -> Result<Edit, String> {
    let name = &variable.name;
    let list = container.get("env").and_then(Value::as_array);
    let mut of_name =
        list.into_iter().flatten().filter(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    let element = Segment::Element { key: "name".to_owned(), value: name.clone() };
    let path = found.path.child("env").with(element);
    // The API server drops an empty value.
    let value = Some(json!(variable.value)).filter(|_| !variable.value.is_empty());
    match (of_name.next(), of_name.next()) {
        (None, _) => {
            let mut entry = json!({"name": name});
            if let Some(value) = value {
                entry["value"] = value;
            }
            Ok((path, Some(entry)))
        }
        (Some(_), Some(_)) => Err(format!("the variable {name} occurs twice")),
        (Some(entry), None) if entry.get("valueFrom").is_some_and(|from| !from.is_null()) => {
            Err(format!("the variable {name} comes from valueFrom, which is not replaced by a value"))
        }
        (Some(_), None) => Ok((path.child("value"), value)),
    }
}

/// Request and limit of one resource. The half that is absent is never added alone: the owner's next edit of the other half
/// could then be invalid. A half that the policy does not set counts like the other one, where it must be set or the two
/// would contradict each other.
fn amount_edits(found: &Container, container: &Value, wanted: &Amounts) -> Result<Vec<Edit>, Refused> {
    let resource = wanted.resource;
    let present =
        |map: &str| container.get("resources")?.get(map)?.get(resource).filter(|amount| !amount.is_null());
    let (request, limit) = (present("requests"), present("limits"));
    if [request, limit].into_iter().flatten().any(|amount| quantity(amount).is_none()) {
        let problem = format!("container {}: its {resource} is not a quantity", found.name);
        return Err((Reason::OutOfBounds, problem));
    }
    let (given, most) = (wanted.request.as_ref(), wanted.limit.as_ref());
    let text = |amount: &String| json!(amount);
    let (new_request, new_limit) = match (request, limit) {
        (None, None) => (given.or(most), most.or(given)),
        (Some(_), None) => (given.or(most), None),
        (None, Some(_)) => (None, most.or(given)),
        (Some(request), Some(limit)) => (
            given.or(most.filter(|most| exceeds(request, &text(most)))),
            most.or(given.filter(|given| exceeds(&text(given), limit))),
        ),
    };
    let path = |map: &str| found.path.child("resources").child(map).child(resource);
    let edits = [("limits", new_limit), ("requests", new_request)];
    Ok(edits.into_iter().filter_map(|(map, amount)| Some((path(map), Some(text(amount?))))).collect())
}

/// Flags that are set, and then those that are removed, the last one of a list first.
fn flag_edits(edit: &ContainerEdit, found: &Container, container: &Value) -> Result<Vec<Edit>, String> {
    let mut edits = Vec::new();
    for (flag, value) in &edit.set {
        let path = match place(found, container, flag)? {
            Some(place) => {
                if !place.takes(value) {
                    let form = if *value == Value::Bool(true) { "with" } else { "without" };
                    return Err(format!("{flag} is there {form} a value"));
                }
                if place.has_many_values(container) {
                    return Err(format!(
                        "{flag} cannot be set, because it is not clear which words are its value; write it as \
                         {flag}=VALUE"
                    ));
                }
                found.flag(place.list, &place.flag)
            }
            None => match (&found.new_flags, found.unread_variables.first()) {
                (Err(why), _) => return Err(format!("{flag} cannot be added, because {why}")),
                (Ok(_), Some(variable)) => return Err(unread(flag, variable)),
                (Ok(list), None) => found.flag(list, flag),
            },
        };
        edits.push((path, Some(value.clone())));
    }
    let mut removed = Vec::new();
    let mut names = BTreeSet::new();
    for flag in edit.remove.iter().filter(|flag| names.insert(flag::canonical(flag))) {
        match place(found, container, flag)? {
            Some(place) => removed.push(place),
            None => {
                let mut unread_places = found.unread_variables.iter().chain(&found.unread_files);
                if let Some(where_) = unread_places.next() {
                    return Err(unread(flag, where_));
                }
            }
        }
    }
    removed.sort_by_key(|place| Reverse((place.list, place.at)));
    check_removal(container, &removed)?;
    edits.extend(removed.iter().map(|place| (found.flag(place.list, &place.flag), None)));
    Ok(edits)
}

fn unread(flag: &str, where_: &str) -> String {
    format!("{flag} may be in {where_}, which is not read; move the flag to args")
}

/// Where a container has a flag.
struct Place {
    list: &'static str,
    /// As it is written there.
    flag: String,
    how: Given,
    at: usize,
}

impl Place {
    /// Whether the flag can get this value in the form that it has.
    fn takes(&self, value: &Value) -> bool {
        matches!(self.how, Given::Bare(_)) == (*value == Value::Bool(true))
    }

    /// Whether more than one word follows the flag.
    fn has_many_values(&self, container: &Value) -> bool {
        let arguments = container.get(self.list).and_then(Value::as_array);
        arguments.is_some_and(|arguments| flag::has_many_values(arguments, &self.flag))
    }
}

/// Where the flag is, by whichever of its names; none if it is not there.
fn place(of: &Container, container: &Value, flag: &str) -> Result<Option<Place>, String> {
    let spellings = flag::spellings(flag);
    let letter = flag::one_letter(flag);
    if let Some(letter) = letter {
        check_letter(of, container, flag, letter)?;
    }
    let mut found = None;
    for list in LISTS {
        let Some(arguments) = container.get(list).and_then(Value::as_array) else { continue };
        for flag in &spellings {
            let how = flag::given(arguments, flag);
            let at = match how {
                Given::Not => continue,
                // In the script of a shell, the letter may belong to any program.
                Given::InText if letter == Some(flag) => continue,
                Given::Joined(at) | Given::Apart(at) | Given::Bare(at) => at,
                Given::Twice | Given::InText => {
                    return Err(format!("{flag}: {}", how.problem().unwrap_or_default()));
                }
            };
            if found.is_some() {
                return Err(format!("{flag}: {}", Given::Twice.problem().unwrap_or_default()));
            }
            found = Some(Place { list, flag: flag.clone(), how, at });
        }
    }
    Ok(found)
}

/// Whether it is clear what the other name of the flag means, which is one letter.
fn check_letter(of: &Container, container: &Value, flag: &str, letter: &str) -> Result<(), String> {
    let mut lists = LISTS.iter().filter_map(|list| container.get(list)?.as_array());
    let is_unclear = |list: &Vec<Value>| {
        let is_attached = flag::is_attached(list, letter);
        match of.runs {
            Runs::ModelServer => is_attached,
            Runs::Unknown => !matches!(flag::given(list, letter), Given::Not | Given::InText),
        }
    };
    if lists.any(is_unclear) {
        return Err(format!("{letter} may be {flag}; write it there as {flag}=VALUE"));
    }
    Ok(())
}

/// Removing a flag must take its own value with it and nothing else.
fn check_removal(container: &Value, removed: &[Place]) -> Result<(), String> {
    let list_of = |list: &str| container.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
    for list in LISTS {
        let original = list_of(list);
        let mut rest = original.clone();
        for Place { flag, how, .. } in removed.iter().filter(|place| place.list == list) {
            let next_list = LISTS.iter().skip_while(|other| **other != list).nth(1).map(|next| list_of(next));
            let is_cut = matches!(how, Given::Bare(at) if at + 1 == original.len())
                && next_list.and_then(|next| next.first().cloned()).is_some_and(|next| !flag::is_flag(&next));
            let changes = flag::read(&rest, flag) != flag::read(&original, flag);
            if is_cut || changes || flag::has_many_values(&rest, flag) {
                return Err(format!(
                    "{flag} cannot be removed, because it is not clear which words are its value"
                ));
            }
            flag::write(&mut rest, flag, None).map_err(|problem| format!("{flag}: {problem}"))?;
        }
    }
    Ok(())
}
