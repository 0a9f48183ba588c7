//! Thousands of seeded runs of the claim: two controllers with stale views of the policy and of Incidents, crashes,
//! lost, late and rejected requests, taken names, and people who open, withdraw and delete Incidents.

mod mutants;
mod storm;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::decide_policy::{
    Access, Claim, Creation, IncidentFact, NewIncident, PolicyDecision, PolicyFacts, PolicyLook, PolicyState,
    Refusal, Tenure, decide_policy, incident_name,
};
use firebreak_engine::id::IncidentId;
use firebreak_engine::incident::Closing;
use firebreak_engine::response::counted_before;
use firebreak_engine::rules::Rules;
use jiff::{SignedDuration, Timestamp};

use self::world::{Stage, World};
use crate::dice::Dice;
use crate::workload::{reading, rules};

const POLICY: &str = r#"
mode: Enforce
signals:
- {name: nodes, expect: 8, nodes: {}}
severity:
- {level: P0, reason: Outage, when: "signals.nodes.ready == 0"}
- {level: P2, reason: Degraded, when: "signals.nodes.ready < 6"}
guardrails: {cooldown: 20s, maxIncidents: {count: 3, per: 5m}}
"#;
const COOLDOWN: SignedDuration = SignedDuration::from_secs(20);
const PER: SignedDuration = SignedDuration::from_mins(5);
const MOST: usize = 3;
/// How deeply another controller may be nested between the reads and writes of one.
const DEEPEST: u32 = 2;

/// The decision function; a mutant wraps the real one.
type DecidePolicy = fn(&PolicyFacts, Option<&Rules>, Timestamp) -> PolicyDecision;

/// How the driver can be broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    Sound,
    /// It creates the Incident before the claim is recorded.
    CreatesUnrecorded,
    /// It lets an announced Incident act on what the watch has shown.
    TrustsTheWatch,
    /// It closes an Incident whose uid the claim does not have yet.
    ClosesUnbound,
}

/// One process. When it crashes, it forgets all but what the watches have shown.
#[derive(Default)]
struct Controller {
    policy: usize,
    /// By index, the version of each Incident that it has seen; none: it has seen the deletion.
    seen: BTreeMap<usize, Option<usize>>,
    confirmed: BTreeSet<String>,
    refusal: Option<Refusal>,
    created: Option<IncidentFact>,
}

struct Run {
    world: World,
    dice: Dice,
    decide: DecidePolicy,
    driver: Driver,
    rules: Rules,
    controllers: [Controller; 2],
    flights: Vec<(Timestamp, NewIncident)>,
    calm: bool,
    depth: u32,
    nonces: u32,
}

impl Run {
    fn new(seed: u64, decide: DecidePolicy, driver: Driver) -> Self {
        Self {
            world: World::new(),
            dice: Dice(seed),
            decide,
            driver,
            rules: rules(POLICY),
            controllers: Default::default(),
            flights: Vec::new(),
            calm: false,
            depth: 0,
            nonces: 0,
        }
    }

    fn happens(&mut self, one_in: u64) -> bool {
        !self.calm && self.dice.one_in(one_in)
    }

    /// Watches show more, or everything.
    fn watch(&mut self, which: usize) {
        let newest = self.world.states.len() - 1;
        let behind = newest - self.controllers[which].policy;
        let policy = if self.happens(3) { self.dice.roll(behind as u64 + 1) as usize } else { behind };
        self.controllers[which].policy += policy;
        for at in 0..self.world.incidents.len() {
            if self.happens(3) {
                continue;
            }
            let incident = &self.world.incidents[at];
            let shown = Some(incident.versions.len() - 1).filter(|_| !incident.gone);
            self.controllers[which].seen.insert(at, shown);
        }
    }

    /// Between a read and a write of one controller the other one, or a person, does something.
    fn meanwhile(&mut self, which: usize) {
        if self.depth >= DEEPEST || !self.happens(4) {
            return;
        }
        self.depth += 1;
        match self.dice.roll(6) {
            0 => self.person(),
            1 => self.deliver(true),
            _ => self.round(1 - which),
        }
        self.depth -= 1;
    }

    fn round(&mut self, which: usize) {
        self.watch(which);
        if self.dice.one_in(2) {
            self.policy_round(which);
        } else {
            let number = self.world.incidents.len() as u64;
            for at in (number > 0).then(|| self.dice.roll(number)).into_iter().chain(number.checked_sub(1)) {
                self.incident_round(which, at as usize);
            }
        }
    }

    fn die(&mut self, which: usize) {
        self.world.note(format!("controller {which} dies"));
        let old = std::mem::take(&mut self.controllers[which]);
        self.controllers[which] = Controller { policy: old.policy, seen: old.seen, ..Controller::default() };
    }

    fn policy_facts(&mut self, which: usize, creation: Option<Creation>) -> PolicyFacts {
        let controller = &self.controllers[which];
        let seen = controller.seen.iter().filter_map(|(at, version)| Some((*at, (*version)?)));
        let open = seen.map(|(at, version)| self.world.incidents[at].fact(version));
        self.nonces += 1;
        PolicyFacts {
            state: Some(self.world.states[controller.policy].clone()),
            access: Access::Complete,
            signals: [("nodes".to_owned(), reading(&[("total", 8), ("ready", self.world.ready)]))].into(),
            open: open.filter(|incident| !incident.is_closed()).collect(),
            creation: creation.or_else(|| controller.created.clone().map(Creation::Created)),
            refusal: controller.refusal.clone(),
            nonce: format!("nonce-{}", self.nonces),
            ..PolicyFacts::new("gpu", self.rules.limits.clone())
        }
    }

    /// A pass over the policy, as the driver runs it.
    fn policy_round(&mut self, which: usize) {
        let mut creation = None;
        for _ in 0..6 {
            let mut facts = self.policy_facts(which, creation.take());
            let view = self.controllers[which].policy;
            let decision = loop {
                let decision = (self.decide)(&facts, Some(&self.rules), self.world.now);
                let Some(look) = decision.look else { break decision };
                match look {
                    PolicyLook::Incidents => facts.reads.all = Some(self.world.all()),
                    PolicyLook::Incident(name) => {
                        let live = self.world.find(&name).map(world::Incident::live);
                        facts.reads.incidents.insert(name, live);
                    }
                }
                self.meanwhile(which);
            };
            if let Some(wake) = decision.wake_at {
                assert!(wake > self.world.now, "it is woken again at once");
            }
            self.meanwhile(which);
            if self.happens(20) {
                return self.die(which);
            }
            let create = decision.create.clone();
            if self.driver == Driver::CreatesUnrecorded
                && let Some(new) = &create
            {
                self.world.create(&new.name, Some(&new.nonce));
            }
            if !self.world.record(view, &decision.next) {
                return; // another controller recorded in between: start over
            }
            let has_moved = self.world.states[view].active_incident != decision.next.active_incident;
            if decision.next != self.world.states[view] {
                self.controllers[which].policy = self.world.states.len() - 1;
            }
            if let Some(new) = &create
                && view + 2 >= self.world.states.len()
            {
                self.world.check_the_opening(new);
            }
            self.meanwhile(which);
            if self.happens(20) {
                return self.die(which);
            }
            if let Some(new) = create {
                let Some(heard) = self.post(new) else { return };
                self.controllers[which].refusal = None;
                if let Creation::Created(incident) = &heard {
                    self.controllers[which].created = Some(incident.clone());
                }
                if heard == Creation::Refused {
                    let (at, why) = (self.world.now, "refused".to_owned());
                    self.controllers[which].refusal = Some(Refusal { at, why });
                }
                creation = Some(heard);
            }
            match &creation {
                Some(Creation::Created(_)) => return,
                None if !has_moved => return,
                Some(Creation::AlreadyExists | Creation::Refused) | None => {}
            }
        }
    }

    /// Sends a create through the faulty network. None: no answer.
    fn post(&mut self, new: NewIncident) -> Option<Creation> {
        let fate = if self.calm { 11 } else { self.dice.roll(12) };
        match fate {
            0 => None,
            1 => {
                self.world.create(&new.name, Some(&new.nonce));
                None
            }
            2..=4 => {
                let most = [50, 2000, 60_000][self.dice.roll(3) as usize];
                let due = self.world.now + SignedDuration::from_millis(self.dice.roll(most) as i64);
                self.flights.push((due, new));
                None
            }
            5 | 6 => Some(Creation::Refused),
            _ => Some(self.world.create(&new.name, Some(&new.nonce))),
        }
    }

    /// Late requests arrive.
    fn deliver(&mut self, early: bool) {
        let now = self.world.now;
        let (due, later) =
            std::mem::take(&mut self.flights).into_iter().partition(|(at, _)| early || *at <= now);
        self.flights = later;
        for (_, new) in Vec::<(Timestamp, NewIncident)>::into_iter(due) {
            self.world.create(&new.name, Some(&new.nonce));
        }
    }

    /// A pass over an Incident, as the driver runs it.
    fn incident_round(&mut self, which: usize, at: usize) {
        let Some(Some(seen)) = self.controllers[which].seen.get(&at).copied() else { return };
        let incident = &self.world.incidents[at];
        // An Incident without a status is used as the watch has shown it, any other is read live.
        let version = if seen == 0 { 0 } else { incident.versions.len() - 1 };
        if incident.gone && seen != 0 {
            return;
        }
        let stage = incident.versions[version];
        let fact = incident.fact(version);
        if stage.resolved_at.is_some() {
            self.world.incidents[at].gone = incident.deleting || self.dice.one_in(8);
            return;
        }
        let mut policy = self.world.states[self.controllers[which].policy].clone();
        if matches!(Tenure::of(&fact, Some(&policy)), Tenure::Vacant | Tenure::Lost { .. }) {
            policy.clone_from(self.world.state());
        }
        let tenure = Tenure::of(&fact, Some(&policy));
        let ends = incident.asked.or(incident.deleting.then_some(Closing::Deleted));
        if tenure == Tenure::Pending || tenure == Tenure::Vacant && ends.is_none() {
            return;
        }
        let is_confirmed =
            self.controllers[which].confirmed.contains(&fact.uid) || self.driver == Driver::TrustsTheWatch;
        if tenure == Tenure::Announced && !is_confirmed {
            self.meanwhile(which);
            let live = Tenure::of(&fact, Some(self.world.state()));
            if !matches!(live, Tenure::Announced | Tenure::Bound) {
                return;
            }
            self.controllers[which].confirmed.insert(fact.uid.clone());
        }
        let next = self.next_stage(at, stage, &policy, &tenure);
        let may_close = tenure.may_close() || self.driver == Driver::ClosesUnbound;
        if next.resolved_at.is_some() && !may_close {
            return;
        }
        self.meanwhile(which);
        if self.happens(20) {
            return self.die(which);
        }
        self.world.step(at, version, next);
    }

    /// The next event of the Incident.
    fn next_stage(&self, at: usize, stage: Stage, policy: &PolicyState, tenure: &Tenure) -> Stage {
        let incident = &self.world.incidents[at];
        let ends = incident.asked.or(incident.deleting.then_some(Closing::Deleted)).or(stage.closing);
        let closed = |closing| Stage { closing: Some(closing), resolved_at: Some(self.world.now), ..stage };
        match (tenure, ends) {
            (_, Some(closing)) => closed(closing),
            (Tenure::Lost { superseded: true, .. }, None) => closed(Closing::Superseded),
            (Tenure::Lost { .. } | Tenure::Vacant | Tenure::Pending, None) => stage,
            (Tenure::Bound | Tenure::Announced, None) => {
                if self.world.ready == 8 && stage.had_claim {
                    return closed(Closing::Recovered);
                }
                let (namespace, name) = ("ns".to_owned(), incident.name.clone());
                let id = IncidentId { namespace, name, uid: incident.uid.clone() };
                let before =
                    counted_before(&policy.recent_responses, &id, &self.rules.limits).unwrap_or_default();
                Stage { had_claim: true, acted: stage.acted || before.len() < MOST, ..stage }
            }
        }
    }
}

/// What the runs have done, because runs that do nothing prove nothing.
#[derive(Default)]
struct Done {
    acted: usize,
    superseded: usize,
    revoked: usize,
}

/// Runs one seed; Err is what went wrong, with the story of the run.
fn run(seed: u64, decide: DecidePolicy, driver: Driver) -> Result<Done, String> {
    let mut run = Run::new(seed, decide, driver);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        run.storm();
        run.end();
    }));
    match caught {
        Ok(()) => Ok(Done {
            acted: run.world.incidents.iter().filter(|one| one.stage().acted).count(),
            superseded: run
                .world
                .incidents
                .iter()
                .filter(|one| one.stage().closing == Some(Closing::Superseded))
                .count(),
            revoked: run
                .world
                .states
                .iter()
                .filter(|state| matches!(state.claim(), Claim::Revoked { .. }))
                .count(),
        }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let why = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let last = run.world.log.len().saturating_sub(60);
            Err(format!("seed {seed}: {}\n{}", why.unwrap_or_default(), run.world.log[last..].join("\n")))
        }
    }
}

#[test]
fn no_fault_lets_two_incidents_act_or_loses_a_claim() {
    let number: u64 = std::env::var("FIREBREAK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    let mut done = Done::default();
    for seed in 0..number {
        let found = run(seed, decide_policy, Driver::Sound).unwrap_or_else(|story| panic!("{story}"));
        done.acted += found.acted;
        done.superseded += found.superseded;
        done.revoked += found.revoked;
    }
    let number = number as usize;
    assert!(done.acted > 3 * number, "the runs hardly do anything: {} responses", done.acted);
    assert!(done.superseded > number / 10, "no create was late: {} superseded", done.superseded);
    assert!(done.revoked > number / 4, "nothing was revoked: {}", done.revoked);
}
