//! The CustomResourceDefinitions and the admission policies as YAML: what
//! `firebreak crds` prints and what is committed under `crds/`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::admission::admission;
use super::{Incident, RemediationPolicy};

/// The definitions of all kinds.
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut all = vec![RemediationPolicy::crd(), Incident::crd()];
    for crd in &mut all {
        for version in &mut crd.spec.versions {
            if let Some(schema) = version.schema.as_mut().and_then(|all| all.open_api_v3_schema.as_mut()) {
                simplify(schema);
            }
        }
    }
    all
}

/// The files under `crds/` for an operator in this namespace: name and content.
pub fn files(operator_namespace: &str) -> Vec<(String, String)> {
    let definition = |crd: CustomResourceDefinition| {
        let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
        (name, serde_saphyr::to_string(&crd).expect("a definition is maps, lists and scalars"))
    };
    let policies = ("firebreak.dev_admission.yaml".to_owned(), admission(operator_namespace));
    crds()
        .into_iter()
        .map(definition)
        .chain([policies])
        .map(|(name, yaml)| {
            (name, format!("# Generated from src/api by `make generate`; do not edit.\n{yaml}"))
        })
        .collect()
}

/// All of them in one YAML stream.
pub fn manifests(operator_namespace: &str) -> String {
    files(operator_namespace).into_iter().map(|(_, yaml)| format!("---\n{yaml}")).collect()
}

/// Takes out what the API server does not need and warns about or takes
/// differently than it looks:
/// - `nullable` of optional fields: a null that is stored would be neither
///   absent nor a value. Without it, null is refused, and a merge patch with
///   null removes the field as it should.
/// - formats such as `uint32`, which the API server does not know. Their range
///   is in `minimum` and `maximum`.
fn simplify(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    for member in schema.properties.iter_mut().flat_map(|members| members.values_mut()) {
        simplify(member);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(item)) => simplify(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(simplify),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = schema.additional_properties.as_mut() {
        simplify(value);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::super::admission::SHIPPED_NAMESPACE;
    use super::*;

    /// Calls `check` with every schema below this one and where it is.
    fn walk(at: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
        check(at, schema);
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{at}.{name}"), member, check);
        }
        if schema["items"].is_object() {
            walk(&format!("{at}[]"), &schema["items"], check);
        }
        if schema["additionalProperties"].is_object() {
            walk(&format!("{at}{{}}"), &schema["additionalProperties"], check);
        }
    }

    /// Every schema of every kind but those of the kind's own metadata.
    fn walk_all(mut check: impl FnMut(&str, &Value)) {
        for crd in crds() {
            let crd = serde_json::to_value(crd).unwrap();
            let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
            for part in ["spec", "status"] {
                let at = format!("{}.{part}", crd["spec"]["names"]["kind"].as_str().unwrap());
                walk(&at, &schema[part], &mut check);
            }
        }
    }

    fn free_form(schema: &Value) -> bool {
        schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true)
    }

    #[test]
    fn every_schema_is_bounded() {
        let mut seen = 0;
        walk_all(|at, schema| {
            seen += 1;
            match schema["type"].as_str() {
                Some("string") => assert!(
                    schema["maxLength"].is_u64()
                        || schema["enum"].is_array()
                        || schema["format"] == "date-time",
                    "{at} is a string without a bound"
                ),
                Some("array") => assert!(schema["maxItems"].is_u64(), "{at} is a list without a bound"),
                Some("object") if schema["additionalProperties"].is_object() => {
                    assert!(schema["maxProperties"].is_u64(), "{at} is a map without a bound");
                }
                Some("object" | "integer" | "boolean") => {}
                None => assert!(free_form(schema), "{at} has no type"),
                Some(other) => panic!("{at} is of type {other}"),
            }
        });
        assert!(seen > 100);
    }

    #[test]
    fn no_schema_is_ambiguous() {
        walk_all(|at, schema| {
            for word in ["oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-int-or-string"] {
                assert!(schema.get(word).is_none(), "{at} has {word}");
            }
            assert_eq!(
                free_form(schema),
                ["fields[].before", "fields[].after", "beside.value", "first[].value"]
                    .iter()
                    .any(|end| at.ends_with(end)),
                "{at}"
            );
            assert!(
                schema["format"].is_null()
                    || ["date-time", "int32", "int64"].contains(&schema["format"].as_str().unwrap()),
                "{at} has format {}",
                schema["format"]
            );
        });
    }

    #[test]
    fn every_field_is_described() {
        walk_all(|at, schema| {
            if !at.ends_with("[]") && !at.ends_with("{}") {
                assert!(schema["description"].is_string(), "{at} is not described");
            }
        });
    }

    #[test]
    fn times_are_date_times() {
        walk_all(|at, schema| {
            if at.ends_with("At") || at.ends_with("Time") || at.ends_with(".since") {
                assert_eq!(
                    (&schema["type"], &schema["format"]),
                    (&"string".into(), &"date-time".into()),
                    "{at}"
                );
            }
        });
    }

    #[test]
    fn committed_definitions_are_the_generated_ones() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folders = ["crds", "charts/firebreak/files/crds"];
        let copies = folders.iter().flat_map(|folder| {
            let generated = files(SHIPPED_NAMESPACE).into_iter();
            generated.map(move |(name, content)| (root.join(folder).join(name), content))
        });
        for (path, content) in copies {
            // `make generate` runs this test with the variable set.
            if std::env::var_os("FIREBREAK_GENERATE").is_some() {
                std::fs::write(&path, &content).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == content, "{} is not up to date: run `make generate`", path.display());
        }
    }

    #[test]
    fn the_yaml_reads_back_as_what_it_was() {
        for (crd, (name, yaml)) in crds().into_iter().zip(files(SHIPPED_NAMESPACE)) {
            let read: CustomResourceDefinition = serde_saphyr::from_str(&yaml).unwrap();
            assert_eq!(read, crd, "{name}");
        }
    }
}
