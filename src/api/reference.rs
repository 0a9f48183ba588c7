//! The reference of a policy's fields for people, from the descriptions that the API server has: `docs/policy-reference.md`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::manifests::crds;

/// Parts that many fields share. Each is described once, in a section of its own.
const SHARED: [&str; 3] = ["targets", "selector", "namespaces"];

const HEAD: &str = "<!-- Generated from src/api by `make generate`; do not edit. -->\n\
# Policy reference\n\n\
All fields of `spec` of a RemediationPolicy, with their defaults. `kubectl explain rpol.spec --recursive` prints the same from the \
cluster.\n\n\
`targets`, `selector` and `namespaces` mean the same wherever they occur, and are described [at the end](#targets).\n";

/// The page.
pub fn policy_reference() -> String {
    let policy = crds().swap_remove(0);
    let policy = serde_json::to_value(policy).expect("a definition is maps, lists and scalars");
    let spec = &policy["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut shared = BTreeMap::new();
    let (mut first, mut sections) = (Vec::new(), String::new());
    for (name, field) in members(spec) {
        first.push(row(name, field));
        let mut rows = Vec::new();
        describe("", field, &mut rows, &mut shared);
        if !rows.is_empty() {
            sections += &section(name, &rows);
        }
    }
    let mut page = HEAD.to_owned() + &section("spec", &first) + &sections;
    for name in SHARED {
        let Some(part) = shared.remove(name) else { continue };
        let mut rows = Vec::new();
        describe("", &part, &mut rows, &mut shared);
        page += &section(name, &rows);
    }
    page
}

/// Adds a row for each field below this one. `at` is the path to it.
fn describe(at: &str, schema: &Value, rows: &mut Vec<String>, shared: &mut BTreeMap<String, Value>) {
    let item = if schema["items"].is_object() { &schema["items"] } else { schema };
    for (name, field) in members(item) {
        let path = if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
        rows.push(row(&path, field));
        if SHARED.contains(&name) {
            shared.entry(name.to_owned()).or_insert_with(|| field.clone());
        } else {
            describe(&path, field, rows, shared);
        }
    }
}

fn members(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    schema["properties"].as_object().into_iter().flatten().map(|(name, field)| (name.as_str(), field))
}

fn section(name: &str, rows: &[String]) -> String {
    format!("\n## {name}\n\n| field | type | |\n|---|---|---|\n{}\n", rows.join("\n"))
}

fn row(path: &str, field: &Value) -> String {
    let mut text = field["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(values) = field["enum"].as_array().or_else(|| field["items"]["enum"].as_array()) {
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", shown(value))).collect();
        text += &format!(" One of {}.", values.join(", "));
    }
    if let Some(default) =
        Some(&field["default"]).filter(|default| !default.is_null() && !default.is_object())
    {
        text += &format!(" Defaults to `{}`.", shown(default));
    }
    format!("| `{path}` | {} | {text} |", type_of(field))
}

fn type_of(field: &Value) -> String {
    let own = field["type"].as_str().unwrap_or("any");
    match own {
        "array" => format!("list of {}s", type_of(&field["items"])),
        "object" if field["additionalProperties"].is_object() => {
            format!("map of {}s", type_of(&field["additionalProperties"]))
        }
        _ => own.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn committed_definitions_have_their_reference() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/policy-reference.md");
        let page = policy_reference();
        // `make generate` runs this test with the variable set.
        if std::env::var_os("FIREBREAK_GENERATE").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == page, "{} is not up to date: run `make generate`", path.display());
    }

    #[test]
    fn the_defaults_that_people_look_for_are_there() {
        let page = policy_reference();
        for row in [
            "| `cooldown` | string | The minimum time between the end of any response",
            "| `between` | string |",
            "| `action.cpuFallback.targets` | object |",
            "\n## targets\n",
            "Defaults to `Observe`.",
        ] {
            assert!(page.contains(row), "{row} is not in\n{page}");
        }
    }
}
