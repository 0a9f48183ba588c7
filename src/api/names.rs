//! Every annotation, label and finalizer that Firebreak writes or obeys, in one
//! place. Those that are part of the undo record on a target are the engine's:
//! `firebreak_engine::undo`.

/// The group of all kinds.
pub const GROUP: &str = "firebreak.dev";

/// The version of all kinds.
pub const VERSION: &str = "v1alpha1";

/// Who we are in managedFields, as the reporter of Events and in `app.kubernetes.io/managed-by`.
pub const FIELD_MANAGER: &str = "firebreak";

/// Label on created objects, with [`FIELD_MANAGER`] as its value.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Label on targets and created objects: the uid of the Incident. On a target
/// it comes and goes with the undo record, in the same write.
pub const INCIDENT: &str = "firebreak.dev/incident";

/// Label on Incidents: the name of their policy. From these the status of a
/// policy is rebuilt that was deleted and created again.
pub const POLICY: &str = "firebreak.dev/policy";

/// Annotation on Incidents that the controller created: the nonce under which
/// the policy's `status.activeIncident` claimed the name beforehand.
pub const NONCE: &str = "firebreak.dev/nonce";

/// Annotation on an object or its namespace: `"true"` means never a target.
pub const EXEMPT: &str = "firebreak.dev/exempt";

/// Annotation on an Incident that is being deleted: `"true"` lets go of what
/// cannot be put back. The records stay on the objects.
pub const ABANDON: &str = "firebreak.dev/abandon";

/// Finalizer on an Incident from before its first change until no loan and no
/// fence is outstanding.
pub const FINALIZER: &str = "firebreak.dev/loans";
