//! Secrets in objects, by their place.

use std::sync::LazyLock;

use firebreak_engine::path::FieldPath;
use firebreak_engine::seal::is_seal;
use firebreak_engine::undo::UNDO;
use regex::Regex;
use serde_json::{Map, Value};

use super::text::{ENV_WORDS, HEADER_WORDS, SECRET_WORDS, text};
use super::value::is_flag;
use super::{MARK, Redactions, Rule};

/// In it, kubectl keeps the whole object as it was applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| ends_in(SECRET_WORDS));
static HEADER_NAME: LazyLock<Regex> = LazyLock::new(|| ends_in(HEADER_WORDS));
static ENV_NAME: LazyLock<Regex> = LazyLock::new(|| ends_in(ENV_WORDS));

fn ends_in(words: &str) -> Regex {
    Regex::new(&format!("(?i-u:(?:{words}))$")).expect("a constant pattern")
}

/// Redacts an object in place. Its managedFields go, because they say nothing that a person reads.
pub fn object(object: &mut Value, counted: &mut Redactions) {
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    any(object, counted);
}

/// A file in a ConfigMap, or an annotation, in which a tool may keep a copy of an object: YAML or JSON is redacted like an
/// object, and loses its comments. What may be one and cannot be read goes.
fn file(content: &mut Value, counted: &mut Redactions) {
    let Some(text) = content.as_str() else { return any(content, counted) };
    let lines = text.trim().lines().count();
    let parsed = serde_json::from_str(text).ok().or_else(|| serde_saphyr::from_str::<Value>(text).ok());
    if let Some(mut parsed @ (Value::Object(_) | Value::Array(_))) = parsed {
        any(&mut parsed, counted);
        *content = serde_saphyr::to_string(&parsed).map_or_else(|_| MARK.into(), Value::String);
    } else if lines > 1 {
        hide(content, Rule::Unreadable, counted);
        *content = format!("{MARK}, {lines} lines").into();
    } else if text.trim_start().starts_with(['{', '[']) {
        hide(content, Rule::Unreadable, counted);
    } else {
        any(content, counted);
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
    let (mut is_secret, mut is_first) = (false, false);
    for item in items {
        let text = item.as_str().unwrap_or_default();
        let is_flag = is_flag(text, is_secret && is_first);
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
        is_first = is_flag;
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
    if let Some(rule) = names_secret(members)
        && let Some(value) = members.get_mut("value")
    {
        hide_below(value, rule, counted);
    }
    let kind = members.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (key, value) in members {
        match (key.as_str(), value) {
            ("data" | "stringData", value) if kind == "Secret" => {
                hide_below(value, Rule::NamedSecret, counted);
            }
            ("data", Value::Object(files)) if kind == "ConfigMap" => each(files, file, counted),
            ("annotations", Value::Object(annotations)) => each(annotations, file, counted),
            (key, value) => member(key, value, any, counted),
        }
    }
}

type Redact = fn(&mut Value, &mut Redactions);

fn each(members: &mut Map<String, Value>, otherwise: Redact, counted: &mut Redactions) {
    members.iter_mut().for_each(|(key, value)| member(key, value, otherwise, counted));
}

/// A member by its key; `otherwise` redacts one whose key does not say enough.
fn member(key: &str, value: &mut Value, otherwise: Redact, counted: &mut Redactions) {
    match key {
        UNDO => hide(value, Rule::UndoRecord, counted),
        LAST_APPLIED => hide(value, Rule::LastApplied, counted),
        "binaryData" => hide_below(value, Rule::Unreadable, counted),
        _ if SECRET_NAME.is_match(key) && !is_reference(value) => {
            hide_below(value, Rule::NamedSecret, counted);
        }
        // A map is the configuration of one, as in `authorization: {type: Bearer}`.
        _ if HEADER_NAME.is_match(key) && !value.is_object() => hide_below(value, Rule::Header, counted),
        _ if ENV_NAME.is_match(key) => variables(value, otherwise, counted),
        _ => otherwise(value, counted),
    }
}

/// The rule for the value of a variable, a secret or a header by its name, as in `{name: HF_TOKEN, value: …}` below any key.
fn names_secret(members: &Map<String, Value>) -> Option<Rule> {
    let rule = |name: &str| {
        let is_constant = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        let is_variable = name.bytes().all(is_constant) || SECRET_NAME.is_match(name);
        let header = HEADER_NAME.is_match(name).then_some(Rule::Header);
        if is_variable { Some(Rule::Variable) } else { header }
    };
    ["name", "key"].iter().filter_map(|key| members.get(*key)?.as_str()).find_map(rule)
}

/// Variables as a list of names and values, or as a map, or as one assignment.
fn variables(variables: &mut Value, otherwise: Redact, counted: &mut Redactions) {
    match variables {
        Value::Array(items) => {
            for item in items {
                if let Some(value) = item.get_mut("value") {
                    hide(value, Rule::Variable, counted);
                }
                assignment(item, any, counted);
            }
        }
        Value::Object(members) => {
            members.values_mut().for_each(|value| hide(value, Rule::Variable, counted));
        }
        other => assignment(other, otherwise, counted),
    }
}

fn assignment(item: &mut Value, otherwise: Redact, counted: &mut Redactions) {
    let assigned = item.as_str().filter(|text| !text.contains('\n')).and_then(|text| text.split_once('='));
    match assigned.map(|(name, value)| (value != MARK, format!("{name}={MARK}"))) {
        Some((true, shown)) => {
            counted.count(Rule::Variable);
            *item = shown.into();
        }
        Some((false, _)) => {}
        None => otherwise(item, counted),
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

/// Every text and number in a value.
fn hide_below(value: &mut Value, rule: Rule, counted: &mut Redactions) {
    match value {
        Value::String(_) | Value::Number(_) => hide(value, rule, counted),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_below(item, rule, counted)),
        Value::Object(members) => members.values_mut().for_each(|value| hide_below(value, rule, counted)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn hide(value: &mut Value, rule: Rule, counted: &mut Redactions) {
    if *value != MARK {
        *value = MARK.into();
        counted.count(rule);
    }
}
