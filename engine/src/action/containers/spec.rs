//! How a policy says what containers need, and its parsed form.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::flag;
use crate::rules::Faults;
use crate::value::quantity;

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
    pub(super) name: String,
    pub(super) image: Option<String>,
    /// Each flag with its value; `true` if it has none.
    pub(super) set: Vec<(String, Value)>,
    pub(super) remove: Vec<String>,
    pub(super) env: Vec<VariableSpec>,
    pub(super) amounts: Vec<Amounts>,
}

/// Request and limit of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) resource: &'static str,
    pub(super) request: Option<String>,
    pub(super) limit: Option<String>,
}

/// The containers of a policy, each with what it gets and loses.
pub(in crate::action) fn parse(
    specs: &[ContainerSpec],
    field: &str,
    faults: &mut Faults,
) -> Option<Vec<ContainerEdit>> {
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
    let mut check = |place: String, flag: &str, name: String| {
        if !is_flag_name(flag) {
            wrong.push((place, format!("\"{flag}\" is not a flag: write --flag=value to set it, or --flag")));
        } else if !flags.insert(name) {
            wrong.push((place, format!("{flag}, or another name of it, occurs twice in set and remove")));
        }
    };
    let set: Vec<(String, Value)> = args.set.iter().map(|text| flag_and_value(text)).collect();
    for (at, (flag, _)) in set.iter().enumerate() {
        check(format!(".args.set[{at}]"), flag, flag::canonical(flag));
    }
    let is_set = |name: &String| set.iter().any(|(flag, _)| flag::canonical(flag) == *name);
    for (at, flag) in args.remove.iter().enumerate() {
        // To remove a flag by all its names is no mistake.
        let name = flag::canonical(flag);
        let name = if is_set(&name) { name } else { flag.replace('_', "-") };
        check(format!(".args.remove[{at}]"), flag, name);
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
    !flag.trim_start_matches('-').is_empty()
        && flag.starts_with('-')
        && !flag.contains(|c: char| c == '=' || c.is_whitespace())
}

/// One of the amounts.
type Pick = fn(&AmountsSpec) -> &Option<String>;

fn amounts(spec: Option<&ResourcesSpec>, wrong: &mut Vec<(String, String)>) -> Vec<Amounts> {
    let Some(ResourcesSpec { requests, limits }) = spec else { return Vec::new() };
    let of = |amounts: &Option<AmountsSpec>, pick: Pick| {
        amounts.as_ref().and_then(|amounts| pick(amounts).clone())
    };
    let resources: [(&str, Pick); 2] =
        [("cpu", |amounts| &amounts.cpu), ("memory", |amounts| &amounts.memory)];
    let mut found = Vec::new();
    for (resource, pick) in resources {
        let (request, limit) = (of(requests, pick), of(limits, pick));
        for (map, amount) in [("requests", &request), ("limits", &limit)] {
            if amount.as_ref().is_some_and(|amount| quantity(&json!(amount)).is_none_or(|amount| amount <= 0))
            {
                wrong.push((
                    format!(".resources.{map}.{resource}"),
                    format!(
                        "{} is not a quantity above 0, such as 16 or 48Gi",
                        amount.as_deref().unwrap_or_default()
                    ),
                ));
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

pub(super) fn exceeds(left: &Value, right: &Value) -> bool {
    matches!((quantity(left), quantity(right)), (Some(left), Some(right)) if left > right)
}

impl ContainerEdit {
    /// The name of the container.
    pub(in crate::action) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it gets another image.
    pub(in crate::action) fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Whether it gets or loses this flag.
    pub(in crate::action) fn has_flag(&self, flag: &str) -> bool {
        let same = flag::spellings(flag);
        self.set.iter().map(|(flag, _)| flag).chain(&self.remove).any(|other| same.contains(other))
    }

    /// The value that it gives to this variable.
    pub(in crate::action) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
    }
}
