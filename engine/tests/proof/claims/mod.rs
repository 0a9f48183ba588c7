//! Thousands of seeded runs of the claim: two controllers with stale views of the policy and of Incidents, crashes,
//! lost, late and rejected requests, taken names, and people who open, withdraw and delete Incidents, and who delete the
//! policy and create it again.

mod incident;
mod mutants;
mod policy;
mod recreated;
mod storm;
mod world;

use std::collections::BTreeMap;

use firebreak_engine::decide_policy::{
    Claim, IncidentFact, NewIncident, PolicyDecision, PolicyFacts, Refusal, decide_policy, incident_name,
};
use firebreak_engine::incident::Closing;
use firebreak_engine::rules::Rules;
use jiff::{SignedDuration, Timestamp};

use self::world::World;
use crate::dice::Dice;
use crate::workload::rules;

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
    /// It lets an Incident act by a view of a policy that the Incident knows to be deleted.
    TrustsAnyPolicy,
    /// It does not record that an Incident waits for a policy.
    NeverAware,
}

/// One process. When it crashes, it forgets all but what the watches have shown.
#[derive(Default)]
struct Controller {
    policy: usize,
    /// By index, the version of each Incident that it has seen; none: it has seen the deletion.
    seen: BTreeMap<usize, Option<usize>>,
    /// Of each Incident, the policy whose announcement of it a live read has shown.
    confirmed: BTreeMap<String, String>,
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
    /// Whether people delete the policy in this run.
    deletes: bool,
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
            deletes: seed % 2 == 1,
            depth: 0,
            nonces: 0,
        }
    }

    fn happens(&mut self, one_in: u64) -> bool {
        !self.calm && self.dice.one_in(one_in)
    }

    /// Watches show more, or everything.
    fn watch(&mut self, which: usize) {
        let newest = self.world.policies.len() - 1;
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
    let whole = |run: &mut Run| {
        run.storm();
        run.end();
    };
    Run::new(seed, decide, driver).caught(whole).map_err(|story| format!("seed {seed}: {story}"))
}

impl Run {
    /// What has been done in these steps, or what went wrong.
    fn caught(mut self, steps: fn(&mut Self)) -> Result<Done, String> {
        let run = &mut self;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| steps(run)));
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
                    .policies
                    .iter()
                    .flatten()
                    .filter_map(|policy| policy.state.as_ref())
                    .filter(|state| matches!(state.claim(), Claim::Revoked { .. }))
                    .count(),
            }),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let why = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                let last = run.world.log.len().saturating_sub(60);
                Err(format!("{}\n{}", why.unwrap_or_default(), run.world.log[last..].join("\n")))
            }
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
