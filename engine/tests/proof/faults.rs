//! Thousands of seeded runs with two controllers, stale views, crashes, lost,
//! late and repeated requests, and others who write the same objects.

use std::collections::BTreeMap;

use firebreak_engine::change::ChangeState;
use firebreak_engine::effect::{Act, Effect};
use firebreak_engine::facts::Outcome;
use firebreak_engine::incident::{Closing, IncidentState};
use firebreak_engine::path::{FieldPath, Segment};
use firebreak_engine::undo;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use firebreak_engine::story::server::{self, Path, changed, leaves};
use firebreak_engine::story::world::{
    Controller, Decide, OURS, World, check_effects_are_recorded, incident, traces,
};

use crate::workload::{LIMIT, REQUEST, SELECTOR, model_server, path, reading, rules, translate};

const POLICY: &str = r#"
mode: Enforce
signals:
- {name: nodes, expect: 8, nodes: {}}
severity:
- {level: P0, reason: Outage, when: "signals.nodes.ready * 2 <= signals.nodes.expected", for: 5s}
recovery: {for: 30s}
steps:
- name: fallback
  action: {cpuFallback: {targets: {apiVersion: apps/v1, kind: Deployment}, quantization: int8}}
  timeout: 60s
  verify: {within: 30s, checks: [{rollout: {}}]}
"#;

/// A small generator of numbers; the seed says everything about a run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What a run may do to the protocol.
#[derive(Clone, Copy)]
struct Weather {
    /// Others write the fields that we change.
    foreign: bool,
    /// The server refuses writes; then requests are late by less than two minutes.
    refusals: bool,
    /// A run without any fault.
    calm: bool,
}

/// How the driver can be broken on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    Sound,
    /// It acts although its record failed.
    ActsUnrecorded,
    /// It reads the version just before the write instead of at the intent.
    GuardsLate,
    /// It sends patches without a guard.
    Unguarded,
}

struct Run {
    world: World,
    dice: Dice,
    weather: Weather,
    driver: Driver,
    flights: Vec<(Timestamp, Effect)>,
    /// Per uid what each path would be without us.
    shadow: BTreeMap<String, BTreeMap<Path, Value>>,
    /// Paths whose value is ours now.
    ours: BTreeMap<(String, Path), ()>,
    /// How often an Apply took effect, per uid.
    landed: BTreeMap<String, u32>,
    log: Vec<String>,
}

fn in_server_words(field: &FieldPath) -> Path {
    let word = |segment: &Segment| match segment {
        Segment::Key(key) => format!("f:{key}"),
        Segment::Element { key, value } => format!("k:{}", json!({ key: value })),
    };
    field.segments().iter().map(word).collect()
}

fn is_trace(at: &Path) -> bool {
    at.last().is_some_and(|last| last.starts_with("f:firebreak.dev/"))
}

impl Run {
    fn new(seed: u64, weather: Weather, decide: Decide, driver: Driver) -> Self {
        let mut world = World::new(Some(rules(POLICY)), translate());
        world.decide = decide;
        let mut dice = Dice(seed);
        let mut shadow = BTreeMap::new();
        for name in ["a", "b", "c"].iter().take(1 + dice.roll(3) as usize) {
            let mut object = model_server(name, 4);
            object["status"]["phase"] = json!("Failed");
            let object = world.server.create(object, "flux/Apply");
            shadow.insert(object["metadata"]["uid"].as_str().unwrap().to_owned(), leaves(&object));
        }
        world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 0)]));
        Self {
            world,
            dice,
            weather,
            driver,
            flights: Vec::new(),
            shadow,
            ours: BTreeMap::new(),
            landed: BTreeMap::new(),
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
            Driver::Sound | Driver::ActsUnrecorded => self.world.arrive(effect),
            Driver::GuardsLate => {
                self.arrive_with(effect, before.as_ref().map(|o| o["metadata"]["resourceVersion"].clone()))
            }
            Driver::Unguarded => self.arrive_with(effect, None),
        };
        self.note(format!(
            "{:?} of {} {} -> {}",
            effect.act,
            effect.target.name,
            effect.patch.base().as_str(),
            short(&outcome)
        ));
        if let (Outcome::Done(after), Some(before)) = (&outcome, before) {
            self.check_landing(effect, &before, &after.clone());
        }
        outcome
    }

    fn arrive_with(&mut self, effect: &Effect, guard: Option<Value>) -> Outcome {
        let mut body = effect.patch.body().clone();
        match guard {
            Some(guard) => body["metadata"]["resourceVersion"] = guard,
            None => {
                body["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            }
        }
        match self.world.server.patch(&effect.target.name, &body, OURS) {
            server::Answer::Ok(object) => Outcome::Done(object),
            server::Answer::Conflict => Outcome::Later { conflict: true, after: None },
            server::Answer::NotFound => {
                Outcome::Refused { code: 404, why: "not found".to_owned(), fields: Vec::new() }
            }
        }
    }

    /// The invariants that hold at the moment at which a write takes effect.
    fn check_landing(&mut self, effect: &Effect, before: &Value, after: &Value) {
        let uid = before["metadata"]["uid"].as_str().unwrap().to_owned();
        let (old, new) = (leaves(before), leaves(after));
        let moved: Vec<Path> = changed(before, after).into_iter().filter(|at| !is_trace(at)).collect();
        let shadow = &self.shadow[&uid];
        match effect.act {
            Act::Apply => {
                let state = self.world.state();
                let change = state.changes.iter().find(|change| change.id == effect.change);
                let Some(change) = change else { panic!("an apply that is not in the journal took effect") };
                assert!(state.resolved_at.is_none(), "an apply took effect after the incident was closed");
                assert!(
                    change.state.is_open_intent(),
                    "an apply took effect although its change is {:?}",
                    change.state
                );
                assert!(
                    undo::loan(before, &effect.change, &incident()).is_none(),
                    "an apply took effect twice"
                );
                for at in &moved {
                    assert!(
                        !self.ours.contains_key(&(uid.clone(), at.clone())),
                        "applied on top of our own value"
                    );
                    assert_eq!(old.get(at), shadow.get(at), "{at:?}: what goes back is not what was there");
                }
                let loan =
                    undo::loan(after, &effect.change, &incident()).expect("the record comes with the change");
                for at in &moved {
                    let recorded = |fields: &[firebreak_engine::change::FieldChange]| {
                        fields.iter().any(|field| {
                            in_server_words(&field.path) == *at && field.before.as_ref() == old.get(at)
                        })
                    };
                    assert!(
                        recorded(&loan.fields) && recorded(&change.fields),
                        "{at:?}: before is not recorded"
                    );
                    self.ours.insert((uid.clone(), at.clone()), ());
                }
                *self.landed.entry(uid).or_default() += 1;
            }
            Act::Return => {
                for at in &moved {
                    assert!(
                        self.ours.remove(&(uid.clone(), at.clone())).is_some(),
                        "{at:?}: somebody else's value was overwritten on the way back"
                    );
                    assert_eq!(new.get(at), shadow.get(at), "{at:?}: another value went back than was there");
                }
            }
            Act::Amend | Act::Fence | Act::HandBack => {
                assert_eq!(moved, Vec::<Path>::new(), "{:?} changed more than traces", effect.act);
            }
        }
    }

    /// Somebody else writes.
    fn foreign(&mut self, name: &str, what: &str, change: impl FnOnce(&mut Value)) {
        let Some(before) = self.world.server.objects.get(name).cloned() else { return };
        self.world.server.edit(name, "human/Update", change);
        let after = self.world.server.objects[name].clone();
        let uid = before["metadata"]["uid"].as_str().unwrap().to_owned();
        let new = leaves(&after);
        for at in changed(&before, &after).into_iter().filter(|at| !is_trace(at)) {
            self.ours.remove(&(uid.clone(), at.clone()));
            let shadow = self.shadow.get_mut(&uid).unwrap();
            match new.get(&at) {
                Some(value) => shadow.insert(at, value.clone()),
                None => shadow.remove(&at),
            };
        }
        if undo::annotation(&before, undo::UNDO).is_some() && undo::annotation(&after, undo::UNDO).is_none() {
            // Who takes the record off takes over what stands.
            self.shadow.insert(uid.clone(), new);
            self.ours.retain(|(of, _), ()| *of != uid);
        }
        self.note(format!("somebody else: {what} of {name}"));
    }

    fn meddle(&mut self) {
        let names: Vec<String> = self.world.server.objects.keys().cloned().collect();
        let Some(name) = names.get(self.dice.roll(4) as usize).cloned() else { return };
        match self.dice.roll(12) {
            0..=5 => {
                let phase = if self.dice.one_in(2) { "Ready" } else { "Failed" };
                self.foreign(&name, "status", |object| {
                    object["status"]["phase"] = json!(phase);
                    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
                });
            }
            6 => self.foreign(&name, "label", |object| object["metadata"]["labels"]["team"] = json!("x")),
            _ if !self.weather.foreign => {}
            7 => self.foreign(&name, "old value", |object| path(LIMIT).write(object, Some(json!("4"))).unwrap()),
            8 => self.foreign(&name, "another value", |object| path(REQUEST).write(object, Some(json!("2"))).unwrap()),
            9 => self.foreign(&name, "selector", |object| path(SELECTOR).write(object, Some(json!("b"))).unwrap()),
            10 => self.foreign(&name, "record off", |object| {
                server::merge(
                    object,
                    &json!({"metadata": {"annotations": {undo::UNDO: null}, "labels": {undo::INCIDENT: null}}}),
                );
            }),
            _ => {
                self.note(format!("{name} is deleted"));
                self.world.server.delete(&name);
                if self.dice.one_in(2) {
                    let mut object = model_server(&name, 2);
                    object["status"]["phase"] = json!("Failed");
                    let object = self.world.server.create(object, "flux/Apply");
                    self.shadow.insert(object["metadata"]["uid"].as_str().unwrap().to_owned(), leaves(&object));
                }
            }
        }
    }

    fn deliver_due(&mut self) {
        while let Some(at) = self.flights.iter().position(|(due, _)| *due <= self.world.now) {
            let (_, effect) = self.flights.swap_remove(at);
            self.arrive(&effect);
        }
    }

    fn late(&mut self, effect: &Effect) {
        let most = if self.weather.refusals { 110_000 } else { 600_000 };
        let due = self.world.now + SignedDuration::from_millis(self.dice.roll(most) as i64);
        self.flights.push((due, effect.clone()));
    }

    /// Sends one effect through bad weather. None: the process dies here.
    fn send(&mut self, effect: &Effect) -> Option<Outcome> {
        let unclear = || Some(Outcome::Unclear { why: "broken connection".to_owned() });
        match self.dice.roll(20) {
            0 => unclear(),
            1 => {
                self.arrive(effect);
                unclear()
            }
            2 => {
                self.late(effect);
                unclear()
            }
            3 => {
                self.late(effect);
                Some(self.arrive(effect))
            }
            4 => {
                self.meddle();
                Some(self.arrive(effect))
            }
            5 => Some(Outcome::Later { conflict: false, after: Some(SignedDuration::from_secs(1)) }),
            6 if self.weather.refusals && effect.act != Act::HandBack => {
                Some(Outcome::Refused { code: 403, why: "forbidden".to_owned(), fields: Vec::new() })
            }
            7 => {
                self.late(effect);
                None
            }
            8 => None,
            9 => {
                self.arrive(effect);
                None
            }
            _ => Some(self.arrive(effect)),
        }
    }

    /// One round of a controller that may have an old view and may die anywhere.
    fn stormy_round(&mut self, controller: &mut Controller) {
        let newest = self.world.recorded.len() - 1;
        controller.view += self.dice.roll((newest - controller.view + 1) as u64) as usize;
        if !self.dice.one_in(4) {
            controller.view = newest;
        }
        let mut between: Vec<u64> = (0..8).map(|_| self.dice.roll(6)).collect();
        let mut meddled = Vec::new();
        let (facts, decision) = self
            .world
            .decide(controller, |world| {
                // The status of objects moves while we read.
                if between.pop() == Some(0) {
                    let names: Vec<String> = world.server.objects.keys().cloned().collect();
                    for name in names {
                        world.server.edit(&name, "kubelet/Update", |object| {
                            object["status"]["beat"] = json!(world.now.to_string())
                        });
                        meddled.push(name);
                    }
                }
            })
            .unwrap();
        for name in meddled {
            let object = self.world.server.objects[&name].clone();
            let uid = object["metadata"]["uid"].as_str().unwrap();
            let beat = leaves(&object).remove(&vec!["f:status".to_owned(), "f:beat".to_owned()]);
            self.shadow
                .get_mut(uid)
                .unwrap()
                .insert(vec!["f:status".to_owned(), "f:beat".to_owned()], beat.unwrap());
        }
        check_effects_are_recorded(&facts, &decision).unwrap();
        if self.dice.one_in(15) {
            self.note("dies before it records".to_owned());
            return *controller = Controller { view: controller.view, ..Controller::default() };
        }
        let recorded = self.world.record(controller, &decision);
        if recorded {
            self.note(format!("records {}", summary(&decision.next)));
        } else if self.driver != Driver::ActsUnrecorded {
            return; // somebody recorded in between: start over
        }
        if self.dice.one_in(15) {
            self.note("dies before it acts".to_owned());
            return *controller = Controller { view: controller.view, ..Controller::default() };
        }
        controller.outcomes.clear();
        if decision.report {
            controller.report = Some(Ok("report".to_owned()));
        }
        for effect in &decision.effects {
            match self.send(effect) {
                Some(outcome) => {
                    controller.outcomes.insert(effect.id(), outcome);
                }
                None => {
                    self.note("dies while it acts".to_owned());
                    return *controller = Controller { view: controller.view, ..Controller::default() };
                }
            }
        }
    }

    fn storm(&mut self) {
        let mut controllers = [Controller::default(), Controller::default()];
        let rounds = 10 + self.dice.roll(80);
        let end_at = self.dice.roll(rounds);
        for number in 0..rounds {
            if number == end_at {
                self.end();
            }
            let step = [20, 500, 3000, 20_000][self.dice.roll(4) as usize];
            let millis = 1 + self.dice.roll(step) as i64;
            self.world.pass(millis);
            self.deliver_due();
            if self.dice.one_in(3) {
                self.meddle();
            }
            let which = usize::from(self.dice.one_in(3));
            let mut controller = std::mem::take(&mut controllers[which]);
            self.stormy_round(&mut controller);
            controllers[which] = controller;
        }
        self.end();
    }

    fn end(&mut self) {
        match self.dice.roll(3) {
            0 => self.world.intent.withdrawn = true,
            1 => self.world.intent.deleting = true,
            _ => {
                self.world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 8)]));
            }
        }
    }

    /// With the faults switched off it is resolved, in bounded time and work.
    fn calm_down(&mut self) {
        let mut controller = Controller::default();
        self.world.pass(1);
        let deadline = self.world.now + SignedDuration::from_mins(40);
        for _ in 0..2000 {
            self.deliver_due();
            // What a request of ours does must pass the checks, so the effects go through `arrive`.
            controller.view = self.world.recorded.len() - 1;
            let (facts, decision) = self.world.decide(&mut controller, |_| {}).unwrap();
            check_effects_are_recorded(&facts, &decision).unwrap();
            if decision.next != facts.state {
                self.note(format!("records {}", summary(&decision.next)));
            }
            assert!(self.world.record(&mut controller, &decision));
            controller.outcomes.clear();
            if decision.report {
                controller.report = Some(Ok("report".to_owned()));
            }
            for effect in &decision.effects {
                let outcome = self.arrive(effect);
                controller.outcomes.insert(effect.id(), outcome);
            }
            if self.world.state().resolved_at.is_some() {
                return;
            }
            if decision.effects.is_empty() && !decision.report {
                let wake = decision.wake_at.expect("nothing is under way and nothing wakes it");
                assert!(wake > self.world.now, "woken again at once");
                let next = self.flights.iter().map(|(due, _)| *due).chain([wake]).min().unwrap();
                self.world.now = next.max(self.world.now);
            }
            assert!(self.world.now < deadline, "not resolved in time: {}", summary(self.world.state()));
        }
        panic!("not resolved after 2000 rounds: {}", summary(self.world.state()));
    }

    fn check_the_end(&mut self) {
        for (_, effect) in std::mem::take(&mut self.flights) {
            self.arrive(&effect);
        }
        let state = self.world.state().clone();
        for change in &state.changes {
            assert!(!change.state.is_outstanding(), "{:?} after the end", change.state);
            let landed = self.landed.contains_key(&change.target.uid);
            match change.state {
                ChangeState::Reverted => assert!(landed, "put back although it was never applied"),
                ChangeState::Ceded => {}
                other => assert!(!landed, "applied, and it ended as {other:?}"),
            }
            if !self.weather.foreign {
                assert_ne!(change.state, ChangeState::Ceded, "nobody else wrote: {:?}", change.message);
            }
        }
        let ceded: Vec<(String, Path)> = state
            .changes
            .iter()
            .filter(|change| change.state == ChangeState::Ceded)
            .flat_map(|change| {
                let fields = change.fields.iter().filter(|field| field.ceded_to.is_some());
                fields.map(|field| (change.target.uid.clone(), in_server_words(&field.path)))
            })
            .collect();
        for object in self.world.server.objects.values() {
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            let (is, should) = (leaves(object), &self.shadow[&uid]);
            for at in is.keys().chain(should.keys()) {
                let left = ceded.contains(&(uid.clone(), at.clone()));
                assert!(
                    is.get(at) == should.get(at) || left,
                    "{at:?} is {:?} and should be {:?}",
                    is.get(at),
                    should.get(at)
                );
            }
            let given_up = state.timeline.iter().any(|entry| entry.type_ == "TracesLeft");
            assert!(given_up || traces(object).is_empty(), "traces are left: {:?}", traces(object));
            if !self.weather.foreign {
                let times = self.landed.get(&uid).copied().unwrap_or(0);
                assert!(times <= 1, "applied {times} times");
                assert_eq!(object["metadata"]["generation"], json!(1 + 2 * times), "changed exactly twice");
            }
        }
        if state.closing == Some(Closing::Recovered) {
            assert!(state.classified_at.is_some());
        }
    }
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(object) => format!("200 {}", object["metadata"]["resourceVersion"]),
        Outcome::Refused { code, .. } => code.to_string(),
        Outcome::Later { conflict: true, .. } => "409".to_owned(),
        Outcome::Later { .. } => "429".to_owned(),
        Outcome::Unclear { .. } => "?".to_owned(),
    }
}

fn summary(state: &IncidentState) -> String {
    let changes: Vec<String> = state
        .changes
        .iter()
        .map(|c| {
            format!(
                "{}={:?}@{}{}{}",
                c.target.name,
                c.state,
                c.base.as_ref().map_or("-", |base| base.as_str()),
                if c.fence.is_some() { " fenced" } else { "" },
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

/// Runs one seed; Err is what went wrong, with the story of the run.
pub fn run(seed: u64, decide: Decide, driver: Driver) -> Result<u32, String> {
    let weather = Weather { foreign: seed.is_multiple_of(3), refusals: seed % 4 == 1, calm: seed % 50 == 7 };
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
        Ok(()) => Ok(run.landed.values().sum()),
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
    let mut landed = 0;
    let mut failures: BTreeMap<String, (u32, String)> = BTreeMap::new();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in 0..number {
        match run(seed, firebreak_engine::decide::decide, Driver::Sound) {
            Ok(times) => landed += times,
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
}
