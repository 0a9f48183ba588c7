//! Which rights the ServiceAccount of a policy needs. Takes no client.

use std::collections::BTreeSet;

use firebreak_engine::policy::NamespacesSpec;
use firebreak_engine::rules::{Rules, SignalKind};

use crate::controller::incident::observe::namespaces;
use crate::kubernetes::access::Right;

/// A kind that a policy reads or changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// Where; empty text means the whole cluster.
    pub namespaces: Vec<String>,
}

/// What signals do: they list and watch.
const READ: &[&str] = &["list", "watch"];
/// What steps do to targets.
const CHANGE: &[&str] = &["get", "list", "patch"];

/// Every kind that the policy uses, and for what.
pub fn used(rules: &Rules, namespace: &str) -> Vec<Used> {
    let places = |spec: Option<&NamespacesSpec>| namespaces(spec, namespace);
    let mut all = Vec::new();
    for signal in &rules.signals {
        all.push(match &signal.kind {
            SignalKind::Nodes { .. } => Used {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                verbs: READ,
                namespaces: vec![String::new()],
            },
            SignalKind::Objects { scope, .. } => Used {
                api_version: scope.api_version.clone(),
                kind: scope.kind.clone(),
                verbs: READ,
                namespaces: places(scope.namespaces.as_ref()),
            },
            SignalKind::Workloads { scope } => Used {
                api_version: scope.api_version.clone(),
                kind: scope.kind.clone(),
                verbs: READ,
                namespaces: places(scope.namespaces.as_ref()),
            },
        });
    }
    let mut changed_in = BTreeSet::new();
    for step in &rules.steps {
        let scope = &step.targets().scope;
        let namespaces = places(scope.namespaces.as_ref());
        changed_in.extend(namespaces.iter().cloned());
        all.push(Used {
            api_version: scope.api_version.clone(),
            kind: scope.kind.clone(),
            verbs: CHANGE,
            namespaces,
        });
    }
    if !changed_in.is_empty() {
        // Whether a namespace is exempt is read before anything in it is touched.
        let namespaces =
            if changed_in.contains("") { vec![String::new()] } else { changed_in.into_iter().collect() };
        all.push(Used {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            verbs: &["get"],
            namespaces,
        });
        let own = vec![namespace.to_owned()];
        let report = &["get", "create", "update"];
        all.push(Used {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            verbs: report,
            namespaces: own,
        });
    }
    all
}

/// The rights for one used kind, once its resource is known.
pub fn rights(used: &Used, group: &str, resource: &str) -> Vec<Right> {
    let right = |verb: &&str, namespace: &String| Right {
        verb: (*verb).to_owned(),
        group: group.to_owned(),
        resource: resource.to_owned(),
        namespace: (!namespace.is_empty()).then(|| namespace.clone()),
        name: (resource == "namespaces" && !namespace.is_empty()).then(|| namespace.clone()),
    };
    used.namespaces
        .iter()
        .flat_map(|namespace| used.verbs.iter().map(move |verb| right(verb, namespace)))
        .collect()
}
