//! What may be wrong with a signal that has values: it counts nothing, or no object has a name that it names.

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::{Rules, Signal};
use firebreak_engine::selector::Namespaces;
use firebreak_engine::signal::{Source, Watched};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, ResourceExt};

use super::decide::Subject;
use crate::kubernetes::retry;
use crate::observe::selector_text;

/// Objects of one page of a list.
const PAGE: u32 = 500;

/// By signal: what may be wrong with it.
pub async fn hints(
    subject: &Subject<'_>,
    rules: &Rules,
    readings: &BTreeMap<String, Reading>,
    baselines: &BTreeMap<String, i64>,
) -> BTreeMap<String, String> {
    let mut hints = BTreeMap::new();
    for signal in &rules.signals {
        let Some(Reading::Known { values }) = readings.get(&signal.name) else { continue };
        let Some(FieldValue::Int(total)) = values.get("total") else { continue };
        let Source::Watch(watched) = signal.kind.kind().source() else { continue };
        // Which of its names are absent is not known after an error, and says more than the number.
        let Some(absent) = absent(subject, &watched).await else { continue };
        let counted = Counted { total: *total, expected: expected(signal, baselines) };
        if let Some(hint) = hint(&watched, &subject.namespace, counted, &absent) {
            hints.insert(signal.name.clone(), hint);
        }
    }
    hints
}

/// How many objects should be there: as many as the policy says, or as before an emergency.
fn expected(signal: &Signal, baselines: &BTreeMap<String, i64>) -> i64 {
    signal.expect.or_else(|| baselines.get(&signal.name).copied()).unwrap_or_default()
}

/// How many objects a signal counts, and how many should be there.
#[derive(Clone, Copy)]
struct Counted {
    total: i64,
    expected: i64,
}

/// What may be wrong with a signal that counts so many objects, if no object has these of its names. That objects are
/// missing which are expected is what it was made to see.
fn hint(watched: &Watched<'_>, own: &str, counted: Counted, absent: &[String]) -> Option<String> {
    let kind = watched.kind;
    let place = match watched.namespaces {
        Namespaces::Own => format!(" in namespace {own}"),
        Namespaces::All => String::new(),
        Namespaces::Named(names) => format!(" in namespaces {}", names.join(", ")),
    };
    let selected = if watched.selector.is_some() { " with these labels" } else { "" };
    match (counted, absent) {
        (_, [_, ..]) => Some(format!("no {kind}{place}{selected} is named {}", absent.join(", "))),
        (Counted { total: 0, expected: 0 }, []) => {
            Some(format!("there is no {kind}{place}{selected}; if there should be, check the signal"))
        }
        (_, []) => None,
    }
}

/// The names of a signal that no object has; none if that is not known.
async fn absent(subject: &Subject<'_>, watched: &Watched<'_>) -> Option<Vec<String>> {
    if watched.names.is_empty() {
        return Some(Vec::new());
    }
    let client = subject.account.as_ref().ok()?;
    let resource =
        subject.connection.discovery.resolve(watched.api_version, watched.kind).await.ok()?.resource;
    unnamed(client, &resource, watched, &subject.namespace).await
}

/// The names of a signal that no object of its kind has; none if a list fails.
async fn unnamed(
    client: &Client,
    resource: &ApiResource,
    watched: &Watched<'_>,
    own: &str,
) -> Option<Vec<String>> {
    let labels = selector_text(watched.selector).ok()?;
    let mut absent: BTreeSet<&String> = watched.names.iter().collect();
    for place in watched.namespaces.places(own) {
        let api: Api<DynamicObject> = match place.as_str() {
            "" => Api::all_with(client.clone(), resource),
            namespace => Api::namespaced_with(client.clone(), namespace, resource),
        };
        let mut params = ListParams::default().limit(PAGE).labels(&labels);
        loop {
            let page = retry::read(|| api.list_metadata(&params)).await.ok()?;
            for object in page.items {
                absent.remove(&object.name_any());
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => break,
            }
        }
    }
    Some(absent.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use firebreak_engine::policy::LabelSelector;

    use super::*;

    #[test]
    fn a_signal_that_counts_nothing_or_names_what_does_not_exist_says_so() {
        let (labels, places) = (LabelSelector::default(), ["a".to_owned(), "b".to_owned()]);
        let watched = Watched {
            api_version: "apps/v1",
            kind: "Deployment",
            names: &[],
            selector: None,
            namespaces: Namespaces::Own,
        };
        let said = |watched: Watched<'_>, total, absent: &[&str]| {
            let absent: Vec<String> = absent.iter().map(|name| (*name).to_owned()).collect();
            hint(&watched, "own", Counted { total, expected: 0 }, &absent).unwrap_or_default()
        };
        assert_eq!(said(watched, 1, &[]), "");
        assert_eq!(
            said(watched, 0, &[]),
            "there is no Deployment in namespace own; if there should be, check the signal"
        );
        let labelled = Watched { selector: Some(&labels), namespaces: Namespaces::All, ..watched };
        assert_eq!(
            said(labelled, 0, &[]),
            "there is no Deployment with these labels; if there should be, check the signal"
        );
        let named = Watched { namespaces: Namespaces::Named(&places), ..watched };
        assert_eq!(said(named, 1, &["x", "y"]), "no Deployment in namespaces a, b is named x, y");
        let missing = Counted { total: 0, expected: 2 };
        assert_eq!(hint(&watched, "own", missing, &[]), None, "the emergency itself");
    }

    #[test]
    fn what_is_expected_is_what_the_policy_says_or_what_was_there_before() {
        let signal = |expect: serde_json::Value| {
            let spec = serde_json::json!({"signals": [{"name": "web", "expect": expect,
                "workloads": {"apiVersion": "apps/v1", "kind": "Deployment"}}]});
            Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap().signals.remove(0)
        };
        let before = BTreeMap::from([("web".to_owned(), 3)]);
        assert_eq!(expected(&signal(serde_json::json!(5)), &before), 5);
        assert_eq!(expected(&signal(serde_json::Value::Null), &before), 3);
        assert_eq!(expected(&signal(serde_json::Value::Null), &BTreeMap::new()), 0);
    }

    #[tokio::test]
    async fn after_an_error_nothing_is_said_about_names() {
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            let status = serde_json::json!({"kind": "Status", "status": "Failure", "code": 403, "reason": "Forbidden",
                "message": "no"});
            let body = kube::client::Body::from(status.to_string().into_bytes());
            Ok::<_, tower::BoxError>(http::Response::builder().status(403).body(body)?)
        });
        let names = ["web".to_owned()];
        let watched = Watched {
            api_version: "apps/v1",
            kind: "Deployment",
            names: &names,
            selector: None,
            namespaces: Namespaces::Own,
        };
        let resource = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
        assert_eq!(unnamed(&Client::new(service, "own"), &resource, &watched, "own").await, None);
    }
}
