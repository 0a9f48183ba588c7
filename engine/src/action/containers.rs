//! What containers need to run without an accelerator: another image, flags, variables, CPU and memory.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::facts::{Container, Target};
use crate::flag::{self, Given};
use crate::path::{FieldPath, Segment};
use crate::reason::Reason;
use crate::rules::Faults;
use crate::value::quantity;

/// The lists of arguments, in the order in which a program gets them.
const LISTS: [&str; 2] = ["command", "args"];

/// What one container needs to run without an accelerator. At least one of image, args, env and resources must be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.image) || has(self.args) || has(self.env) || has(self.resources)", "message": "at least one of image, args, env and resources must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// The name of the container. An object without it is left alone.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub name: String,
    /// Its image during the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 512)))]
    pub image: Option<String>,
    /// The flags that it gets, and those that it loses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<ArgsSpec>,
    /// Its variables during the fallback. The others stay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 16)))]
    pub env: Vec<VariableSpec>,
    /// Its CPU and memory during the fallback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,
}

/// The flags in `args` or `command` of a container. Other arguments stay as they are, and so does their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ArgsSpec {
    /// The flags that it gets, as `--flag=value`, or `--flag` if the flag has no value. A flag that is there keeps its form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(
            length(max = 16),
            inner(length(min = 2, max = 512), regex(pattern = "^-[^=\\s]+(=(.|\\n)*)?$"))
        )
    )]
    pub set: Vec<String>,
    /// The flags that it loses, as `--flag`, with their values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 16), inner(length(min = 2, max = 128), regex(pattern = "^-[^=\\s]+$")))
    )]
    pub remove: Vec<String>,
}

/// A variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct VariableSpec {
    /// Its name.
    #[cfg_attr(
        feature = "schema",
        schemars(length(min = 1, max = 128), regex(pattern = "^[-._a-zA-Z][-._a-zA-Z0-9]*$"))
    )]
    pub name: String,
    /// Its value. Everybody who may read the policy can read it.
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub value: String,
}

/// CPU and memory of a container. Where a container has only the request or only the limit of a resource, only that one is
/// changed; where it has neither, it gets both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResourcesSpec {
    /// The requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<AmountsSpec>,
    /// The limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<AmountsSpec>,
}

/// Amounts of CPU and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AmountsSpec {
    /// A quantity such as `"8"` or `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32)))]
    pub cpu: Option<String>,
    /// A quantity such as `48Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 32)))]
    pub memory: Option<String>,
}

/// What one container gets and loses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerEdit {
    name: String,
    image: Option<String>,
    /// Each flag with its value; `true` if it has none.
    set: Vec<(String, Value)>,
    remove: Vec<String>,
    env: Vec<VariableSpec>,
    amounts: Vec<Amounts>,
}

/// Request and limit of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Amounts {
    resource: &'static str,
    request: Option<String>,
    limit: Option<String>,
}

/// The containers of a policy, each with what it gets and loses.
pub(super) fn parse(specs: &[ContainerSpec], field: &str, faults: &mut Faults) -> Option<Vec<ContainerEdit>> {
    let mut names = BTreeSet::new();
    let parsed: Vec<Option<ContainerEdit>> = specs
        .iter()
        .enumerate()
        .map(|(at, spec)| {
            let field = format!("{field}.containers[{at}]");
            if !names.insert(&spec.name) {
                faults.add(format!("{field}.name"), format!("\"{}\" occurs twice", spec.name));
                return None;
            }
            container(spec, &field, faults)
        })
        .collect();
    parsed.into_iter().collect()
}

fn container(spec: &ContainerSpec, field: &str, faults: &mut Faults) -> Option<ContainerEdit> {
    let args = spec.args.clone().unwrap_or_default();
    let is_empty =
        spec.image.is_none() && spec.args.is_none() && spec.env.is_empty() && spec.resources.is_none();
    let mut wrong = Vec::new();
    if is_empty {
        wrong.push((String::new(), "at least one of image, args, env and resources must be set".to_owned()));
    }
    let mut flags = BTreeSet::new();
    let mut check = |place: String, flag: &str| {
        if !is_flag_name(flag) {
            wrong.push((place, format!("\"{flag}\" is not a flag: write --flag=value, or --flag")));
        } else if !flags.insert(flag.replace('_', "-")) {
            wrong.push((place, format!("{flag} occurs twice")));
        }
    };
    let set: Vec<(String, Value)> = args.set.iter().map(|text| flag_and_value(text)).collect();
    for (at, (flag, _)) in set.iter().enumerate() {
        check(format!(".args.set[{at}]"), flag);
    }
    for (at, flag) in args.remove.iter().enumerate() {
        check(format!(".args.remove[{at}]"), flag);
    }
    let mut variables = BTreeSet::new();
    for (at, variable) in spec.env.iter().enumerate() {
        if variable.name.is_empty() || variable.name.contains('=') {
            wrong.push((format!(".env[{at}].name"), "is not the name of a variable".to_owned()));
        } else if !variables.insert(&variable.name) {
            wrong.push((format!(".env[{at}].name"), format!("\"{}\" occurs twice", variable.name)));
        }
    }
    let amounts = amounts(spec.resources.as_ref(), &mut wrong);
    if !wrong.is_empty() {
        for (place, problem) in wrong {
            faults.add(format!("{field}{place}"), problem);
        }
        return None;
    }
    Some(ContainerEdit {
        name: spec.name.clone(),
        image: spec.image.clone(),
        set,
        remove: args.remove,
        env: spec.env.clone(),
        amounts,
    })
}

fn flag_and_value(text: &str) -> (String, Value) {
    match text.split_once('=') {
        Some((flag, value)) => (flag.to_owned(), json!(value)),
        None => (text.to_owned(), Value::Bool(true)),
    }
}

fn is_flag_name(flag: &str) -> bool {
    flag.trim_start_matches('-') != ""
        && flag.starts_with('-')
        && !flag.contains(|c: char| c == '=' || c.is_whitespace())
}

fn amounts(spec: Option<&ResourcesSpec>, wrong: &mut Vec<(String, String)>) -> Vec<Amounts> {
    let Some(ResourcesSpec { requests, limits }) = spec else { return Vec::new() };
    let of = |amounts: &Option<AmountsSpec>, pick: fn(&AmountsSpec) -> &Option<String>| {
        amounts.as_ref().and_then(|amounts| pick(amounts).clone())
    };
    let resources: [(&str, fn(&AmountsSpec) -> &Option<String>); 2] =
        [("cpu", |amounts| &amounts.cpu), ("memory", |amounts| &amounts.memory)];
    let mut found = Vec::new();
    for (resource, pick) in resources {
        let (request, limit) = (of(requests, pick), of(limits, pick));
        for (map, amount) in [("requests", &request), ("limits", &limit)] {
            if amount.as_ref().is_some_and(|amount| quantity(&json!(amount)).is_none_or(|amount| amount <= 0))
            {
                wrong.push((format!(".resources.{map}.{resource}"), "is not a quantity above 0".to_owned()));
            }
        }
        if let (Some(request), Some(limit)) = (&request, &limit)
            && exceeds(&json!(request), &json!(limit))
        {
            wrong.push((format!(".resources.requests.{resource}"), "is above the limit".to_owned()));
        }
        if request.is_some() || limit.is_some() {
            found.push(Amounts { resource, request, limit });
        }
    }
    if found.is_empty() {
        wrong.push((".resources".to_owned(), "sets neither CPU nor memory".to_owned()));
    }
    found
}

fn exceeds(left: &Value, right: &Value) -> bool {
    matches!((quantity(left), quantity(right)), (Some(left), Some(right)) if left > right)
}

impl ContainerEdit {
    /// The name of the container.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it gets another image.
    pub(super) fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Whether it gets or loses this flag.
    pub(super) fn has_flag(&self, flag: &str) -> bool {
        let same = |other: &str| other.replace('_', "-") == flag.replace('_', "-");
        self.set.iter().map(|(flag, _)| flag).chain(&self.remove).any(|other| same(other))
    }

    /// The value that it gives to this variable.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }
}

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
        let found = find(edit, target)?;
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

fn find<'t>(edit: &ContainerEdit, target: &'t Target) -> Result<&'t Container, Refused> {
    let containers = &target.slots.containers;
    let mut of_name = containers.iter().filter(|container| container.name == edit.name);
    let why = match (of_name.next(), of_name.next()) {
        (Some(found), None) => return Ok(found),
        (Some(_), Some(_)) => format!("more than one container is called {}", edit.name),
        (None, _) if containers.is_empty() => "Firebreak knows no containers of this kind".to_owned(),
        (None, _) => {
            let names: Vec<&str> = containers.iter().map(|container| container.name.as_str()).collect();
            format!("it has no container {}, only {}", edit.name, names.join(", "))
        }
    };
    Err((Reason::NotApplicable, why))
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
        let path = match place(container, flag)? {
            Some(place) => {
                if !place.takes(value) {
                    let form = if *value == Value::Bool(true) { "with" } else { "without" };
                    return Err(format!("{flag} is there {form} a value"));
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
    for flag in &edit.remove {
        match place(container, flag)? {
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
}

/// Where the flag is, written with dashes or underscores; none if it is not there.
fn place(container: &Value, flag: &str) -> Result<Option<Place>, String> {
    let start = flag.len() - flag.trim_start_matches('-').len();
    let (dashes, name) = flag.split_at(start);
    let spellings: BTreeSet<String> = [name.to_owned(), name.replace('_', "-"), name.replace('-', "_")]
        .into_iter()
        .map(|name| format!("{dashes}{name}"))
        .collect();
    let mut found = None;
    for list in LISTS {
        let Some(arguments) = container.get(list).and_then(Value::as_array) else { continue };
        for flag in &spellings {
            let how = flag::given(arguments, flag);
            let at = match how {
                Given::Not => continue,
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
