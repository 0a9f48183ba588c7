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
    any(object, counted);
}

/// A file in a ConfigMap: YAML or JSON is redacted like an object, and loses its comments. What has several lines and is
/// something else goes.
fn file(content: &mut Value, counted: &mut Redactions) {
    let Some(text) = content.as_str() else { return };
    let lines = text.trim().lines().count();
    let parsed = serde_saphyr::from_str::<Value>(text).ok();
    if let Some(mut parsed @ (Value::Object(_) | Value::Array(_))) = parsed {
        any(&mut parsed, counted);
        *content = serde_saphyr::to_string(&parsed).map_or_else(|_| MARK.into(), Value::String);
    } else if lines > 1 {
        hide(content, Rule::Unreadable, counted);
        *content = format!("{MARK}, {lines} lines").into();
    }
}

/// An annotation, in which a tool may keep a copy of an object.
fn annotation(content: &mut Value, counted: &mut Redactions) {
    let Some(text) = content.as_str() else { return };
    let is_json = text.trim_start().starts_with(['{', '[']);
    match serde_json::from_str::<Value>(text) {
        Ok(mut parsed @ (Value::Object(_) | Value::Array(_))) => {
            any(&mut parsed, counted);
            *content = parsed.to_string().into();
        }
        Err(_) if is_json => hide(content, Rule::Unreadable, counted),
        _ => file(content, counted),
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

/// The values of a flag may be the next items: `[--token, abc, def]`.
fn list(items: &mut [Value], counted: &mut Redactions) {
    let mut is_secret = false;
    for item in items {
        let text = item.as_str().unwrap_or_default();
        let is_flag = text.starts_with('-');
        let names_secret = SECRET_NAME.is_match(text);
        let assigned = text.split_once('=').map(|(name, _)| name);
        let assigned = assigned.filter(|name| SECRET_NAME.is_match(name)).map(str::to_owned);
        if let Some(name) = assigned.filter(|name| !name.contains(char::is_whitespace)) {
            let shown = format!("{name}={MARK}");
            if text != shown {
                counted.count(Rule::NamedSecret);
                *item = shown.into();
            }
        } else if is_secret && !is_flag {
            hide_below(item, Rule::NamedSecret, counted);
        } else {
            any(item, counted);
        }
        if is_flag {
            is_secret = names_secret;
        }
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
    if names_variable(members)
        && let Some(value) = members.get_mut("value")
    {
        hide_below(value, Rule::Variable, counted);
    }
    let kind = members.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (key, value) in members {
        match key.as_str() {
            UNDO => hide(value, Rule::UndoRecord, counted),
            LAST_APPLIED => hide(value, Rule::LastApplied, counted),
            _ if ["env", "envs", "envvars", "environment"]
                .iter()
                .any(|name| key.to_ascii_lowercase().ends_with(name)) =>
            {
                variables(value, counted);
            }
            "binaryData" => hide_below(value, Rule::Unreadable, counted),
            "annotations" if value.is_object() => {
                each(value, |value| annotation(value, counted));
                any(value, counted);
            }
            "data" | "stringData" if kind == "Secret" => hide_below(value, Rule::NamedSecret, counted),
            "data" if kind == "ConfigMap" => {
                each(value, |value| file(value, counted));
                any(value, counted);
            }
            _ if SECRET_NAME.is_match(key) && !is_reference(value) => {
                hide_below(value, Rule::NamedSecret, counted);
            }
            _ => any(value, counted),
        }
    }
}

/// Whether this has the name of a variable or a secret, as in `{name: HF_TOKEN, value: …}` below any key.
fn names_variable(members: &Map<String, Value>) -> bool {
    let is_variable = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            || SECRET_NAME.is_match(name)
    };
    let mut names = ["name", "key"].iter().filter_map(|key| members.get(*key).and_then(Value::as_str));
    names.any(is_variable)
}

/// Variables as a list of names and values, or as a map.
fn variables(variables: &mut Value, counted: &mut Redactions) {
    match variables {
        Value::Array(items) => {
            for item in items {
                if let Some(value) = item.get_mut("value") {
                    hide(value, Rule::Variable, counted);
                }
                let assigned = item.as_str().and_then(|text| text.split_once('='));
                match assigned.filter(|(_, value)| *value != MARK).map(|(name, _)| format!("{name}={MARK}")) {
                    Some(shown) => {
                        counted.count(Rule::Variable);
                        *item = shown.into();
                    }
                    None => any(item, counted),
                }
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

/// Whether this says which Secret or token is mounted, and not what is in it.
fn is_reference(value: &Value) -> bool {
    let keys =
        ["secretName", "name", "items", "optional", "defaultMode", "path", "audience", "expirationSeconds"];
    let is_mount = |members: &Map<String, Value>| {
        ["secretName", "name", "path"].iter().any(|key| members.contains_key(*key))
    };
    value
        .as_object()
        .is_some_and(|members| is_mount(members) && members.keys().all(|key| keys.contains(&key.as_str())))
}

fn each(value: &mut Value, change: impl FnMut(&mut Value)) {
    value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(change);
}

/// Every text and number in a value.
fn hide_below(value: &mut Value, rule: Rule, counted: &mut Redactions) {
    match value {
        Value::String(_) | Value::Number(_) => hide(value, rule, counted),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_below(item, rule, counted)),
        Value::Object(_) => each(value, |value| hide_below(value, rule, counted)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn hide(value: &mut Value, rule: Rule, counted: &mut Redactions) {
    if *value != MARK {
        *value = MARK.into();
        counted.count(rule);
    }
}
