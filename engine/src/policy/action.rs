//! What a step does: one struct per action.

use serde::{Deserialize, Serialize};

use crate::id::TargetId;
use crate::selector::TargetsSpec;

/// What a step does. Exactly one member must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "[has(self.cpuFallback), has(self.raiseAutoscalerLimit), has(self.schedulerFallback), has(self.reduceBatch), has(self.scale)].filter(set, set).size() == 1", "message": "exactly one action must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ActionSpec {
    /// Let workloads run without accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_fallback: Option<CpuFallbackSpec>,
    /// Let autoscalers go further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise_autoscaler_limit: Option<RaiseAutoscalerLimitSpec>,
    /// Let workloads be scheduled by another scheduler.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_fallback: Option<SchedulerFallbackSpec>,
    /// Let models work on less at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduce_batch: Option<ReduceBatchSpec>,
    /// Set the number of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<ScaleSpec>,
}

/// Requests and limits of accelerators to "0", so that the pods can start on any node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct CpuFallbackSpec {
    /// Which objects. `where` is `!healthy` unless said otherwise.
    pub targets: TargetsSpec,
    /// The quantization that the model falls back to, such as `int8`, where the kind has such a field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub quantization: Option<String>,
    /// Whether placement on accelerator nodes is released too.
    #[serde(default)]
    pub placement: Placement,
}

/// What happens to nodeSelector entries, affinity terms and runtime class that pin pods to accelerator nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Placement {
    /// They are removed, or the pods could not start anywhere.
    #[default]
    Release,
    /// They stay.
    Keep,
}

/// The highest number of replicas that autoscalers may set, times a factor. It is never lowered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RaiseAutoscalerLimitSpec {
    /// Which autoscalers, or workloads with an autoscaler of their own. `where` is `true` unless said otherwise.
    pub targets: TargetsSpec,
    /// The limit is multiplied by this. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 10)))]
    pub factor: Option<u32>,
    /// The limit is never set above this.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub ceiling: u32,
    /// Changes objects whose labels and annotations reach their pods, although these pods start anew then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_restart: bool,
}

/// Workloads that use one scheduler use another one instead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SchedulerFallbackSpec {
    /// Which objects. `where` is `!healthy` unless said otherwise.
    pub targets: TargetsSpec,
    /// The scheduler that is broken: only workloads that name it are changed.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub from: String,
    /// The scheduler that they use instead. Default `default-scheduler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub scheduler_name: Option<String>,
    /// The workload that runs the broken scheduler: it is scaled to 0 first, and restored and available
    /// again before the workloads go back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire: Option<ObjectRef>,
}

/// One object. A namespace may be left out for the policy's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Group and version, such as `apps/v1`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 317)))]
    pub api_version: String,
    /// Kind, such as `Deployment`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub kind: String,
    /// Namespace; without it the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub namespace: Option<String>,
    /// Name.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
}

impl ObjectRef {
    /// Whether it means this object, for a policy in the namespace `own`.
    pub fn names(&self, target: &TargetId, own: &str) -> bool {
        let group = |api_version: &str| api_version.split_once('/').map(|(group, _)| group.to_owned());
        target.kind == self.kind
            && target.name == self.name
            && target.namespace == self.namespace.as_deref().unwrap_or(own)
            && group(&target.api_version) == group(&self.api_version)
    }
}

/// Batch size and concurrency of models go down; a value that is lower already stays. Give `batchSize`,
/// `maxConcurrency` or both, or `percent` for both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.percent) != (has(self.batchSize) || has(self.maxConcurrency))", "message": "either percent or at least one of batchSize and maxConcurrency must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ReduceBatchSpec {
    /// Which objects. `where` is `true` unless said otherwise.
    pub targets: TargetsSpec,
    /// At most so many requests in one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub batch_size: Option<u32>,
    /// At most so many requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 100_000)))]
    pub max_concurrency: Option<u32>,
    /// So many hundredths of what each is now, rounded down to at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 99)))]
    pub percent: Option<u32>,
}

/// The number of replicas is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScaleSpec {
    /// Which objects. `where` is `true` unless said otherwise.
    pub targets: TargetsSpec,
    /// So many replicas.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100_000)))]
    pub replicas: u32,
    /// Changes objects whose labels and annotations reach their pods, although these pods start anew then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_restart: bool,
}
