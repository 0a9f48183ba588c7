//! The objects that an action selects.

use crate::expression::{ObjectCondition, ObjectScope};
use crate::rules::Faults;
use crate::selector::TargetsSpec;

/// Moving healthy models would make the outage worse.
pub(super) const UNHEALTHY: &str = "!healthy";
pub(super) const ALL: &str = "true";

/// The objects that a step changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Targets {
    /// As the policy writes it.
    pub scope: TargetsSpec,
    /// The condition on each object, the action's default included.
    pub where_: ObjectCondition,
}

impl Targets {
    /// `otherwise` is the condition if the policy sets none.
    pub(super) fn parse(
        spec: &TargetsSpec,
        otherwise: &str,
        field: &str,
        faults: &mut Faults,
    ) -> Option<Self> {
        Self::written_in(spec, otherwise, &format!("{field}.targets"), faults)
    }

    /// The same, for a field that selects the objects itself.
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

    /// Lets the condition be true of every object.
    pub(super) fn select_all(&mut self) {
        if let Ok(all) = ObjectCondition::parse(ALL, ObjectScope::ObjectAndHealthy) {
            self.where_ = all;
        }
    }
}
