//! The actions of steps, parsed.

use super::faults::Faults;
use crate::expression::{ObjectCondition, ObjectScope};
use crate::policy::{ActionSpec, ObjectRef, Placement, ReduceBatchSpec, Revert, TargetsSpec};

/// The scheduler of every pod that does not name one.
const DEFAULT_SCHEDULER: &str = "default-scheduler";
const DEFAULT_FACTOR: u32 = 2;
/// Moving healthy models would be the second half of the outage.
const UNHEALTHY: &str = "!healthy";
const ALL: &str = "true";

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Let workloads run without accelerators.
    CpuFallback {
        /// Which objects.
        targets: Targets,
        /// The quantization to fall back to.
        quantization: Option<String>,
        /// Whether placement is released.
        placement: Placement,
    },
    /// Let autoscalers go further.
    RaiseAutoscalerLimit {
        /// Which objects.
        targets: Targets,
        /// The limit times this.
        factor: i64,
        /// And never above this.
        ceiling: i64,
        /// Pods may start anew because of our metadata.
        allow_restart: bool,
    },
    /// Let workloads be scheduled by another scheduler.
    SchedulerFallback {
        /// Which objects.
        targets: Targets,
        /// Those that use this scheduler.
        from: String,
        /// Use this one instead.
        to: String,
        /// The broken scheduler, scaled to 0 first.
        retire: Option<ObjectRef>,
    },
    /// Let models work on less at once.
    ReduceBatch {
        /// Which objects.
        targets: Targets,
        /// By how much.
        reduction: Reduction,
    },
    /// Set the number of replicas.
    Scale {
        /// Which objects.
        targets: Targets,
        /// So many.
        replicas: i64,
        /// Pods may start anew because of our metadata.
        allow_restart: bool,
    },
}

/// How far batch size and concurrency go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// To these values; what is not given stays.
    To {
        /// Requests in one batch.
        batch_size: Option<i64>,
        /// Requests at once.
        max_concurrency: Option<i64>,
    },
    /// To so many hundredths of what they are.
    Percent(i64),
}

/// Which objects a step changes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Targets {
    /// As it was written.
    pub scope: TargetsSpec,
    /// The condition on each object, the action's default included.
    pub where_: ObjectCondition,
}

impl Action {
    /// The name, as in the API and in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CpuFallback { .. } => "cpuFallback",
            Self::RaiseAutoscalerLimit { .. } => "raiseAutoscalerLimit",
            Self::SchedulerFallback { .. } => "schedulerFallback",
            Self::ReduceBatch { .. } => "reduceBatch",
            Self::Scale { .. } => "scale",
        }
    }

    /// The objects that it changes, but for a scheduler that it retires.
    pub fn targets(&self) -> &Targets {
        match self {
            Self::CpuFallback { targets, .. }
            | Self::RaiseAutoscalerLimit { targets, .. }
            | Self::SchedulerFallback { targets, .. }
            | Self::ReduceBatch { targets, .. }
            | Self::Scale { targets, .. } => targets,
        }
    }

    /// The scheduler that it takes pods from.
    pub fn replaces(&self) -> Option<&str> {
        match self {
            Self::SchedulerFallback { from, .. } => Some(from),
            Self::CpuFallback { .. }
            | Self::RaiseAutoscalerLimit { .. }
            | Self::ReduceBatch { .. }
            | Self::Scale { .. } => None,
        }
    }

    /// The broken scheduler that it scales to 0 first.
    pub fn retires(&self) -> Option<&ObjectRef> {
        match self {
            Self::SchedulerFallback { retire, .. } => retire.as_ref(),
            Self::CpuFallback { .. }
            | Self::RaiseAutoscalerLimit { .. }
            | Self::ReduceBatch { .. }
            | Self::Scale { .. } => None,
        }
    }

    /// Whether the pods of an object may start anew: the action changes their template anyway, or the
    /// policy says so.
    pub fn may_restart(&self) -> bool {
        match self {
            Self::RaiseAutoscalerLimit { allow_restart, .. } | Self::Scale { allow_restart, .. } => {
                *allow_restart
            }
            Self::CpuFallback { .. } | Self::SchedulerFallback { .. } | Self::ReduceBatch { .. } => true,
        }
    }

    /// Whether it changes what the pods of its targets are made from, so that pods which never get the
    /// change may have to go.
    pub fn changes_pods(&self) -> bool {
        match self {
            Self::CpuFallback { .. } | Self::SchedulerFallback { .. } | Self::ReduceBatch { .. } => true,
            Self::RaiseAutoscalerLimit { .. } | Self::Scale { .. } => false,
        }
    }

    /// Whether it multiplies: then the first intent fixes how far it may ever go.
    pub fn is_relative(&self) -> bool {
        matches!(self, Self::RaiseAutoscalerLimit { .. })
    }

    /// When its changes go back unless the step says otherwise.
    pub fn default_revert(&self) -> Revert {
        match self {
            // The scheduler is broken until a person says that it is not.
            Self::SchedulerFallback { .. } => Revert::OnRequest,
            Self::CpuFallback { .. }
            | Self::RaiseAutoscalerLimit { .. }
            | Self::ReduceBatch { .. }
            | Self::Scale { .. } => Revert::OnRecovery,
        }
    }
}

pub(super) fn parse_action(action: &ActionSpec, field: &str, faults: &mut Faults) -> Option<Action> {
    let ActionSpec { cpu_fallback, raise_autoscaler_limit, scheduler_fallback, reduce_batch, scale } = action;
    let given = [
        cpu_fallback.is_some(),
        raise_autoscaler_limit.is_some(),
        scheduler_fallback.is_some(),
        reduce_batch.is_some(),
        scale.is_some(),
    ];
    if given.iter().filter(|given| **given).count() != 1 {
        let known = "cpuFallback, raiseAutoscalerLimit, schedulerFallback, reduceBatch, scale";
        faults.add(field, format!("exactly one action must be set; this release has {known}"));
        return None;
    }
    if let Some(spec) = cpu_fallback {
        return Some(Action::CpuFallback {
            targets: targets(&spec.targets, UNHEALTHY, &format!("{field}.cpuFallback"), faults)?,
            quantization: spec.quantization.clone(),
            placement: spec.placement,
        });
    }
    if let Some(spec) = raise_autoscaler_limit {
        return Some(Action::RaiseAutoscalerLimit {
            targets: targets(&spec.targets, ALL, &format!("{field}.raiseAutoscalerLimit"), faults)?,
            factor: i64::from(spec.factor.unwrap_or(DEFAULT_FACTOR)),
            ceiling: i64::from(spec.ceiling),
            allow_restart: spec.allow_restart,
        });
    }
    if let Some(spec) = scheduler_fallback {
        let field = format!("{field}.schedulerFallback");
        let to = spec.scheduler_name.clone().unwrap_or_else(|| DEFAULT_SCHEDULER.to_owned());
        if to == spec.from {
            faults.add(format!("{field}.from"), "the broken scheduler and schedulerName are the same");
            return None;
        }
        return Some(Action::SchedulerFallback {
            targets: targets(&spec.targets, UNHEALTHY, &field, faults)?,
            from: spec.from.clone(),
            to,
            retire: spec.retire.clone(),
        });
    }
    if let Some(spec) = reduce_batch {
        let field = format!("{field}.reduceBatch");
        return Some(Action::ReduceBatch {
            reduction: reduction(spec, &field, faults)?,
            targets: targets(&spec.targets, ALL, &field, faults)?,
        });
    }
    let spec = scale.as_ref()?;
    Some(Action::Scale {
        targets: targets(&spec.targets, ALL, &format!("{field}.scale"), faults)?,
        replicas: i64::from(spec.replicas),
        allow_restart: spec.allow_restart,
    })
}

fn targets(spec: &TargetsSpec, otherwise: &str, field: &str, faults: &mut Faults) -> Option<Targets> {
    let field = format!("{field}.targets");
    faults.check_namespaces(spec.namespaces.as_ref(), &field);
    let where_ = spec.where_.as_deref().unwrap_or(otherwise);
    let where_ = faults.object_condition(format!("{field}.where"), where_, ObjectScope::ObjectAndHealthy)?;
    Some(Targets { scope: spec.clone(), where_ })
}

fn reduction(spec: &ReduceBatchSpec, field: &str, faults: &mut Faults) -> Option<Reduction> {
    match (spec.percent, spec.batch_size, spec.max_concurrency) {
        (Some(percent), None, None) => Some(Reduction::Percent(i64::from(percent))),
        (None, batch_size, max_concurrency) if batch_size.or(max_concurrency).is_some() => {
            Some(Reduction::To {
                batch_size: batch_size.map(i64::from),
                max_concurrency: max_concurrency.map(i64::from),
            })
        }
        (None, _, _) | (Some(_), _, _) => {
            let problem = "either percent or at least one of batchSize and maxConcurrency must be set";
            faults.add(field, problem);
            None
        }
    }
}
