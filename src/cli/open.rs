//! `firebreak open`: a person opens an Incident for a policy.

use std::time::Duration;

use firebreak_engine::policy::{Mode, Severity};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::PostParams;

use super::connection::Connection;
use super::follow::Following;
use super::screen::{Screen, note};
use super::tree::{self, Detail};
use super::{Answer, Error, watch};
use crate::api::{Incident, IncidentSpec, PolicyRef, RemediationPolicy, names};
use crate::kubernetes::retry;
use crate::settings::{OpenArgs, Output};
use crate::view::{IncidentView, moves, problem};

/// A running controller picks up a new Incident at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often a request whose answer was lost is sent again.
const TRIES: u32 = 3;

/// Opens an Incident, and shows it once a controller has picked it up. If the policy already has an open one,
/// shows that one; then the answer is no.
pub async fn run(screen: &Screen, connection: &Connection, args: &OpenArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let what = format!("open an Incident for {}", args.policy);
    let policy = connection.policy(&namespace, &args.policy, &what).await?;
    problem(&policy).iter().for_each(|why| note(why));
    connection.operator.brake().await.iter().for_each(|why| note(why));
    connection.say_without_account(&namespace, &policy.spec.policy).await;
    if let Some(open) = open_already(connection, &policy).await? {
        return refuse(screen, args, &open);
    }
    let incident = match create(connection, &policy, args).await? {
        Created::New(incident) => incident,
        // Someone else was faster by less than a second.
        Created::Taken(incident) => return refuse(screen, args, &incident),
    };
    let called = format!("{} -n {namespace}", incident.name_any());
    let waits = waits_for_a_rule(&policy, args.severity, &incident);
    if args.watch {
        note(&format!("Incident {namespace}/{} is open", incident.name_any()));
        waits.iter().for_each(|why| note(why));
        return watch::follow(screen, connection, incident).await;
    }
    match taken_up(connection, &incident).await? {
        Some(seen) => {
            show(screen, args.output, &seen)?;
            note(&format!("opened; {}", moves::next(&seen)));
            waits.iter().for_each(|why| note(why));
            Ok(Answer::Yes)
        }
        None => {
            show(screen, args.output, &incident)?;
            let absence = connection.operator.absence_after().await;
            note(&format!(
                "it is open, but no operator has picked it up within {} s{absence}; check that the operator is \
                    running. `firebreak watch {called}` follows it",
                PATIENCE.as_secs()
            ));
            Ok(Answer::No)
        }
    }
}

/// That nothing is applied yet, because no rule holds and no severity was set, and what to do about it. A suspended policy
/// applies nothing with a severity, either.
fn waits_for_a_rule(
    policy: &RemediationPolicy,
    severity: Option<Severity>,
    incident: &Incident,
) -> Option<String> {
    let rules = policy.status.as_ref().map(|status| status.state.rules.as_slice()).unwrap_or_default();
    let spec = &policy.spec.policy;
    if spec.suspend || severity.is_some() || rules.iter().any(|rule| rule.holds) {
        return None;
    }
    let name = policy.name_any();
    let (does, purpose) = match spec.mode {
        Mode::Observe => ("planned", "To see the plan anyway"),
        Mode::Enforce => ("applied", "To respond anyway"),
    };
    let why = match spec.severity.as_slice() {
        [] => format!("policy {name} has no severity rules, so nothing is {does} without a severity"),
        _ => format!("no rule of policy {name} holds, so nothing is {does} until one does"),
    };
    let pin = incident.identity().pin_command(Severity::worst_of(spec.steps.iter()));
    Some(format!("{why}. {purpose}, pin the severity: `{pin}`"))
}

/// The open Incident that has the policy's claim, read live.
async fn open_already(
    connection: &Connection,
    policy: &RemediationPolicy,
) -> Result<Option<Incident>, Error> {
    let claim = policy.status.as_ref().and_then(|status| status.state.active_incident.clone());
    let Some(claim) = claim else { return Ok(None) };
    let namespace = policy.namespace().unwrap_or_default();
    let found = connection.find_incident(&namespace, &claim.name).await?;
    let has_claim = |incident: &Incident| match &claim.uid {
        Some(_) => incident.uid() == claim.uid,
        None => incident.annotations().get(names::NONCE) == claim.nonce.as_ref(),
    };
    Ok(found.filter(|incident| has_claim(incident) && !incident.is_closed()))
}

enum Created {
    New(Incident),
    Taken(Incident),
}

async fn create(
    connection: &Connection,
    policy: &RemediationPolicy,
    args: &OpenArgs,
) -> Result<Created, Error> {
    let namespace = policy.namespace().unwrap_or_default();
    let name = names::incident(&policy.name_any(), Timestamp::now());
    let mut incident = Incident::new(
        &name,
        IncidentSpec {
            policy_ref: Some(PolicyRef { name: policy.name_any() }),
            summary: args.summary.clone(),
            severity: args.severity,
            ..IncidentSpec::default()
        },
    );
    incident.metadata.namespace = Some(namespace.clone());
    incident.labels_mut().insert(names::POLICY.to_owned(), policy.name_any());
    let api = connection.incidents(&namespace);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    let failed =
        |error: &kube::Error| Error::request(format!("cannot create Incident {namespace}/{name}"), error);
    let mut lost = 0;
    loop {
        match api.create(&params, &incident).await {
            Ok(created) => return Ok(Created::New(created)),
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let found = connection.incident(&namespace, &name).await?;
                return Ok(if lost > 0 { Created::New(found) } else { Created::Taken(found) });
            }
            Err(error) if retry::leaves_outcome_open(&error) && lost < TRIES => {
                lost += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(failed(&error)),
        }
    }
}

/// The Incident once a controller has picked it up.
async fn taken_up(connection: &Connection, incident: &Incident) -> Result<Option<Incident>, Error> {
    let is_seen = |incident: &Incident| {
        incident.status.as_ref().is_some_and(|status| status.observed_generation.is_some())
    };
    let mut following = Following::of(connection, incident);
    let waited = tokio::time::timeout(PATIENCE, async {
        while let Some(incident) = following.next().await? {
            if is_seen(&incident) {
                return Ok(Some(incident));
            }
        }
        Ok(None)
    });
    waited.await.unwrap_or(Ok(None))
}

fn refuse(screen: &Screen, args: &OpenArgs, open: &Incident) -> Result<Answer, Error> {
    show(screen, args.output, open)?;
    note(&format!("policy {} already has this open Incident; {}", args.policy, moves::next(open)));
    Ok(Answer::No)
}

fn show(screen: &Screen, output: Output, incident: &Incident) -> Result<(), Error> {
    let view = IncidentView::of(incident);
    let tree = |fields| tree::tree(&view, Detail { fields, timeline: 10 }, Timestamp::now());
    match output {
        Output::Table => screen.lines(&tree(false)),
        Output::Wide => screen.lines(&tree(true)),
        Output::Json | Output::Yaml => {
            let mut incident = incident.clone();
            incident.metadata.managed_fields = None;
            screen.data(&incident, output)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(spec: &Value, severity: Option<Severity>) -> Option<String> {
        let policy = serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "spec": spec,
            "metadata": {"name": "gpu", "namespace": "llm"},
        }));
        let mut incident = Incident::new("gpu-1", IncidentSpec::default());
        incident.metadata.namespace = Some("llm".to_owned());
        waits_for_a_rule(&policy.unwrap(), severity, &incident)
    }

    fn spec(mode: &str) -> Value {
        let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        json!({"mode": mode, "steps": [{"name": "cpu", "severities": ["P2", "P3"],
            "action": {"cpuFallback": {"targets": targets}}}]})
    }

    #[test]
    fn an_incident_that_waits_names_the_command_that_sets_a_severity_for_which_a_step_is() {
        let pin = "pin the severity: `kubectl patch incident gpu-1 -n llm --type=merge \
            -p '{\"spec\":{\"severity\":\"P2\"}}'`";
        let without = "policy gpu has no severity rules, so nothing is";
        assert_eq!(
            said(&spec("Enforce"), None).unwrap(),
            format!("{without} applied without a severity. To respond anyway, {pin}")
        );
        assert_eq!(
            said(&spec("Observe"), None).unwrap(),
            format!("{without} planned without a severity. To see the plan anyway, {pin}")
        );
        let mut ruled = spec("Enforce");
        ruled["severity"] = json!([{"level": "P1", "reason": "Lost", "when": "false"}]);
        let text = said(&ruled, None).unwrap();
        assert!(
            text.starts_with("no rule of policy gpu holds, so nothing is applied until one does. To"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_said_about_a_severity_that_is_set_or_would_change_nothing() {
        assert_eq!(said(&spec("Enforce"), Some(Severity::P2)), None);
        let mut suspended = spec("Enforce");
        suspended["suspend"] = json!(true);
        assert_eq!(said(&suspended, None), None);
    }
}
