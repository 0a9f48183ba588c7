//! What a step does: one struct per action.

use serde::{Deserialize, Serialize};

use super::selector::TargetsSpec;

/// What a step does. Exactly one member must be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.cpuFallback)", "message": "exactly one action must be set"}
])))]
#[serde(rename_all = "camelCase")]
pub struct ActionSpec {
    /// Let workloads run without accelerators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_fallback: Option<CpuFallbackSpec>,
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
