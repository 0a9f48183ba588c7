use super::*;

fn rendered(metrics: &Metrics) -> String {
    String::from_utf8(metrics.render().unwrap()).unwrap()
}

#[test]
fn a_flood_of_resource_names_is_counted_as_other() {
    let metrics = Metrics::new().unwrap();
    for number in 0..500 {
        metrics.api_request("get", &format!("things{number}"), "404", Duration::ZERO);
    }
    let text = rendered(&metrics);
    let lines = text.matches("firebreak_api_requests_total{").count();
    assert_eq!(lines, MAX_RESOURCES + 1);
    assert!(text.contains("resource=\"other\",verb=\"get\"} 400"), "{text}");
}

#[test]
fn a_signal_that_a_policy_no_longer_has_is_no_longer_shown() {
    let metrics = Metrics::new().unwrap();
    metrics.signals("serving/gpu", &[("nodes", "ready", 3.0), ("pods", "ready", 9.0)]);
    metrics.signals("serving/gpu", &[("nodes", "ready", 2.0)]);
    let text = rendered(&metrics);
    assert!(text.contains("signal=\"nodes\"} 2"), "{text}");
    assert!(!text.contains("signal=\"pods\""), "{text}");

    metrics.signals("serving/gpu", &[]);
    assert!(!rendered(&metrics).contains("serving/gpu"));
}

#[test]
fn families_that_dashboards_know_keep_their_names() {
    let metrics = Metrics::new().unwrap();
    metrics.reconciled("incident", ReconcileResult::Success, Duration::from_millis(3));
    metrics.leading("firebreak", true);
    let text = rendered(&metrics);
    for line in [
        "controller_runtime_reconcile_total{controller=\"incident\",result=\"success\"} 1",
        "controller_runtime_reconcile_time_seconds_count{controller=\"incident\"} 1",
        "leader_election_master_status{name=\"firebreak\"} 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
