//! The steps of a response, in their order.

use crate::incident::{IncidentState, StepState};
use crate::rules::{Rules, Step, begun_step};

/// The started steps as they were when they started, and the others as they are in the policy.
pub fn ladder(state: &IncidentState, rules: Option<&Rules>) -> Vec<Step> {
    let shapes = rules.map(Rules::shapes).unwrap_or_default();
    let live = rules.map(|rules| rules.steps.as_slice()).unwrap_or_default();
    let begun = |name: &str| {
        let definition = state.step(name)?.definition.as_ref()?;
        // Already parsed, unless the policy was edited since the step started.
        let parsed = live.iter().find(|step| step.definition == *definition).map(Step::as_begun);
        parsed.or_else(|| begun_step(definition, &shapes))
    };
    let mut ladder: Vec<Step> = state
        .steps
        .iter()
        .filter(|status| !live.iter().any(|step| step.name == status.name))
        .filter_map(|status| begun(&status.name))
        .collect();
    ladder.extend(live.iter().map(|step| begun(&step.name).unwrap_or_else(|| step.clone())));
    ladder
}

/// A step that is not in the status yet counts as Pending.
pub(crate) fn is_begun(state: &IncidentState, step: &str) -> bool {
    state.step(step).is_some_and(|status| status.definition.is_some() && status.state != StepState::Skipped)
}
