//! How the pods of an object are found, to say why new ones do not start.

use std::collections::BTreeMap;

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::path::FieldPath;
use serde::Deserialize;

use super::message::Message;

/// How to find the pods of an object, and what keeps new ones from starting. None of it is changed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodsOf {
    /// The label selector of its pods; the first of these fields that it has.
    #[serde(default)]
    pub selector: Vec<FieldPath>,
    /// Labels that only its pods have, if it has no selector.
    #[serde(default)]
    pub labels: BTreeMap<String, Message>,
    /// The label with which the ReplicaSets between it and its pods are named after it. Not used with `labels`.
    #[serde(default)]
    pub replica_sets: Option<String>,
    /// What its pods are made of. A pod is new if the changed fields have their present value in it. Without templates, all
    /// are.
    #[serde(default)]
    pub templates: Vec<PodTemplate>,
    /// Where its controller says why it cannot create a pod; absent if it can. Without this path, Events say so.
    #[serde(default)]
    pub refused: Option<FieldPath>,
    /// Whose Events say so.
    #[serde(default)]
    pub events: EventsOf,
    /// How many pods a replica has; absent means 1.
    #[serde(default)]
    pub pods_per_replica: Option<FieldPath>,
    /// Which old pods must be gone before a new one is created, whatever the pace.
    #[serde(default)]
    pub waits_for_old: Option<WaitsForOld>,
}

/// What new pods wait for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WaitsForOld {
    /// Which old pods.
    pub pods: OldPods,
    /// CEL over `object`: true if its pods are replaced like this.
    #[serde(deserialize_with = "super::condition")]
    pub when: ObjectCondition,
}

/// Old pods that must be gone before a new one is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum OldPods {
    /// All of them.
    All,
    /// The one that has the name of the new one.
    OfItsName,
}

/// What some of the pods of an object are made of.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodTemplate {
    /// The template. A pod is made from the first template that the object has and whose labels the pod has.
    pub path: FieldPath,
    /// The part of a pod that it describes, such as `/spec`; absent means the whole pod.
    #[serde(default)]
    pub part: Option<FieldPath>,
    /// Labels of the pods that are made of it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Whose Events say why pods cannot be created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum EventsOf {
    /// Those of the object.
    #[default]
    Itself,
    /// Those of StatefulSets with its name, or with its name and a number.
    StatefulSets,
    /// That is not known.
    Nobody,
}

impl PodsOf {
    /// The same pods, where another object runs them: these are `its`.
    pub fn run_by(&self, its: &Self) -> Self {
        Self { selector: self.selector.clone(), templates: self.templates.clone(), ..its.clone() }
    }

    /// Whether Events say why pods cannot be created.
    pub fn reads_events(&self) -> bool {
        self.refused.is_none() && self.events != EventsOf::Nobody
    }
}
