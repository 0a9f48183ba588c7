//! What users write and read: the custom resources, their conditions, who may
//! say what in them, and the names that Firebreak leaves on other objects.
//!
//! Only shapes: nothing here calls anything. The insides of spec and status
//! are the engine's plain data, so that no type exists twice.

mod admission;
pub mod condition;
pub mod incident;
mod manifests;
pub mod names;
pub mod policy;

pub use admission::SHIPPED_NAMESPACE;
pub use condition::{Condition, ConditionType};
pub use firebreak_engine::intent::{Approval, Response};
pub use incident::{Incident, IncidentSpec, IncidentStatus, PolicyRef};
pub use manifests::{crds, files, manifests};
pub use policy::{RemediationPolicy, RemediationPolicySpec, RemediationPolicyStatus};
