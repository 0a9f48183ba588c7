//! What may be wrong with a signal that has values: it counts nothing, or no object has a name that it names.

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Rules;
use firebreak_engine::selector::Namespaces;
use firebreak_engine::signal::{Source, Watched};
use kube::api::ListParams;
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};

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
) -> BTreeMap<String, String> {
    let mut hints = BTreeMap::new();
    for signal in &rules.signals {
        let Some(Reading::Known { values }) = readings.get(&signal.name) else { continue };
        let Some(FieldValue::Int(total)) = values.get("total") else { continue };
        let Source::Watch(watched) = signal.kind.kind().source();
        let absent = absent(subject, &watched).await.unwrap_or_default();
        if let Some(hint) = hint(&watched, &subject.namespace, *total, &absent) {
            hints.insert(signal.name.clone(), hint);
        }
    }
    hints
}

/// What may be wrong with a signal that counts so many objects, if no object has these of its names.
fn hint(watched: &Watched<'_>, own: &str, total: i64, absent: &[String]) -> Option<String> {
    let kind = watched.kind;
    let place = match watched.namespaces {
        Namespaces::Own => format!(" in namespace {own}"),
        Namespaces::All => String::new(),
        Namespaces::Named(names) => format!(" in namespaces {}", names.join(", ")),
    };
    let selected = if watched.selector.is_some() { " with these labels" } else { "" };
    match (total, absent) {
        (_, [_, ..]) => Some(format!("no {kind}{place}{selected} is named {}", absent.join(", "))),
        (0, []) => Some(format!("there is no {kind}{place}{selected}; if there should be, check the signal")),
        (_, []) => None,
    }
}

/// The names of a signal that no object has; none if that is not known.
async fn absent(subject: &Subject<'_>, watched: &Watched<'_>) -> Option<Vec<String>> {
    let client = subject.account.as_ref().ok().filter(|_| !watched.names.is_empty())?;
    let discovery = &subject.connection.discovery;
    let resource = discovery.resolve(watched.api_version, watched.kind).await.ok()?.resource;
    let labels = selector_text(watched.selector).ok()?;
    let mut absent: BTreeSet<&String> = watched.names.iter().collect();
    for place in watched.namespaces.places(&subject.namespace) {
        let api: Api<DynamicObject> = match place.as_str() {
            "" => Api::all_with(client.clone(), &resource),
            namespace => Api::namespaced_with(client.clone(), namespace, &resource),
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
            hint(&watched, "own", total, &absent).unwrap_or_default()
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
    }
}
