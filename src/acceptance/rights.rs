//! Which permissions the ServiceAccount of a policy needs. Takes no client.

use std::collections::BTreeSet;

use firebreak_engine::action::{Autoscalers, Named, Pods, Reach, Yields};
use firebreak_engine::change::OperationType;
use firebreak_engine::rules::{Rules, Signal, Step};
use firebreak_engine::selector::{Namespaces, NamespacesSpec};
use firebreak_engine::signal::{Polled, Source};

use crate::kubernetes::access::Right;
use crate::look::targets::{DEPLOYMENT, HPA, Kind, ROLLOUT, SCALED_OBJECT};
use crate::workloads::{Profile, Profiles};

/// A kind that a policy reads or changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Used {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// How it is used.
    pub verbs: &'static [&'static str],
    /// The namespace; empty means the whole cluster.
    pub namespaces: Vec<String>,
    /// The meaning if the cluster does not serve the kind, or the permission is missing.
    pub presence: Presence,
}

/// The meaning if the cluster does not serve a kind, or the permission is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// The policy cannot work.
    Required,
    /// There is nothing to read.
    Optional,
    /// The policy works without it; this says what it does not know then.
    Helpful(&'static str),
}

/// Signals: they list and watch.
const READ: &[&str] = &["list", "watch"];
/// The targets of steps.
const CHANGE: &[&str] = &["get", "list", "patch"];

/// An object that a step names.
const CHANGE_ONE: &[&str] = &["get", "patch"];
/// Pods that keep a change from the others.
const DELETE: &[&str] = &["list", "delete"];
/// An object that a step only reads.
const LOOK: &[&str] = &["list"];

/// What is unknown without the list of ScaledObjects.
const DEMAND: &str =
    "the raised limit of an object that KEDA scales is not reverted before the response is withdrawn";

/// Every kind that the policy uses, and how. Owners of targets are not among them: only the
/// cluster knows them.
pub fn used(rules: &Rules, namespace: &str, profiles: &Profiles) -> Vec<Used> {
    let places = |spec: Option<&NamespacesSpec>| Namespaces::of(spec).places(namespace);
    let mut all = Vec::new();
    for signal in &rules.signals {
        match signal.kind.kind().source() {
            Source::Watch(watched) => {
                let places = watched.namespaces.places(namespace);
                all.push(required(watched.api_version, watched.kind, READ, places));
            }
            // Its objects are watched beside it.
            Source::Poll(Polled::Metrics(metrics)) => {
                let watched = metrics.watched();
                let places = watched.namespaces.places(namespace);
                all.push(required(watched.api_version, watched.kind, READ, places));
            }
            Source::Poll(Polled::Endpoint { .. } | Polled::Service(_)) | Source::Push => {}
        }
    }
    let mut changed_in = BTreeSet::new();
    for step in &rules.steps {
        let scope = &step.targets().scope;
        let namespaces = places(scope.namespaces.as_ref());
        let does = step.action.descriptor();
        match does.reach {
            Reach::Namespaces => changed_in.extend(namespaces.iter().cloned()),
            Reach::Cluster => {}
        }
        all.extend(autoscalers(step, &namespaces));
        all.extend(runners(step, &namespaces));
        if step.action.kind().reads_nodes() {
            let nodes = required("v1", "Node", LOOK, vec![String::new()]);
            let unknown =
                "the plan cannot tell whether a node without accelerators matches what stays of a placement";
            all.push(Used { presence: Presence::Helpful(unknown), ..nodes });
        }
        let profile = profiles.find(&scope.api_version, &scope.kind);
        if let Some(profile) = profile {
            all.extend(pods(profile, does.pods, &namespaces));
            all.extend(revisions(profile, does.yields, &namespaces));
        }
        all.push(required(&scope.api_version, &scope.kind, CHANGE, namespaces));
        for Named { object, .. } in step.action.kind().before() {
            let place = object.namespace.clone().unwrap_or_else(|| namespace.to_owned());
            changed_in.insert(place.clone());
            all.push(required(&object.api_version, &object.kind, CHANGE_ONE, vec![place]));
        }
    }
    if !changed_in.is_empty() {
        // Whether a namespace is exempt is read before anything in it is touched.
        let namespaces =
            if changed_in.contains("") { vec![String::new()] } else { changed_in.into_iter().collect() };
        all.push(required("v1", "Namespace", &["get"], namespaces));
    }
    // Every response leaves a report, whether it changed anything or not.
    let report = &["get", "create", "update"];
    all.push(required("v1", "ConfigMap", report, vec![namespace.to_owned()]));
    all
}

fn required(api_version: &str, kind: &str, verbs: &'static [&'static str], namespaces: Vec<String>) -> Used {
    let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
    Used { api_version, kind, verbs, namespaces, presence: Presence::Required }
}

/// The pods of the targets: those that block a change of their template, and why new ones do not start.
fn pods(profile: &Profile, effect: Pods, namespaces: &[String]) -> Vec<Used> {
    let needed = |kind, verbs| required("v1", kind, verbs, namespaces.to_vec());
    let unknown = "messages do not say why new pods do not start";
    let explains = |kind| Used { presence: Presence::Helpful(unknown), ..needed(kind, LOOK) };
    let ordered = profile.ordered_pods.as_ref().filter(|_| effect != Pods::Leaves);
    let deleted = ordered.map(|_| needed("Pod", DELETE));
    let pods = profile.pods.as_ref().map(|_| explains("Pod"));
    let events = profile.pods.as_ref().filter(|pods| pods.reads_events()).map(|_| explains("Event"));
    [deleted, pods, events].into_iter().flatten().collect()
}

/// The revisions of the targets: only they tell whether a restart took effect whose answer was lost and whose value
/// someone has replaced since.
fn revisions(profile: &Profile, yields: Yields, namespaces: &[String]) -> Option<Used> {
    let revisions = match yields {
        Yields::Operations(OperationType::Restart) => profile.restart.as_ref()?.revisions?,
        Yields::Operations(OperationType::DeletePod | OperationType::Rehearse) | Yields::Loans => {
            return None;
        }
    };
    let (api_version, kind) = revisions.kind();
    Some(required(api_version, kind, LOOK, namespaces.to_vec()))
}

/// The autoscalers that a step reads besides its targets.
fn autoscalers(step: &Step, namespaces: &[String]) -> Vec<Used> {
    let looks = |(api_version, kind): Kind| required(api_version, kind, LOOK, namespaces.to_vec());
    match step.action.descriptor().autoscalers {
        // The autoscalers of its targets, or of their owners.
        Autoscalers::Demand => {
            let scope = &step.targets().scope;
            let is_autoscaler =
                [HPA, SCALED_OBJECT].contains(&(scope.api_version.as_str(), scope.kind.as_str()));
            let through_keda = (!is_autoscaler)
                .then(|| Used { presence: Presence::Helpful(DEMAND), ..looks(SCALED_OBJECT) });
            [Some(looks(HPA)), through_keda].into_iter().flatten().collect()
        }
        Autoscalers::Owners => {
            vec![looks(HPA), Used { presence: Presence::Optional, ..looks(SCALED_OBJECT) }]
        }
        Autoscalers::Ignored => Vec::new(),
    }
}

/// What may run the pods of the targets, if those have none of their own. Without it, a Deployment whose pods a Rollout
/// runs is no target of a step that changes templates, as if it were off; a step that sets replicas changes none.
fn runners(step: &Step, namespaces: &[String]) -> Option<Used> {
    let (scope, does) = (&step.targets().scope, step.action.descriptor());
    let asks = does.pods == Pods::Replaces || does.autoscalers == Autoscalers::Owners;
    let may_have = (scope.api_version.as_str(), scope.kind.as_str()) == DEPLOYMENT && asks;
    let presence = match does.autoscalers {
        Autoscalers::Owners => Presence::Optional,
        Autoscalers::Demand | Autoscalers::Ignored => Presence::Helpful(
            "a Deployment without replicas is idle even if a Rollout runs its pods (workloadRef)",
        ),
    };
    may_have.then(|| Used { presence, ..required(ROLLOUT.0, ROLLOUT.1, LOOK, namespaces.to_vec()) })
}

/// The permissions that a policy needs on what is no kind of the cluster, so that nobody has to be asked which resource
/// serves it.
pub fn known_rights(rules: &Rules, namespace: &str) -> BTreeSet<Right> {
    let of_signal = |signal: &Signal| match signal.kind.kind().source() {
        Source::Watch(_) | Source::Push => Vec::new(),
        Source::Poll(Polled::Endpoint { name, .. }) => vec![Right::to_use(name, namespace)],
        Source::Poll(Polled::Service(service)) => {
            vec![Right::to_proxy(&service.proxied(), service.place(namespace))]
        }
        Source::Poll(Polled::Metrics(metrics)) => {
            let places = metrics.watched().namespaces.places(namespace);
            places.iter().map(|place| Right::to_list_metrics(metrics.of.resource(), place)).collect()
        }
    };
    rules.signals.iter().flat_map(of_signal).collect()
}

/// The permissions for one used kind, once its resource is known.
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
