//! Every annotation, label and finalizer that Firebreak writes or obeys, in one
//! place. Those that stand on targets are the engine's, which builds the patches.

pub use firebreak_engine::decide_policy::incident_name as incident;
pub use firebreak_engine::undo::{EXEMPT, FENCE, INCIDENT, MANAGER, UNDO};

/// Label on created objects, with [`MANAGER`] as its value. They carry [`INCIDENT`] too.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label on Incidents: the name of their policy. From these the status of a
/// policy is rebuilt that was deleted and created again.
pub const POLICY: &str = "firebreak.dev/policy";

/// Annotation on Incidents that the controller created: the nonce under which
/// the policy's `status.activeIncident` claimed the name beforehand. The API server
/// takes it from nobody but the controller.
pub const NONCE: &str = "firebreak.dev/nonce";

/// Annotation on a policy: how many objects of its signals a person expects, as `firebreak expect` writes it.
pub const EXPECT: &str = "firebreak.dev/expect";

/// Annotation on an Incident that is being deleted: `"true"` abandons what cannot be reverted. The records
/// stay on the objects.
pub const ABANDON: &str = "firebreak.dev/abandon";

/// Finalizer on an Incident from before its first change until no loan and no
/// fence is outstanding.
pub const FINALIZER: &str = "firebreak.dev/loans";
