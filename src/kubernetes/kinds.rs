//! Kinds by the words that people use for them: `deploy`, `Deployment`,
//! `deployments.apps`, `deployments.v1.apps`.
//!
//! One request for the core group and one for all others; nothing is
//! cached, because this serves a command that asks once.

use kube::Client;
use kube::core::discovery::ApiResource;
use kube::core::discovery::v2::{APIGroupDiscovery, APIResourceDiscovery};

use super::discovery::ServedKind;
use super::retry;

/// The kinds that a word can mean, the likeliest first; none if there is no such kind. A word
/// without a group may mean kinds of several groups. In each group the version is the preferred
/// one, unless the word names another.
///
/// # Errors
/// The server cannot be asked.
pub async fn find(client: &Client, word: &str) -> Result<Vec<ServedKind>, kube::Error> {
    let core = retry::read(|| client.list_core_api_versions_aggregated()).await?;
    let groups = retry::read(|| client.list_api_groups_aggregated()).await?;
    Ok(matching(core.items.iter().chain(&groups.items), &word.to_ascii_lowercase()))
}

/// How well a word names a kind; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Plural,
    Singular,
    Short,
}

fn matching<'a>(groups: impl Iterator<Item = &'a APIGroupDiscovery>, word: &str) -> Vec<ServedKind> {
    let mut found: Vec<(Fit, ServedKind)> = Vec::new();
    for group in groups {
        let group_name = group.metadata.as_ref().and_then(|meta| meta.name.as_deref()).unwrap_or_default();
        let fitting = group.versions.iter().flat_map(|version| {
            let version_name = version.version.as_deref().unwrap_or_default();
            version.resources.iter().filter_map(move |resource| {
                let fit = fit(resource, group_name, version_name, word)?;
                Some((fit, served(resource, group_name, version_name)?))
            })
        });
        // The preferred version comes first.
        found.extend(fitting.min_by_key(|(fit, _)| *fit));
    }
    found.sort_by_key(|(fit, _)| *fit);
    found.into_iter().map(|(_, kind)| kind).collect()
}

fn fit(resource: &APIResourceDiscovery, group: &str, version: &str, word: &str) -> Option<Fit> {
    let means = |name: &str| {
        let rest = word.strip_prefix(name);
        !name.is_empty()
            && rest.is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix('.').is_some_and(|rest| {
                        rest == group
                            || rest.strip_prefix(version).and_then(|rest| rest.strip_prefix('.'))
                                == Some(group)
                    })
            })
    };
    let kind = resource.response_kind.as_ref().and_then(|kind| kind.kind.as_deref()).unwrap_or_default();
    if resource.resource.as_deref().is_some_and(&means) {
        Some(Fit::Plural)
    } else if resource.singular_resource.as_deref().is_some_and(&means) || means(&kind.to_ascii_lowercase()) {
        Some(Fit::Singular)
    } else if resource.short_names.iter().any(|name| means(name)) {
        Some(Fit::Short)
    } else {
        None
    }
}

fn served(resource: &APIResourceDiscovery, group: &str, version: &str) -> Option<ServedKind> {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Some(ServedKind {
        resource: ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: resource.response_kind.as_ref()?.kind.clone()?,
            plural: resource.resource.clone()?,
        },
        namespaced: resource.scope.as_deref() == Some("Namespaced"),
        verbs: resource.verbs.clone(),
        subresources: resource.subresources.iter().filter_map(|sub| sub.subresource.clone()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(plural: &str, kind: &str, singular: &str, short: &[&str]) -> Value {
        json!({
            "resource": plural, "responseKind": {"group": "", "version": "", "kind": kind}, "scope": "Namespaced",
            "singularResource": singular, "verbs": ["get"], "shortNames": short,
        })
    }

    fn names(word: &str) -> Vec<String> {
        let groups = json!([
            {"metadata": {"name": ""}, "versions": [
                {"version": "v1", "resources": [resource("services", "Service", "service", &["svc"])]},
            ]},
            {"metadata": {"name": "apps"}, "versions": [
                {"version": "v1", "resources": [resource("deployments", "Deployment", "deployment", &["deploy"])]},
                {"version": "v1beta1", "resources": [resource("deployments", "Deployment", "", &[])]},
            ]},
            {"metadata": {"name": "serving.knative.dev"}, "versions": [
                {"version": "v1", "resources": [resource("services", "Service", "service", &["kservice", "ksvc"])]},
            ]},
            {"metadata": {"name": "x.io"}, "versions": [
                {"version": "v1", "resources": [resource("deploys", "Deploy", "deploy", &[])]},
            ]},
        ]);
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(groups).unwrap();
        let found = matching(groups.iter(), word);
        found
            .into_iter()
            .map(|kind| format!("{} {}", kind.resource.api_version, kind.resource.plural))
            .collect()
    }

    #[test]
    fn a_kind_is_found_by_every_name_that_kubectl_takes() {
        for word in ["deployment", "deployments", "deployments.apps", "deployment.v1.apps"] {
            assert_eq!(names(word), ["apps/v1 deployments"], "{word}");
        }
        assert_eq!(names("deployments.v1beta1.apps"), ["apps/v1beta1 deployments"]);
        assert_eq!(names("ksvc"), ["serving.knative.dev/v1 services"]);
        assert_eq!(names("rockets"), Vec::<String>::new());
        assert_eq!(names("deployments.extensions"), Vec::<String>::new());
    }

    #[test]
    fn a_word_without_a_group_may_mean_several_and_the_core_group_is_first() {
        assert_eq!(names("service"), ["v1 services", "serving.knative.dev/v1 services"]);
        assert_eq!(names("services.serving.knative.dev"), ["serving.knative.dev/v1 services"]);
        assert_eq!(
            names("deploy"),
            ["x.io/v1 deploys", "apps/v1 deployments"],
            "a short name is the weakest"
        );
    }
}
