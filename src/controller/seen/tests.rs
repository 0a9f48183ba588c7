use serde_json::json;

use super::*;
use crate::telemetry::metrics::Metrics;

fn policy(version: &str) -> RemediationPolicy {
    let meta = json!({"name": "p", "namespace": "ns", "resourceVersion": version});
    serde_json::from_value(json!({"apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy",
        "metadata": meta, "spec": {}}))
    .unwrap()
}

fn version(shelf: &Shelf<RemediationPolicy>) -> Option<u64> {
    shelf.get(&Name::new("ns", "p")).and_then(|seen| seen.version())
}

#[test]
fn what_we_wrote_never_hides_what_came_after_it() {
    let (shelf, name) = (policies(), Name::new("ns", "p"));
    shelf.put(&name, Seen::Object(Arc::new(policy("9"))));
    assert!(shelf.note(&name, policy("10")).is_some());
    assert_eq!(version(&shelf), Some(10));
    shelf.put(&name, Seen::Object(Arc::new(policy("12"))));
    assert!(shelf.note(&name, policy("11")).is_none());
    assert_eq!(version(&shelf), Some(12));
    shelf.remove(&name);
    assert!(shelf.note(&name, policy("13")).is_none());
    assert_eq!(version(&shelf), None, "it is gone");
}

#[test]
fn what_has_the_name_of_a_deleted_object_stays() {
    let (shelf, name) = (policies(), Name::new("ns", "p"));
    let mut new = policy("9");
    new.metadata.uid = Some("new".to_owned());
    shelf.put(&name, Seen::Object(Arc::new(new)));
    assert!(shelf.remove_exactly(&name, "old").is_none());
    assert_eq!(version(&shelf), Some(9));
    assert!(shelf.remove_exactly(&name, "new").is_some());
    assert_eq!(version(&shelf), None);
}

fn policies() -> Shelf<RemediationPolicy> {
    Shelf::new(PolicyTally::new(Arc::new(Metrics::new().unwrap())))
}

fn incidents() -> Shelf<Incident> {
    Shelf::new(OfIncidents::new(Tally::new(Arc::new(Metrics::new().unwrap()))))
}

fn incident(name: &str, policy: Option<&str>, chosen: Option<&str>) -> Seen<Incident> {
    let policy = policy.map(|name| json!({"name": name}));
    let chosen = chosen
        .map(|name| json!({"policy": {"name": name, "uid": "", "generation": 0, "serviceAccount": ""}}));
    let guarded: Guarded<Incident> = serde_json::from_value(json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": "ns"}, "spec": {"policyRef": policy}, "status": chosen,
    }))
    .unwrap();
    guarded.into()
}

#[test]
fn the_incidents_of_a_policy_are_found_without_looking_at_the_others() {
    let shelf = incidents();
    let put = |name: &str, policy: Option<&str>, chosen: Option<&str>| {
        shelf.put(&Name::new("ns", name), incident(name, policy, chosen));
    };
    let of = |policy: &str| -> Vec<String> {
        let theirs = shelf.of_policy(&Name::new("ns", policy));
        theirs.iter().filter_map(|incident| incident.metadata.name.clone()).collect()
    };
    put("a", Some("p"), None);
    put("b", Some("q"), None);
    put("c", None, None);
    assert_eq!(
        (of("p"), of("q"), shelf.without_policy("ns").len()),
        (vec!["a".to_owned()], vec!["b".to_owned()], 1)
    );
    put("c", None, Some("p"));
    assert_eq!((of("p").len(), shelf.without_policy("ns").len()), (2, 0), "it has chosen one");
    shelf.remove(&Name::new("ns", "a"));
    assert_eq!(of("p"), ["c"]);
    assert!(shelf.of_policy(&Name::new("other", "p")).is_empty());
}

#[test]
fn one_that_does_not_decode_says_why_and_is_counted_as_such() {
    let guarded: Guarded<Incident> = serde_json::from_value(json!({
        "metadata": {"name": "a", "namespace": "ns", "resourceVersion": "7"}, "spec": {"policyRef": 3},
    }))
    .unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let shelf: Shelf<Incident> = Shelf::new(OfIncidents::new(Tally::new(Arc::clone(&metrics))));
    let counted = || {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("firebreak_undecodable_objects{kind=\"Incident\"}"));
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    let name = Name::new("ns", "a");
    assert_eq!(counted().as_deref(), Some("0"));
    shelf.put(&name, guarded.into());
    assert_eq!(counted().as_deref(), Some("1"));
    let Some(Seen::Undecodable { metadata, why }) = shelf.get(&name) else { panic!("it decodes") };
    assert_eq!(metadata.resource_version.as_deref(), Some("7"));
    assert!(!why.is_empty());
    assert!(shelf.object(&name).is_none() && shelf.of_namespace("ns").is_empty());
    shelf.put(&name, incident("a", None, None));
    assert_eq!(counted().as_deref(), Some("0"), "it was corrected");
}
