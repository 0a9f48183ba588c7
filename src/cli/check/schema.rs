//! What the API server would reject in an object: the schema of its CRD, as far
//! as our schemas go.
//!
//! Unlike the API server this names unknown fields instead of dropping them.
//! Leaves out the rules in CEL (`x-kubernetes-validations`): those of a policy
//! are evaluated by the engine, and those of an Incident compare it with an
//! older one.

use std::collections::BTreeMap;

use firebreak_engine::period;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use regex::Regex;
use serde_json::Value;

use crate::api;
use crate::kubernetes::impersonate::{is_dns_label, is_dns_subdomain};

/// The group of our kinds.
const GROUP: &str = "firebreak.dev";
/// Fields of metadata that people write. The others are the server's.
const METADATA: &[&str] =
    &["name", "generateName", "namespace", "labels", "annotations", "finalizers", "ownerReferences"];
/// Fields of metadata that an object that was read from a cluster has.
const SERVERS_METADATA: &[&str] = &[
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// The schemas of our kinds.
pub struct Schemas {
    /// By kind: the version and the schema.
    kinds: BTreeMap<String, (String, JSONSchemaProps)>,
}

impl Schemas {
    /// The schemas of this release.
    pub fn new() -> Self {
        let kinds = api::crds().into_iter().filter_map(|crd| {
            let version = crd.spec.versions.into_iter().next()?;
            let schema = version.schema?.open_api_v3_schema?;
            Some((crd.spec.names.kind, (version.name, schema)))
        });
        Self { kinds: kinds.collect() }
    }

    /// What is wrong with an object, each fault with its field; none at all if it is not of our group.
    pub fn check(&self, object: &Value) -> Option<Vec<String>> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("apiVersion").split_once('/')?;
        if group != GROUP {
            return None;
        }
        let mut faults = Faults::default();
        let Some((served, schema)) = self.kinds.get(text("kind")) else {
            let kinds: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            faults.add("kind", format!("{GROUP} has no {:?}; it has {}", text("kind"), kinds.join(", ")));
            return Some(faults.0);
        };
        if version != served {
            faults.add("apiVersion", format!("must be {GROUP}/{served}"));
        }
        faults.root(object, schema);
        faults.metadata(object.get("metadata").unwrap_or(&Value::Null), text("kind"));
        Some(faults.0)
    }
}

/// The maximum length of a name, because the names of Incidents start with the name of their policy.
fn longest_name(kind: &str) -> usize {
    if kind == "RemediationPolicy" { 40 } else { 63 }
}

#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, field: &str, problem: impl AsRef<str>) {
        self.0.push(format!("{field}: {}", problem.as_ref()));
    }

    fn root(&mut self, object: &Value, schema: &JSONSchemaProps) {
        let parts = schema.properties.iter().flatten();
        for key in object.as_object().into_iter().flat_map(|map| map.keys()) {
            if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&key.as_str()) {
                self.add(key, "unknown field; an object has apiVersion, kind, metadata and spec");
            }
        }
        // The status is the controller's and is not taken from a file.
        for (name, part) in parts.filter(|(name, _)| *name == "spec") {
            match object.get(name) {
                Some(value) => self.value(name, value, part),
                None => self.add(name, "is missing"),
            }
        }
    }

    fn metadata(&mut self, metadata: &Value, kind: &str) {
        let Some(fields) = metadata.as_object() else {
            return self.add("metadata", "is missing");
        };
        for field in fields.keys() {
            if !METADATA.contains(&field.as_str()) && !SERVERS_METADATA.contains(&field.as_str()) {
                self.add(
                    &format!("metadata.{field}"),
                    format!("unknown field; known are {}", METADATA.join(", ")),
                );
            }
        }
        match metadata.get("name").and_then(Value::as_str) {
            Some(name) if !is_dns_subdomain(name) => {
                self.add("metadata.name", "must consist of lower case letters, digits, dots and dashes");
            }
            Some(name) if name.len() > longest_name(kind) => self.add(
                "metadata.name",
                format!("has {} characters; at most {} are allowed", name.len(), longest_name(kind)),
            ),
            Some(_) => {}
            None if metadata.get("generateName").is_some_and(Value::is_string) => {}
            None => self.add("metadata.name", "is missing"),
        }
        if metadata.get("namespace").is_some_and(|namespace| !namespace.as_str().is_some_and(is_dns_label)) {
            self.add("metadata.namespace", "is not a valid namespace name");
        }
        for map in ["labels", "annotations"] {
            for (key, value) in metadata.get(map).and_then(Value::as_object).into_iter().flatten() {
                if !value.is_string() {
                    self.add(
                        &format!("metadata.{map}.{key}"),
                        format!("must be a string, not {}", kind_of(value)),
                    );
                }
            }
        }
    }

    fn value(&mut self, at: &str, value: &Value, schema: &JSONSchemaProps) {
        if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
            return;
        }
        let fits = match schema.type_.as_deref() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("number") => value.is_number(),
            Some("boolean") => value.is_boolean(),
            Some(_) | None => true,
        };
        if !fits {
            let wanted = schema.type_.as_deref().unwrap_or_default();
            let is_quoted_scalar =
                wanted == "string" && !value.is_object() && !value.is_array() && !value.is_null();
            let hint = match unit(&bare(value), schema) {
                Some(hint) => hint,
                None if is_quoted_scalar => "; put it in quotes".to_owned(),
                None => String::new(),
            };
            return self.add(at, format!("must be of type {wanted}, not {}{hint}", kind_of(value)));
        }
        if let Some(allowed) = &schema.enum_
            && !allowed.iter().any(|allowed| allowed.0 == *value)
        {
            let allowed: Vec<String> = allowed.iter().map(|allowed| bare(&allowed.0)).collect();
            self.add(at, format!("{} is not one of {}", bare(value), allowed.join(", ")));
        }
        match value {
            Value::Object(map) => self.object(at, map, schema),
            Value::Array(items) => self.array(at, items, schema),
            Value::String(text) => self.string(at, text, schema),
            Value::Number(number) => {
                let number = number.as_f64().unwrap_or_default();
                let too_small = schema.minimum.is_some_and(|least| number < least);
                let too_large = schema.maximum.is_some_and(|most| number > most);
                if too_small || too_large {
                    let bound = |bound: Option<f64>| {
                        bound.map_or_else(|| "any".to_owned(), |bound| bound.to_string())
                    };
                    self.add(
                        at,
                        format!("must be from {} to {}", bound(schema.minimum), bound(schema.maximum)),
                    );
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, at: &str, map: &serde_json::Map<String, Value>, schema: &JSONSchemaProps) {
        let empty = BTreeMap::new();
        let known = schema.properties.as_ref().unwrap_or(&empty);
        for required in schema.required.iter().flatten().filter(|field| !map.contains_key(*field)) {
            self.add(&format!("{at}.{required}"), "is missing");
        }
        if schema.max_properties.is_some_and(|most| exceeds(map.len(), most)) {
            self.add(
                at,
                format!(
                    "has {} entries; at most {} are allowed",
                    map.len(),
                    schema.max_properties.unwrap_or(0)
                ),
            );
        }
        for (key, value) in map {
            let here = format!("{at}.{key}");
            match (known.get(key), &schema.additional_properties) {
                (Some(member), _) => self.value(&here, value, member),
                (None, Some(JSONSchemaPropsOrBool::Schema(any))) => self.value(&here, value, any),
                (None, Some(JSONSchemaPropsOrBool::Bool(true))) => {}
                (None, Some(JSONSchemaPropsOrBool::Bool(false)) | None) => {
                    let names: Vec<&str> = known.keys().map(String::as_str).collect();
                    let names = if names.is_empty() {
                        "there is none".to_owned()
                    } else {
                        format!("known are {}", names.join(", "))
                    };
                    self.add(&here, format!("unknown field; {names}"));
                }
            }
        }
    }

    fn array(&mut self, at: &str, items: &[Value], schema: &JSONSchemaProps) {
        if schema.max_items.is_some_and(|most| exceeds(items.len(), most)) {
            self.add(
                at,
                format!("has {} entries; at most {} are allowed", items.len(), schema.max_items.unwrap_or(0)),
            );
        }
        if schema.min_items.is_some_and(|least| is_below(items.len(), least)) {
            self.add(
                at,
                format!("has {} entries; at least {} are needed", items.len(), schema.min_items.unwrap_or(0)),
            );
        }
        if schema.x_kubernetes_list_type.as_deref() == Some("set") {
            for (index, item) in
                items.iter().enumerate().filter(|(index, item)| items[..*index].contains(item))
            {
                self.add(&format!("{at}[{index}]"), format!("{} occurs twice", bare(item)));
            }
        }
        if let Some(JSONSchemaPropsOrArray::Schema(each)) = &schema.items {
            for (index, item) in items.iter().enumerate() {
                self.value(&format!("{at}[{index}]"), item, each);
            }
        }
    }

    fn string(&mut self, at: &str, text: &str, schema: &JSONSchemaProps) {
        let length = text.chars().count();
        if schema.max_length.is_some_and(|most| exceeds(length, most)) {
            self.add(
                at,
                format!("has {length} characters; at most {} are allowed", schema.max_length.unwrap_or(0)),
            );
        }
        if schema.min_length.is_some_and(|least| is_below(length, least)) {
            self.add(at, "must not be empty");
        }
        if let Some(pattern) = &schema.pattern
            && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
        {
            let hint = unit(text, schema).unwrap_or_default();
            self.add(at, format!("{text:?} does not match {pattern}{hint}"));
        }
    }
}

/// Whether there are more than this.
fn exceeds(number: usize, most: i64) -> bool {
    usize::try_from(most).is_ok_and(|most| number > most)
}

/// Whether there are fewer than this.
fn is_below(number: usize, least: i64) -> bool {
    usize::try_from(least).is_ok_and(|least| number < least)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What to do about a number where a duration is wanted.
fn unit(text: &str, schema: &JSONSchemaProps) -> Option<String> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_duration = schema.pattern.as_deref() == Some(period::PATTERN);
    (is_number && is_duration).then(|| format!("; add a unit: {text}s"))
}

/// Text without its quotes, anything else as JSON.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
