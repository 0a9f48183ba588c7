//! When the profiles change, everything that depended on them is derived again.

use super::Operator;

/// Whenever the profiles change, makes every policy and its Incidents due, and drops what depended on the old ones:
/// parsed rules, and watches that judge objects by them. Started steps continue from the Incident's own status.
pub(super) async fn follow(operator: &Operator) {
    let mut profiles = operator.context.profiles.clone();
    loop {
        profiles.changed().await;
        operator.memories.forget_rules();
        for policy in operator.policies.names() {
            operator.hub.unsubscribe(&(&policy).into());
            operator.nudge_incidents_of(&policy);
            operator.nudge_policy(&policy);
        }
    }
}
