//! What goes wrong, and the end: people who open, withdraw and delete Incidents, nodes that come and go.

use super::*;

impl Run {
    /// People open, withdraw and delete Incidents, and delete the policy and create it again.
    pub(super) fn person(&mut self) {
        let open: Vec<usize> = (0..self.world.incidents.len())
            .filter(|at| {
                self.world.incidents[*at].stage().resolved_at.is_none() && !self.world.incidents[*at].gone
            })
            .collect();
        let some = open.get(self.dice.roll(open.len().max(1) as u64) as usize).copied();
        match (self.dice.roll(if self.deletes { 8 } else { 6 }), some) {
            (0, _) => {
                let number = self.world.incidents.len();
                self.world.create(&format!("hand-{number}"), None);
            }
            // By chance or on purpose, with the name that the policy is about to use.
            (1, _) => {
                let announced = self.world.claim().name().map(str::to_owned);
                let name = announced.unwrap_or_else(|| incident_name("gpu", self.world.now));
                self.world.create(&name, None);
            }
            (2, Some(at)) => self.world.edit(at, |stage| stage.deleting = true),
            (3 | 4, Some(at)) => self.world.edit(at, |stage| stage.asked = Some(Closing::Withdrawn)),
            (6 | 7, _) => {
                self.world.delete_policy();
                if self.dice.one_in(2) {
                    self.world.create_policy();
                }
            }
            _ => {}
        }
    }

    pub(super) fn storm(&mut self) {
        for _ in 0..60 + self.dice.roll(120) {
            let step = [20, 20, 500, 500, 3000, 20_000][self.dice.roll(6) as usize];
            self.world.now += SignedDuration::from_millis(1 + self.dice.roll(step) as i64);
            self.deliver(false);
            if self.dice.one_in(4) {
                self.world.ready = [0, 5, 8][self.dice.roll(3) as usize];
                self.world.note(format!("{} nodes are ready", self.world.ready));
            }
            if self.dice.one_in(8) {
                self.person();
            }
            if self.world.policy().is_none() && self.dice.one_in(8) {
                self.world.create_policy();
            }
            let which = usize::from(self.dice.one_in(3));
            self.round(which);
        }
    }

    /// Without faults, until every part has had its turn several times.
    pub(super) fn settle(&mut self) {
        for _ in 0..12 {
            self.world.now += SignedDuration::from_secs(2);
            for which in [0, 1] {
                self.watch(which);
                self.policy_round(which);
                for at in 0..self.world.incidents.len() {
                    self.watch(which);
                    self.incident_round(which, at);
                }
            }
        }
    }

    /// All Incidents end when nothing is wrong any more, and the next emergency gets its response.
    pub(super) fn end(&mut self) {
        self.calm = true;
        self.world.now += SignedDuration::from_mins(2);
        self.deliver(true);
        self.world.ready = 8;
        if self.world.policy().is_some() {
            self.settle();
            let is_seen = self.world.policy().is_some_and(|policy| policy.state.is_some());
            assert!(is_seen, "the policy waits for its Incidents for ever");
        }
        for at in 0..self.world.incidents.len() {
            self.world.edit(at, |stage| stage.asked = Some(Closing::Withdrawn));
        }
        self.settle();
        assert_eq!(self.open(), [], "not all are closed");
        if self.world.policy().is_none() {
            self.world.create_policy();
            self.settle();
        }
        assert_eq!(self.world.claim(), Claim::Vacant, "a claim is lost for ever");
        self.world.now += PER + SignedDuration::from_secs(40);
        self.world.ready = 0;
        self.settle();
        self.assert_it_responds();
        let acting = self.open();
        self.world.delete_policy();
        self.world.create_policy();
        self.settle();
        self.assert_it_responds();
        assert_eq!(self.open(), acting, "another policy of the same name does not go on with its response");
    }

    /// The open Incidents, and whether they act.
    pub(super) fn open(&self) -> Vec<(String, bool)> {
        let open = self.world.incidents.iter().filter(|one| !one.gone && one.stage().resolved_at.is_none());
        open.map(|one| (one.uid.clone(), one.stage().acted)).collect()
    }

    pub(super) fn assert_it_responds(&self) {
        let acting = self.open();
        assert!(acting.len() == 1 && acting[0].1, "a rule holds, and nothing responds: {acting:?}");
        let is_bound = matches!(self.world.claim(), Claim::Bound { uid, .. } if uid == acting[0].0);
        assert!(is_bound, "the uid is not recorded: {:?}", self.world.claim());
    }
}
