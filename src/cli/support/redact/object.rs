//! Secrets in objects, by their place.

use std::sync::LazyLock;

use firebreak_engine::path::FieldPath;
use firebreak_engine::seal::is_seal;
use firebreak_engine::undo::UNDO;
use regex::Regex;
use serde_json::{Map, Value};

use super::text::{SECRET_WORDS, text};
use super::{MARK, Redactions, Rule};

/// In it, kubectl keeps the whole object as it was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

static SECRET_NAME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(&format!("(?i-u:(?:{SECRET_WORDS}))$")).expect("a constant pattern"));

/// Redacts an object in place. Its managedFields go, because they say nothing that a person reads.
pub fn object(object: &mut Value, counted: &mut Redactions) {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if object["kind"] == "ConfigMap" {
        for content in
            object.get_mut("data").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
        {
            file(content, counted);
        }
    }
    any(object, counted);
}

/// A file in a ConfigMap: YAML or JSON is redacted like an object, and loses its comments.
fn file(content: &mut Value, counted: &mut Redactions) {
    let parsed = content.as_str().and_then(|text| serde_saphyr::from_str::<Value>(text).ok());
    if let Some(mut parsed @ (Value::Object(_) | Value::Array(_))) = parsed {
        any(&mut parsed, counted);
        *content = serde_saphyr::to_string(&parsed).map_or_else(|_| MARK.into(), Value::String);
    }
}

fn any(value: &mut Value, counted: &mut Redactions) {
    if is_seal(value) {
        hide(value, Rule::ChangedValue, counted);
        return;
    }
    match value {
        Value::String(content) => *content = text(content, counted),
        Value::Array(items) => list(items, counted),
        Value::Object(members) => map(members, counted),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a flag may be the next item: `[--token, abc]`.
fn list(items: &mut [Value], counted: &mut Redactions) {
    let mut is_secret = false;
    for item in items {
        let is_flag = |item: &Value| item.as_str().is_some_and(|text| text.starts_with('-'));
        let names_secret = is_flag(item) && item.as_str().is_some_and(|text| SECRET_NAME.is_match(text));
        if is_secret && !is_flag(item) {
            hide(item, Rule::NamedSecret, counted);
        } else {
            any(item, counted);
        }
        is_secret = names_secret;
    }
}

fn map(members: &mut Map<String, Value>, counted: &mut Redactions) {
    if is_confidential_change(members) {
        for key in ["before", "after", "value"] {
            if let Some(value) = members.get_mut(key) {
                hide(value, Rule::ChangedValue, counted);
            }
        }
    }
    for (key, value) in members {
        match key.as_str() {
            UNDO => hide(value, Rule::UndoRecord, counted),
            LAST_APPLIED => hide(value, Rule::LastApplied, counted),
            "env" => variables(value, counted),
            _ if SECRET_NAME.is_match(key) && (value.is_string() || value.is_number()) => {
                hide(value, Rule::NamedSecret, counted);
            }
            _ => any(value, counted),
        }
    }
}

/// Variables as a list of names and values, or as a map.
fn variables(variables: &mut Value, counted: &mut Redactions) {
    match variables {
        Value::Array(items) => {
            for item in items {
                if let Some(value) = item.get_mut("value") {
                    hide(value, Rule::Variable, counted);
                }
                any(item, counted);
            }
        }
        Value::Object(members) => {
            members.values_mut().for_each(|value| hide(value, Rule::Variable, counted));
        }
        other => any(other, counted),
    }
}

/// Whether this is a changed field whose values may be secrets: of a variable, or of a flag. A path that cannot be read
/// may be either.
fn is_confidential_change(members: &Map<String, Value>) -> bool {
    let is_change = ["before", "after", "value"].iter().any(|key| members.contains_key(*key));
    let Some(path) = members.get("path").and_then(Value::as_str).filter(|_| is_change) else {
        return false;
    };
    // Paths of Firebreak; other things have a path, too, such as a probe.
    path.starts_with('/')
        && path.parse::<FieldPath>().map_or(true, |path| path.is_variable() || path.is_flag())
}

fn hide(value: &mut Value, rule: Rule, counted: &mut Redactions) {
    if *value != MARK {
        *value = MARK.into();
        counted.count(rule);
    }
}
