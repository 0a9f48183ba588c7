//! scale: sets the number of replicas.

use serde::{Deserialize, Serialize};

use super::edit::{refused, replicas};
use super::targets::ALL;
use super::{Autoscalers, Descriptor, Fields, Kind, Plan, Pods, Reach, Room, Targets, Values, Yields};
use crate::change::Change;
use crate::facts::{ScaledBy, Target};
use crate::policy::Revert;
use crate::reason::Reason;
use crate::rules::Faults;
use crate::selector::TargetsSpec;

/// Sets the number of replicas.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct ScaleSpec {
    /// The objects to change. `where` defaults to `true`.
    pub targets: TargetsSpec,
    /// The number of replicas.
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100_000)))]
    pub replicas: u32,
    /// Also changes objects whose labels and annotations propagate to their pods. The undo record restarts
    /// these pods.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_restart: bool,
}

/// Sets the number of replicas.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Scale {
    /// The objects.
    pub targets: Targets,
    /// The new number.
    pub replicas: i64,
    /// Whether our metadata may restart pods.
    pub pods: Pods,
}

impl Scale {
    pub(super) fn parse(spec: &ScaleSpec, field: &str, faults: &mut Faults) -> Option<Self> {
        Some(Self {
            targets: Targets::parse(&spec.targets, ALL, field, faults)?,
            replicas: i64::from(spec.replicas),
            pods: Pods::left_unless(spec.allow_restart),
        })
    }
}

impl Kind for Scale {
    fn targets(&self) -> &Targets {
        &self.targets
    }

    fn targets_mut(&mut self) -> &mut Targets {
        &mut self.targets
    }

    fn descriptor(&self) -> Descriptor {
        Descriptor {
            yields: Yields::Loans,
            pods: self.pods,
            values: Values::Absolute,
            autoscalers: Autoscalers::Owners,
            reach: Reach::Namespaces,
            fields: Fields::ProfileOrScale,
            room: Room::AsItIs,
            revert: Revert::OnRecovery,
        }
    }

    fn plan(&self, target: &Target, _: Option<&Change>) -> Plan {
        match &target.scaled_by {
            ScaledBy::Nobody => replicas(target, self.replicas),
            ScaledBy::Autoscaler(who) => refused(
                Reason::OwnedByAutoscaler,
                format!(
                    "{who} sets its replicas and would overwrite the change; raise the limit of {who} instead"
                ),
            ),
            ScaledBy::Runner(who) => refused(
                Reason::OwnedByAutoscaler,
                format!(
                    "{who} runs the pods from its template, so replicas here would start others beside them; \
                     scale {who} instead"
                ),
            ),
            ScaledBy::Unknown(why) => refused(
                Reason::AutoscalerUnknown,
                format!("cannot tell whether an autoscaler sets its replicas: {why}"),
            ),
        }
    }
}
