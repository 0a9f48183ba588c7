//! Writes the report as the policy's ServiceAccount.

use firebreak_engine::change::cut;
use firebreak_engine::incident::{IncidentState, ReportStatus};
use firebreak_engine::phase::Phase;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::api::{Incident, names};
use crate::controller::Operator;
use crate::kubernetes::retry;
use crate::look::Account;
use crate::report::{self, Report};
use crate::view::IncidentView;

/// Writes the report and returns where it is, or why there is none. Its name is
/// deterministic, so writing it again updates the existing one.
pub async fn write(
    operator: &Operator,
    account: &Account,
    incident: &Incident,
    state: &IncidentState,
    now: Timestamp,
) -> ReportStatus {
    let status = try_write(operator, account, &told(incident, state), now).await;
    let problem = |why: &String| Some(cut(why, 1024));
    match status {
        Ok((name, why)) => ReportStatus { name, problem: why.as_ref().and_then(problem) },
        Err(why) => ReportStatus { name: String::new(), problem: problem(&why) },
    }
}

/// The Incident in this state, as the report shows it.
fn told(incident: &Incident, state: &IncidentState) -> IncidentView {
    let mut told = incident.clone();
    let status = told.status.get_or_insert_default();
    status.state = state.clone();
    status.phase = Some(Phase::of(state));
    IncidentView::of(&told)
}

/// The name of the report, and the fault of its template.
async fn try_write(
    operator: &Operator,
    account: &Account,
    incident: &IncidentView,
    now: Timestamp,
) -> Result<(String, Option<String>), String> {
    let client = account.as_ref().map_err(Clone::clone)?;
    let report = report::markdown(&operator.context.report.now(), incident, now);
    let Report { text, problem } = report.map_err(|error| error.to_string())?;
    let map: ConfigMap =
        serde_json::from_value(report::config_map(incident, &text)).map_err(|error| error.to_string())?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &incident.namespace);
    let name = report::name(&incident.name);
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &map).await {
        Ok(_) => Ok((name, problem)),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let name = replace(&api, &params, &name, map, &incident.uid).await?;
            Ok((name, problem))
        }
        Err(error) => {
            Err(format!("the ServiceAccount cannot create ConfigMap {name}: {}", retry::explain(&error)))
        }
    }
}

async fn replace(
    api: &Api<ConfigMap>,
    params: &PostParams,
    name: &str,
    mut map: ConfigMap,
    incident: &str,
) -> Result<String, String> {
    let explain = |error: kube::Error| {
        format!("the ServiceAccount cannot replace ConfigMap {name}: {}", retry::explain(&error))
    };
    let old = api.get(name).await.map_err(explain)?;
    if old.labels().get(names::INCIDENT).is_none_or(|uid| uid != incident) {
        return Err(format!(
            "ConfigMap {name} already exists and does not belong to this Incident; rename or delete it"
        ));
    }
    map.metadata.resource_version = old.resource_version();
    api.replace(name, params, &map).await.map(|_| name.to_owned()).map_err(explain)
}
