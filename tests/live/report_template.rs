//! The report is rendered with the template of the operator's configuration, and never fails because of it.

use std::fs;

use kube::api::DynamicObject;

use crate::{drill::Drill, support::operator::Operator};

/// An emergency with one model, answered by an operator whose configuration has this template.
struct Case {
    drill: Drill,
    file: String,
    _operator: Operator,
}

impl Case {
    async fn begin(name: &str, template: &str) -> Self {
        let drill = Drill::new(name).await;
        let file = drill.world.files().join("configuration.yaml");
        let text = format!(
            "apiVersion: config.firebreak.dev/v1alpha1\nkind: OperatorConfiguration\nreportTemplate: |\n  {template}\n"
        );
        fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a path of text").to_owned();
        let _operator = drill.world.operator().flag("--config").flag(&file).start().await;
        Self { drill, file, _operator }
    }

    /// The report of a closed Incident.
    async fn written(&self, incident: &DynamicObject) -> String {
        let name = incident.data["status"]["report"]["name"].as_str().expect("a report");
        let map = self.drill.world.object("v1", "ConfigMap", &self.drill.world.a, name).get().await;
        map.data["data"]["report.md"].as_str().expect("a text").to_owned()
    }
}

#[tokio::test]
async fn the_report_has_the_form_that_the_configuration_gives_it() {
    let template = "RUNBOOK {{ incident.policy.name | code if incident.policy else '' }}: \
                    {% for change in incident.changes %}{{ change.object }}{% endfor %} {{ incident.outcome }}";
    let case = Case::begin("report-form", template).await;
    let models = case.drill.models(1).await;
    let policy = case.drill.policy().await;
    let incident = case.drill.respond(&policy).await;

    let tried = ["report", incident.name(), "-n", &case.drill.world.a, "--config", &case.file];
    let tried = case.drill.world.firebreak(&tried).await;
    let said = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert!(said.starts_with("RUNBOOK `drill`: LLMDeployment ") && said.contains("not closed"), "{said}");

    let resolved = case.drill.recover(&incident).await;
    let report = case.written(&resolved).await;
    assert!(report.starts_with("RUNBOOK `drill`: LLMDeployment ") && report.contains("closed: "), "{report}");
    assert!(resolved.data["status"]["report"]["problem"].is_null(), "{}", resolved.data["status"]["report"]);
    models.assert_reverted().await;
}

#[tokio::test]
async fn a_template_that_fails_leaves_the_shipped_report_and_says_so() {
    // The samples on which the template was tried have another policy.
    let template =
        "{% if incident.policy and incident.policy.name == 'drill' %}{{ incident.nothing }}{% endif %}";
    let case = Case::begin("report-fails", template).await;
    let models = case.drill.models(1).await;
    let policy = case.drill.policy().await;
    let incident = case.drill.respond(&policy).await;
    let resolved = case.drill.recover(&incident).await;
    assert!(case.written(&resolved).await.starts_with("# Incident Report"), "{incident}");
    let problem = resolved.data["status"]["report"]["problem"].as_str().unwrap_or_default();
    assert!(problem.contains("line 1") && problem.contains("nothing"), "{problem}");
    let timeline = resolved.data["status"]["timeline"].to_string();
    assert!(timeline.contains("ReportTemplateFailed"), "{timeline}");
    models.assert_reverted().await;
}
