//! Signals that ask an endpoint: whether there is one, and whether Prometheus has the functions of a query.

use super::*;

const QUERIES: &str = r#"
apiVersion: firebreak.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: errors, namespace: llm-serving}
spec:
  signals:
  - {name: errors, prometheus: {endpoint: prometheus, query: "sum(ratee(errors[5m]))", freshness: "rollup(up[1m])"}}
  - {name: alerts, alertmanager: {endpoint: alerts, matchers: ['team="sre"'], severities: {critical: P0}}}
"#;

fn policy(endpoints: Option<Endpoints>) -> Checked {
    let checker = Checker { endpoints, ..Checker::new(Profiles::built_in().unwrap(), ASSUMED) };
    checker.check(&documents::parse(QUERIES).unwrap()[0]).unwrap()
}

#[test]
fn a_function_that_prometheus_does_not_have_is_named_and_no_fault() {
    let Checked { faults, policy } = policy(None);
    assert_eq!(
        faults,
        Vec::<String>::new(),
        "without the configuration it is not known which endpoints there are"
    );
    let remarks = policy.unwrap().remarks();
    assert_eq!(
        remarks[1..],
        [
            "spec.signals[0].prometheus.query: Prometheus has no function ratee; did you mean rate?",
            "spec.signals[0].prometheus.freshness: Prometheus has no function rollup",
        ]
    );
}

#[test]
fn an_endpoint_that_the_configuration_does_not_have_is_a_fault() {
    let text = "apiVersion: config.firebreak.dev/v1alpha1\nkind: OperatorConfiguration\nendpoints:\n\
                - {name: prometheus, type: Prometheus, url: 'http://prometheus:9090'}\n";
    let file = std::path::Path::new("config.yaml");
    let configuration = crate::configuration::Configuration::parse(file, text).unwrap();
    let Checked { faults, .. } = policy(Some(Endpoints::of(configuration.endpoints, &Endpoints::default())));
    assert_eq!(
        faults,
        [
            "spec.signals[1].alertmanager.endpoint: the operator's configuration has no endpoint alerts; it has none of type \
          Alertmanager"
        ]
    );
}
