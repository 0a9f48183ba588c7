//! Events on a policy about what it expects. Best effort: nothing waits for them.

use firebreak_engine::decide_policy::PolicyState;
use firebreak_engine::expected::EXPECTED_ACCEPTED;
use kube::Resource;

use crate::api::RemediationPolicy;
use crate::controller::Operator;
use crate::kubernetes::events::{EventType, Notice};

/// What is said about the numbers that are accepted with this state.
pub fn accepted(before: Option<&PolicyState>, next: &PolicyState) -> Vec<String> {
    let told = |signal: &str| {
        let known = before?.expected.iter().find(|old| old.signal == signal)?;
        known.accepted.as_ref()
    };
    let news = next.expected.iter().filter_map(|expected| {
        let accepted = expected.accepted.as_ref()?;
        (told(&expected.signal) != Some(accepted)).then(|| accepted.explain(&expected.signal))
    });
    news.collect()
}

/// Publishes it.
pub fn say(operator: &Operator, policy: &RemediationPolicy, told: Vec<String>) {
    for note in told {
        operator.context.events.publish(Notice {
            regarding: policy.object_ref(&()),
            event_type: EventType::Normal,
            reason: EXPECTED_ACCEPTED.to_owned(),
            action: "Expect".to_owned(),
            note,
        });
    }
}
