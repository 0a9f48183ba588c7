//! The profile of a kind: where its fields are and how its health is read.
//!
//! One YAML file per kind in `profiles/`, compiled in; the operator's
//! configuration adds more. The documentation of the structs is the
//! documentation of the files; an unknown field is an error. The names
//! of accelerators are the same for every kind and are in `accelerators.yaml`.

mod check;
mod each;
mod fields;
mod message;
mod names;
mod pods_of;
mod refusal;
mod registry;
mod restart;
mod rolling;
mod scaled;

use std::sync::Arc;

use firebreak_engine::expression::{ObjectCondition, ObjectScope};
use firebreak_engine::path::FieldPath;
use serde::{Deserialize, Deserializer};

use self::check::checked;
pub use self::fields::{
    Absent, Accelerators, Case, Counts, Flag, Limit, Means, OrderedPods, Pin, Placement, Quantization,
    ReadyAbsent, Replicas, SchedulerAbsent, Setting, SettingDefault,
};
pub use self::message::Message;
pub use self::names::{AcceleratorNames, Pattern, Program, ServerNames};
pub use self::pods_of::{EventsOf, OldPods, PodTemplate, PodsOf};
pub use self::refusal::Refusal;
pub use self::registry::{ProfileError, Profiles};
pub use self::restart::Restart;
pub use self::rolling::{Percentages, RollingUpdate, Share};

/// One kind. Paths are field paths as in the undo record: `/spec/resources`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Profile {
    /// Group and version, such as `apps/v1`. Another version of the kind needs another profile.
    #[serde(deserialize_with = "text")]
    pub api_version: String,
    /// Kind, for example `Deployment`.
    #[serde(deserialize_with = "text")]
    pub kind: String,
    /// Labels and annotations of the object propagate to its pods, so that every write of the undo record
    /// restarts them. An action that would not restart pods anyway is then rejected unless the policy allows
    /// it.
    #[serde(default)]
    pub metadata_propagates: bool,
    /// Where the object requests accelerators, if it does.
    #[serde(default, deserialize_with = "checked")]
    pub accelerators: Option<Accelerators>,
    /// Where the quantization of its model is, if the kind has such a field.
    #[serde(default, deserialize_with = "checked")]
    pub quantization: Option<Quantization>,
    /// What decides on which nodes its pods may start.
    #[serde(default, deserialize_with = "checked")]
    pub placement: Placement,
    /// Where the pace of its rolling updates is. Not used of a kind whose metadata propagates to its pods: there the
    /// record could only be dropped with another rollout.
    #[serde(default, deserialize_with = "checked")]
    pub rolling_updates: Vec<RollingUpdate>,
    /// Where its number of replicas is, if it has one.
    #[serde(default, deserialize_with = "checked")]
    pub replicas: Option<Replicas>,
    /// Where it reports how many pods it wants and has, if nobody sets a number.
    #[serde(default)]
    pub counts: Option<Counts>,
    /// Where the highest number of replicas is that an autoscaler may set, if the kind is or has an autoscaler.
    #[serde(default, deserialize_with = "checked")]
    pub autoscaler_limit: Option<Limit>,
    /// Where the name of the scheduler of its pods is.
    #[serde(default, deserialize_with = "checked")]
    pub scheduler: Vec<FieldPath>,
    /// What an absent name of the scheduler means, where the map around it is there.
    #[serde(default)]
    pub scheduler_absent: SchedulerAbsent,
    /// How many requests its servers process in one batch.
    #[serde(default, deserialize_with = "checked")]
    pub batch_size: Option<Setting>,
    /// How many requests its servers process at once.
    #[serde(default, deserialize_with = "checked")]
    pub max_concurrency: Option<Setting>,
    /// How its pods are restarted, if a field does that.
    #[serde(default, deserialize_with = "checked")]
    pub restart: Option<Restart>,
    /// Fields that must not be changed in some objects, or in any.
    #[serde(default)]
    pub not_applicable: Vec<Refusal>,
    /// CEL over `object`: true for a healthy one.
    #[serde(deserialize_with = "condition")]
    pub healthy: ObjectCondition,
    /// The type of the condition in its status that `healthy` reads, if there is one. While it is not True, its
    /// `lastTransitionTime` says since when the object is not healthy.
    #[serde(default)]
    pub health_condition: Option<String>,
    /// The states in which it is stopped or parked on purpose: it is neither healthy nor unhealthy then, and no target.
    #[serde(default)]
    pub idle: Vec<Case>,
    /// The states in which its pods keep the template that they have, with what to do.
    #[serde(default)]
    pub rollout_paused: Vec<Case>,
    /// What people must know before its template is changed.
    #[serde(default)]
    pub warnings: Vec<Case>,
    /// When it has finished rolling out: every stage is done. Evaluated in order, so a stage may rely on
    /// the previous ones.
    pub rollout: Vec<RolloutStage>,
    /// Where it reports how many replicas its own autoscaler wants, if it does.
    #[serde(default)]
    pub wants: Option<FieldPath>,
    /// CEL over `object`: true if its rollout cannot continue without help.
    #[serde(default, deserialize_with = "optional_condition")]
    pub stuck: Option<ObjectCondition>,
    /// If its pods get a new template one after the other: a pod that never becomes ready is then deleted, because it
    /// would keep the change from itself and from the others.
    #[serde(default)]
    pub ordered_pods: Option<OrderedPods>,
    /// How its pods are found, to say why new ones do not start.
    #[serde(default)]
    pub pods: Option<PodsOf>,
    /// What counts as an accelerator; the same for every kind.
    #[serde(skip)]
    pub names: Arc<AcceleratorNames>,
}

/// One stage of a rollout.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutStage {
    /// CEL over `object`: true when the stage is done.
    #[serde(deserialize_with = "condition")]
    pub done: ObjectCondition,
    /// The message for people until then.
    pub otherwise: Message,
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Err(serde::de::Error::custom("must not be empty")) } else { Ok(text) }
}

fn condition<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectCondition, D::Error> {
    let source = String::deserialize(deserializer)?;
    ObjectCondition::parse(&source, ObjectScope::Object).map_err(serde::de::Error::custom)
}

fn optional_condition<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ObjectCondition>, D::Error> {
    condition(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
