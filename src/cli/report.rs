//! `firebreak report`: the report of an Incident as Markdown.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt};

use super::connection::Connection;
use super::screen::{Screen, harmless_lines, note};
use super::{Answer, Error};
use crate::api::names;
use crate::kubernetes::retry;
use crate::report::{self, ReportTemplate};
use crate::settings::ReportArgs;
use crate::view::IncidentView;

/// Prints the report that was written when the Incident closed, or one as of now. With `--config` always one as of
/// now, so that its template can be tried.
pub async fn run(
    screen: &Screen,
    connection: &Connection,
    args: &ReportArgs,
    template: &ReportTemplate,
) -> Result<Answer, Error> {
    let ReportArgs { incident: name, namespace, config } = args;
    let namespace = connection.namespace(namespace);
    let Some(incident) = connection.find_incident(&namespace, name).await? else {
        // The report outlives the Incident.
        let kept = written(connection, &namespace, &report::name(name), None).await.ok().flatten();
        let text = kept.ok_or_else(|| Error::no_incident(&namespace, name))?;
        print(screen, &text)?;
        return Ok(Answer::Yes);
    };
    let status = incident.status.clone().unwrap_or_default();
    let named = status.state.report.filter(|report| !report.name.is_empty());
    let mut missing = "it is still open";
    if config.config.is_some() {
        missing = "--config says how";
    } else if let Some(report) = named.filter(|_| status.state.resolved_at.is_some()) {
        match written(connection, &namespace, &report.name, incident.uid().as_deref()).await {
            Ok(Some(text)) => {
                print(screen, &text)?;
                return Ok(Answer::Yes);
            }
            Ok(None) => missing = "the ConfigMap with its report does not exist any more",
            Err(error) => {
                note(&Error::request(format!("cannot read ConfigMap {}", report.name), &error).to_string());
                missing = "its report cannot be read";
            }
        }
    } else if status.state.resolved_at.is_some() {
        missing = "no report was written for it";
    }
    note(&format!(
        "Incident {namespace}/{name}: {missing}; this report is generated from its current \
        status"
    ));
    let report = report::markdown(template, &IncidentView::of(&incident), Timestamp::now());
    let report = report.map_err(|error| Error::bug("cannot make the report", error))?;
    report.problem.iter().for_each(|problem| note(problem));
    print(screen, &report.text)?;
    Ok(Answer::Yes)
}

/// The report in this ConfigMap, if it is one of ours and belongs to this Incident, as far as that is known.
async fn written(
    connection: &Connection,
    namespace: &str,
    name: &str,
    incident: Option<&str>,
) -> Result<Option<String>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
    let map = retry::read(|| api.get_opt(name)).await?;
    let is_ours = |map: &ConfigMap| {
        map.labels().get(names::MANAGED_BY).is_some_and(|manager| manager == names::MANAGER)
            && incident.is_none_or(|uid| map.labels().get(names::INCIDENT).is_some_and(|label| label == uid))
    };
    Ok(map.filter(is_ours).and_then(|map| map.data).and_then(|mut data| data.remove(report::KEY)))
}

/// The text of others may contain characters that control a terminal.
fn print(screen: &Screen, text: &str) -> Result<(), Error> {
    screen.text(&harmless_lines(text))
}
