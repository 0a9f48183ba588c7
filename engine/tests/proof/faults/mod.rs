//! Thousands of seeded runs with two controllers, stale views, crashes, lost,
//! late and repeated requests, and others who write the same objects.

mod oracle;
mod storm;

use std::collections::{BTreeMap, BTreeSet};

use firebreak_engine::change::{ChangeState, Delivery, OperationType};
use firebreak_engine::decide::Decision;
use firebreak_engine::effect::{Act, Effect, EffectId, Guard, Write};
use firebreak_engine::facts::Outcome;
use firebreak_engine::id::ChangeId;
use firebreak_engine::incident::{Closing, IncidentState};
use firebreak_engine::path::{FieldPath, Segment};
use firebreak_engine::undo;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use firebreak_engine::story::server::{self, Path, changed, leaves};
use firebreak_engine::story::world::{Controller, Decide, OURS, World, incident};
use firebreak_engine::story::{check_effects_are_recorded, traces};

use crate::dice::Dice;
use crate::workload::{
    LIMIT, REQUEST, RESTARTED, SELECTOR, SURGE, model_server, path, reading, rehearsing, restarting, rules,
    translate,
};

const POLICY: &str = r#"
mode: Enforce
signals:
- {name: nodes, expect: 8, nodes: {}}
severity:
- {level: P0, reason: Outage, when: "signals.nodes.ready * 2 <= signals.nodes.expected", for: 5s}
recovery: {for: 30s, between: 5s, maxAtOnce: 2, relapses: 3}
steps:
- name: fallback
  action:
    cpuFallback:
      targets: {apiVersion: apps/v1, kind: Deployment}
      quantization: int8
      containers: [{name: main, image: "cpu:1", args: {set: [--dtype=half], remove: [--token]}, env: [{name: TOKEN, value: none}]}]
  timeout: 60s
  verify: {within: 30s, checks: [{rollout: {}}]}
"#;

/// What a run may do to the protocol.
#[derive(Clone, Copy)]
struct Weather {
    /// Others write the fields that we change.
    foreign: bool,
    /// The server rejects writes; then requests are late by less than two minutes.
    refusals: bool,
    /// A run without any fault.
    calm: bool,
    /// The first step rehearses an operation with this delivery.
    rehearses: Option<Delivery>,
    /// The first step restarts its targets.
    restarts: bool,
}

/// How the driver can be broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    Sound,
    /// It acts although its record has failed.
    ActsUnrecorded,
    /// It reads the version just before the write instead of with the intent.
    GuardsLate,
    /// It sends patches without a guard.
    Unguarded,
    /// It forgets what was answered when somebody else wrote the Incident in between.
    ForgetsAnswers,
}

struct Run {
    world: World,
    dice: Dice,
    weather: Weather,
    driver: Driver,
    flights: Vec<(Timestamp, Effect)>,
    /// For each uid, the value that each path would have without us.
    shadow: BTreeMap<String, BTreeMap<Path, Value>>,
    /// Paths whose value is ours now.
    ours: BTreeMap<(String, Path), ()>,
    /// Per uid: when the template was reverted while the pace of its rollout is still lent.
    template_back: BTreeMap<String, Timestamp>,
    /// How often a write changed something besides traces, per uid.
    moved: BTreeMap<String, u32>,
    /// How often an Apply took effect, per uid.
    landed: BTreeMap<String, u32>,
    /// How many pods were deleted.
    deleted: u32,
    /// How often a restart took effect, per uid.
    restarted: BTreeMap<String, u32>,
    /// How often each operation that may be sent once was sent.
    sent_once: BTreeMap<ChangeId, u32>,
    /// By controller: requests that may be sent once, of which it has a clear answer that no status says.
    answered: [BTreeSet<EffectId>; 2],
    log: Vec<String>,
}

/// A server that is not ready, with a secret in an argument and in a variable.
fn sick_server(name: &str, gpus: u32) -> Value {
    let mut object = model_server(name, gpus);
    object["status"]["phase"] = json!("Failed");
    let container = &mut object["spec"]["template"]["spec"]["containers"][1];
    container["args"] = json!(["serve", "--token", "secret", "--port=80"]);
    container["env"] = json!([{"name": "TOKEN", "value": "secret"}]);
    object
}

impl Run {
    fn new(seed: u64, weather: Weather, decide: Decide, driver: Driver) -> Self {
        let policy = match weather.rehearses {
            Some(how) => rehearsing(POLICY, how),
            None if weather.restarts => restarting(POLICY),
            None => rules(POLICY),
        };
        let mut world = World::new(Some(policy), translate());
        world.decide = decide;
        let mut dice = Dice(seed);
        let mut shadow = BTreeMap::new();
        for name in ["a", "b", "c"].iter().take(1 + dice.roll(3) as usize) {
            let mut object = sick_server(name, 4);
            match *name {
                "a" => {
                    object["spec"]["strategy"] =
                        json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
                }
                "b" => object["spec"]["podManagementPolicy"] = json!("OrderedReady"),
                _ => {}
            }
            let object = world.server.create(object, "flux/Apply");
            shadow.insert(object["metadata"]["uid"].as_str().unwrap().to_owned(), leaves(&object));
        }
        world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 0)]));
        world.settle = Some(json!({"phase": "Ready"})).filter(|_| weather.calm || dice.one_in(2));
        Self {
            world,
            dice,
            weather,
            driver,
            flights: Vec::new(),
            shadow,
            ours: BTreeMap::new(),
            template_back: BTreeMap::new(),
            moved: BTreeMap::new(),
            landed: BTreeMap::new(),
            deleted: 0,
            restarted: BTreeMap::new(),
            sent_once: BTreeMap::new(),
            answered: Default::default(),
            log: Vec::new(),
        }
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{} {text}", self.world.now));
    }

    /// A request of ours reaches the server.
    fn arrive(&mut self, effect: &Effect) -> Outcome {
        let before = self.world.server.objects.get(&effect.target.name).cloned();
        let outcome = match self.driver {
            Driver::Sound | Driver::ActsUnrecorded | Driver::ForgetsAnswers => self.world.arrive(effect),
            Driver::GuardsLate => {
                self.arrive_with(effect, before.as_ref().map(|o| o["metadata"]["resourceVersion"].clone()))
            }
            Driver::Unguarded => self.arrive_with(effect, None),
        };
        self.note(format!(
            "{:?} of {} {} -> {}",
            effect.act,
            effect.target.name,
            guard(effect),
            short(&outcome)
        ));
        if let Act::Operate(operation) = effect.act {
            let is_deletion = operation == OperationType::DeletePod;
            self.deleted += u32::from(is_deletion && matches!(outcome, Outcome::Done(_)));
            self.check_operation(effect);
            if let (Outcome::Done(after), Some(before), Write::Patch(_)) = (&outcome, before, &effect.write) {
                self.check_restart(effect, &before, &after.clone());
            }
        } else if let (Outcome::Done(after), Some(before)) = (&outcome, before) {
            self.check_landing(effect, &before, &after.clone());
        }
        outcome
    }

    fn arrive_with(&mut self, effect: &Effect, guard: Option<Value>) -> Outcome {
        let Write::Patch(patch) = &effect.write else { return self.world.arrive(effect) };
        let mut body = patch.body().clone();
        match guard {
            Some(guard) => body["metadata"]["resourceVersion"] = guard,
            None => {
                body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            }
        }
        match self.world.server.patch(&effect.target.name, &body, OURS) {
            server::Answer::Ok(object) => Outcome::Done(object),
            server::Answer::Conflict => Outcome::Conflict,
            server::Answer::NotFound => {
                Outcome::Refused { code: 404, why: "not found".to_owned(), fields: Vec::new() }
            }
        }
    }
}

fn guard(effect: &Effect) -> String {
    match &effect.write {
        Write::Patch(patch) => patch.base().as_str().to_owned(),
        Write::Operation(request) => format!("{}.{}", request.round, request.number),
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(object) => format!("200 {}", object["metadata"]["resourceVersion"]),
        Outcome::Refused { code, .. } => code.to_string(),
        Outcome::Conflict => "409".to_owned(),
        Outcome::Throttled { .. } => "429".to_owned(),
        Outcome::Exists(_) => "409 exists".to_owned(),
        Outcome::NotSent => "not sent".to_owned(),
        Outcome::Unclear { .. } => "?".to_owned(),
    }
}

fn summary(state: &IncidentState) -> String {
    let changes: Vec<String> = state
        .changes
        .iter()
        .map(|c| {
            format!(
                "{}{}={:?}@{}{}{}",
                c.as_operation().map(|it| format!("{} of ", it.operation.name())).unwrap_or_default(),
                c.target.name,
                c.state,
                c.base().as_ref().map_or("-", |base| base.as_str()),
                if c.fence().is_some() { " fenced" } else { "" },
                c.reason.as_ref().map(|reason| format!(" {reason}")).unwrap_or_default()
            )
        })
        .collect();
    format!(
        "{:?} {:?} held {:?}: {}",
        state.severity,
        state.closing,
        state.held.as_ref().map(|h| &h.reason),
        changes.join(", ")
    )
}

/// What a run has done, because a run that does nothing proves nothing.
pub struct Done {
    landed: u32,
    restarted: u32,
    deleted: u32,
    carried_out: u32,
    unclear: u32,
}

/// Runs one seed; Err is what went wrong, with the story of the run.
pub fn run(seed: u64, decide: Decide, driver: Driver) -> Result<Done, String> {
    let rehearses = match seed % 10 {
        2 | 9 => Some(Delivery::AtMostOnce),
        5 => Some(Delivery::Keyed),
        _ => None,
    };
    let (foreign, refusals) = (seed.is_multiple_of(3), seed % 4 == 1);
    let restarts = matches!(seed % 10, 3 | 8);
    let weather = Weather { foreign, refusals, calm: seed % 50 == 7, rehearses, restarts };
    let mut run = Run::new(seed, weather, decide, driver);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if !weather.calm {
            run.storm();
        } else {
            run.end();
        }
        run.calm_down();
        run.check_the_end();
    }));
    match caught {
        Ok(()) => Ok(Done {
            landed: run.landed.values().sum(),
            restarted: run.restarted.values().sum(),
            deleted: run.deleted,
            carried_out: run.world.carried_out.values().sum(),
            unclear: run.world.state().changes.iter().filter(|change| change.needs_settlement()).count()
                as u32,
        }),
        Err(panic) => {
            let why = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            Err(format!("seed {seed}: {why}\n{}", run.log.join("\n")))
        }
    }
}

#[test]
fn no_fault_breaks_an_invariant() {
    let number: u64 = std::env::var("FIREBREAK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(250);
    let (mut landed, mut restarted, mut deleted, mut carried_out, mut unclear) = (0, 0, 0, 0, 0);
    let mut failures: BTreeMap<String, (u32, String)> = BTreeMap::new();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in 0..number {
        match run(seed, firebreak_engine::decide::decide, Driver::Sound) {
            Ok(done) => {
                landed += done.landed;
                restarted += done.restarted;
                deleted += done.deleted;
                carried_out += done.carried_out;
                unclear += done.unclear;
            }
            Err(story) => {
                let kind: String = story
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .split_once(": ")
                    .unwrap()
                    .1
                    .chars()
                    .take(50)
                    .collect();
                failures.entry(kind).or_insert((0, story)).0 += 1;
            }
        }
    }
    let _ = std::panic::take_hook();
    for (times, story) in failures.values() {
        let lines: Vec<&str> = story.lines().collect();
        println!(
            "{times} times, first {}\n{}\n",
            lines[0],
            lines[lines.len().saturating_sub(25).max(1)..].join("\n")
        );
    }
    assert!(failures.is_empty(), "{} kinds of failure", failures.len());
    assert!(landed > number as u32 / 2, "the runs hardly do anything: {landed} changes");
    assert!(deleted > number as u32 / 20, "the runs hardly do anything: {deleted} pods deleted");
    assert!(restarted > number as u32 / 10, "the runs hardly do anything: {restarted} restarts");
    println!(
        "{landed} changes, {restarted} restarts, {deleted} pods deleted, {carried_out} operations rehearsed, {unclear} of them unknown at the end"
    );
    assert!(carried_out > number as u32 / 10, "the runs hardly do anything: {carried_out} operations");
    assert!(unclear > number as u32 / 100, "the runs leave no operation unknown: {unclear}");
}
