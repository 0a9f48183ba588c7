//! `firebreak get`: the Incidents as a table or as data.

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;
use kube::core::DynamicObject;
use serde_json::{Value, json};

use super::connection::Connection;
use super::screen::{Screen, harmless, note};
use super::time::age;
use super::{Answer, Error};
use crate::api::Incident;
use crate::kubernetes::retry;
use crate::settings::{GetArgs, Output};

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// Prints the Incidents of a namespace or of all, or one of them.
pub async fn run(screen: &Screen, connection: &Connection, args: &GetArgs) -> Result<Answer, Error> {
    match &args.incident {
        Some(name) => one(screen, connection, args, name).await,
        None => all(screen, connection, args).await,
    }
}

async fn one(screen: &Screen, connection: &Connection, args: &GetArgs, name: &str) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let api = connection.raw_incidents(Some(&namespace));
    let raw = retry::read(|| api.get_opt(name)).await;
    let raw =
        raw.map_err(|error| Error::request(format!("cannot read Incident {namespace}/{name}"), &error))?;
    let raw = raw.ok_or_else(|| Error::no_incident(&namespace, name))?;
    match args.output {
        Output::Table | Output::Wide => {
            let wide = args.output == Output::Wide;
            screen.text(&table(vec![raw], false, wide, Timestamp::now()))?;
        }
        Output::Json | Output::Yaml => screen.data(&without_managed_fields(raw), args.output)?,
    }
    Ok(Answer::Yes)
}

async fn all(screen: &Screen, connection: &Connection, args: &GetArgs) -> Result<Answer, Error> {
    let namespace = (!args.all_namespaces).then(|| connection.namespace(&args.namespace));
    let found = list(connection, namespace.as_deref()).await?;
    match args.output {
        Output::Table | Output::Wide if found.is_empty() => {
            note(&match namespace {
                Some(namespace) => {
                    format!("there is no Incident in namespace {namespace}; use -A for all namespaces")
                }
                None => "there is no Incident in this cluster".to_owned(),
            });
        }
        Output::Table | Output::Wide => {
            let wide = args.output == Output::Wide;
            let now = Timestamp::now();
            screen.text(&table(found, args.all_namespaces, wide, now))?;
        }
        Output::Json | Output::Yaml => {
            let items: Vec<DynamicObject> = found.into_iter().map(without_managed_fields).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": items});
            screen.data(&list, args.output)?;
        }
    }
    Ok(Answer::Yes)
}

async fn list(connection: &Connection, namespace: Option<&str>) -> Result<Vec<DynamicObject>, Error> {
    let api = connection.raw_incidents(namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = retry::read(|| api.list(&params)).await;
        let page = page.map_err(|error| Error::request("cannot list Incidents", &error))?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

fn without_managed_fields(mut object: DynamicObject) -> DynamicObject {
    object.metadata.managed_fields = None;
    object
}

/// The columns of kubectl, so that both look alike.
fn table(found: Vec<DynamicObject>, namespaces: bool, wide: bool, now: Timestamp) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let heading = ["NAME", "SEVERITY", "PHASE", "STEPS", "CHANGES", "POLICY", "AGE"];
    let before = if namespaces { &["NAMESPACE"][..] } else { &[] };
    let after = if wide { &["REASON", "ACKNOWLEDGED", "MESSAGE"][..] } else { &[] };
    table.set_header(before.iter().chain(&heading).chain(after));
    for object in found {
        let mut row = row(&object, now);
        row.truncate(if wide { row.len() } else { 8 });
        table.add_row(row.into_iter().skip(usize::from(!namespaces)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// All columns of one Incident. One that does not decode shows what it has.
fn row(object: &DynamicObject, now: Timestamp) -> Vec<String> {
    let created = object.creation_timestamp().map(|time| age(time.0, now)).unwrap_or_default();
    let raw_policy = object.data.pointer("/spec/policyRef/name").and_then(Value::as_str).unwrap_or_default();
    let name = (object.namespace().unwrap_or_default(), object.name_any());
    let decoded: Result<Incident, _> = object.clone().try_parse();
    let columns = match decoded {
        Err(error) => {
            // The outer error of kube only says that decoding failed.
            let why =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            let why = format!("cannot be read: {why}");
            [
                "?".into(),
                "?".into(),
                "?".into(),
                "?".into(),
                raw_policy.into(),
                created,
                String::new(),
                String::new(),
                why,
            ]
        }
        Ok(incident) => {
            let policy = incident.policy_name().unwrap_or_default().to_owned();
            let acknowledged = incident.spec.acknowledged_by.clone().unwrap_or_default();
            let status = incident.status.unwrap_or_default();
            let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
            // Whichever of the two is true says what it waits for.
            let waits = status.conditions.iter().find(|condition| {
                ["Stalled", "Reconciling"].contains(&condition.type_.as_str())
                    && condition.status == firebreak_engine::verdict::Verdict::True
            });
            [
                status.state.shown_severity().map(|level| level.to_string()).unwrap_or_default(),
                status.phase.map(|phase| phase.name().to_owned()).unwrap_or_default(),
                status.progress.clone().unwrap_or_default(),
                status.changes_in_force.to_string(),
                policy,
                created,
                status.state.severity_reason.clone().unwrap_or_default(),
                acknowledged,
                waits.or(ready).map(|condition| condition.message.clone()).unwrap_or_default(),
            ]
        }
    };
    [name.0, name.1].into_iter().chain(columns).map(|text| harmless(&text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, status: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
            "metadata": {"name": name, "namespace": "llm-serving", "creationTimestamp": "2026-03-01T10:00:00Z"},
            "spec": {"policyRef": {"name": "gpu-cluster-failure"}},
            "status": status,
        }))
        .unwrap()
    }

    fn found() -> Vec<DynamicObject> {
        vec![
            object(
                "gpu-outage",
                json!({
                    "phase": "Held", "severity": "P0", "severityReason": "GpuClusterFailure", "progress": "1/2",
                    "changesInForce": 3,
                    "conditions": [
                        {"type": "Ready", "status": "False", "reason": "Open", "message": "",
                         "lastTransitionTime": "2026-03-01T10:00:00Z"},
                        {"type": "Stalled", "status": "True", "reason": "StepFailed", "message": "step\n1 \
                            failed",
                         "lastTransitionTime": "2026-03-01T10:00:00Z"},
                    ],
                }),
            ),
            object(
                "over",
                json!({"phase": "Resolved", "worstSeverity": "P1", "resolvedAt": "2026-03-01T10:04:00Z"}),
            ),
            object("strange", json!({"phase": "Exploded"})),
            object("young", json!({})),
        ]
    }

    fn at() -> Timestamp {
        "2026-03-01T10:05:00Z".parse().unwrap()
    }

    #[test]
    fn incidents_are_a_table_like_kubectls() {
        insta::assert_snapshot!(table(found(), false, false, at()));
    }

    #[test]
    fn one_without_a_policy_shows_the_one_that_was_chosen() {
        let mut chosen = object(
            "noref",
            json!({"policy": {"name": "gpu-cluster-failure", "uid": "", "generation": 0, "serviceAccount": ""}}),
        );
        chosen.data["spec"] = json!({});
        let shown = table(vec![chosen], false, false, at());
        assert!(shown.contains("gpu-cluster-failure"), "{shown}");
    }

    #[test]
    fn wide_says_why_and_all_namespaces_say_where() {
        insta::assert_snapshot!(table(found(), true, true, at()));
    }
}
