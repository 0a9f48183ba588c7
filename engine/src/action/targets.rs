//! Which objects an action is for.

use crate::expression::{ObjectCondition, ObjectScope};
use crate::rules::Faults;
use crate::selector::TargetsSpec;

/// Moving healthy models would be the second half of the outage.
pub(super) const UNHEALTHY: &str = "!healthy";
pub(super) const ALL: &str = "true";

/// Which objects a step changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Targets {
    /// As it was written.
    pub scope: TargetsSpec,
    /// The condition on each object, the action's default included.
    pub where_: ObjectCondition,
}

impl Targets {
    /// `otherwise` is the condition if none is written.
    pub(super) fn parse(
        spec: &TargetsSpec,
        otherwise: &str,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        Self::written_in(spec, otherwise, &format!("{field}.targets"), faults)
    }

    /// The same, where the field itself says which objects.
    pub(super) fn written_in(
        spec: &TargetsSpec,
        otherwise: &str,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        faults.check_namespaces(spec.namespaces.as_ref(), field);
        let where_ = spec.where_.as_deref().unwrap_or(otherwise);
        let where_ =
            faults.object_condition(format!("{field}.where"), where_, ObjectScope::ObjectAndHealthy)?;
        Some(Self { scope: spec.clone(), where_ })
    }
}
