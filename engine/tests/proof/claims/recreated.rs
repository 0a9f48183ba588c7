//! What a storm meets too rarely, step by step: the policy is deleted and created again before its Incident has acted,
//! and one controller is slow to see that.

use super::*;

impl Run {
    /// The watch of Incidents goes on, and that of policies does not.
    fn watch_incidents(&mut self, which: usize) {
        let policy = self.controllers[which].policy;
        self.watch(which);
        self.controllers[which].policy = policy;
    }

    fn policy_is_recreated(&mut self) {
        self.calm = true;
        self.world.ready = 0;
        for _ in 0..2 {
            self.watch(0);
            self.policy_round(0);
            self.world.now += SignedDuration::from_secs(2);
        }
        assert!(matches!(self.world.claim(), Claim::Bound { .. }), "the story does not begin");
        self.watch_incidents(0);
        self.world.delete_policy();
        self.world.create_policy();
        // The other controller sees it all.
        for _ in 0..2 {
            self.watch(1);
            self.policy_round(1);
            self.watch(1);
            self.incident_round(1, self.world.incidents.len() - 1);
            self.world.now += SignedDuration::from_secs(2);
        }
        assert!(self.open().iter().any(|(_, acts)| *acts), "the new policy does not respond");
        // The slow one first works with what its watch has shown, and then with what there is.
        self.incident_round(0, 0);
        self.watch_incidents(0);
        self.incident_round(0, 0);
        self.settle();
        self.assert_it_responds();
    }
}

/// Err is what went wrong.
pub(super) fn tell(decide: DecidePolicy, driver: Driver) -> Result<Done, String> {
    Run::new(0, decide, driver).caught(Run::policy_is_recreated)
}

#[test]
fn a_view_of_the_deleted_policy_lets_no_incident_act() {
    let done = tell(decide_policy, Driver::Sound).unwrap_or_else(|story| panic!("{story}"));
    assert_eq!((done.acted, done.superseded), (1, 1), "the Incident of the deleted policy never acts");
}
