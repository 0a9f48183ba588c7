//! Writes the report as the policy's ServiceAccount.

use firebreak_engine::incident::IncidentState;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::api::{Incident, names};
use crate::controller::Operator;
use crate::kubernetes::retry;
use crate::look::Account;
use crate::report::{self, Subject};

/// Writes the report and says its name, or why there is none. Its name is
/// deterministic, so writing it again changes the one that is there.
pub async fn write(
    _operator: &Operator,
    account: &Account,
    incident: &Incident,
    state: &IncidentState,
    now: Timestamp,
) -> Result<String, String> {
    let client = account.as_ref().map_err(Clone::clone)?;
    let identity = incident.identity();
    let subject = Subject { incident: &identity, summary: incident.spec.summary.as_deref(), state, now };
    let map: ConfigMap =
        serde_json::from_value(report::config_map(&subject)).map_err(|error| error.to_string())?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &identity.namespace);
    let name = report::name(&incident.name_any());
    let params = PostParams { field_manager: Some(names::MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &map).await {
        Ok(_) => Ok(name),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            replace(&api, &params, &name, map, &identity.uid).await
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
            "ConfigMap {name} is there already and is not this Incident's; rename or delete it"
        ));
    }
    map.metadata.resource_version = old.resource_version();
    api.replace(name, params, &map).await.map(|_| name.to_owned()).map_err(explain)
}
