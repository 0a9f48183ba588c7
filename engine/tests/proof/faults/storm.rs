//! What goes wrong: other writers, requests that are lost, late or repeated, and controllers that die.

use firebreak_engine::change::Change;
use firebreak_engine::decide::learn;
use firebreak_engine::facts::{Brake, Facts};
use firebreak_engine::incident::ReportStatus;
use firebreak_engine::intent::{Response, Settlement, SettlementOutcome};
use firebreak_engine::reason::Reason;

use super::oracle::is_trace;
use super::*;

impl Run {
    /// Someone else writes.
    pub(super) fn foreign(&mut self, name: &str, what: &str, change: impl FnOnce(&mut Value)) {
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
            // Someone who removes the record takes over the current values.
            self.shadow.insert(uid.clone(), new);
            self.ours.retain(|(of, _), ()| *of != uid);
        }
        self.note(format!("somebody else: {what} of {name}"));
    }

    pub(super) fn meddle(&mut self) {
        let is_target = |object: &Value| object["kind"] == "Deployment";
        let objects = self.world.server.objects.iter().filter(|(_, object)| is_target(object));
        let names: Vec<String> = objects.map(|(name, _)| name.clone()).collect();
        let Some(name) = names.get(self.dice.roll(4) as usize).cloned() else { return };
        match self.dice.roll(13) {
            0..=5 => {
                let pod = ["Pending", "Pending", "Terminating", "Lost"][self.dice.roll(4) as usize];
                let pods = if self.dice.one_in(2) { json!({"b-0": pod}) } else { json!({}) };
                let phase = if self.dice.one_in(2) { "Ready" } else { "Failed" };
                self.foreign(&name, "status", |object| {
                    object["status"]["phase"] = json!(phase);
                    object["status"]["observedGeneration"] = object["metadata"]["generation"].clone();
                    object["status"]["stuckPods"] = pods;
                });
            }
            6 => self.foreign(&name, "label", |object| object["metadata"]["labels"]["team"] = json!("x")),
            _ if !self.weather.foreign => {}
            7..=9 if self.weather.restarts => {
                let value = json!(self.world.now.to_string());
                self.foreign(&name, "restart", |object| path(RESTARTED).write(object, Some(value)).unwrap());
            }
            7 => self.foreign(&name, "old value", |object| path(LIMIT).write(object, Some(json!("4"))).unwrap()),
            8 => self.foreign(&name, "another value", |object| path(REQUEST).write(object, Some(json!("2"))).unwrap()),
            9 => self.foreign(&name, "selector", |object| path(SELECTOR).write(object, Some(json!("b"))).unwrap()),
            10 if self.world.server.objects[&name]["spec"].get("strategy").is_some() => {
                self.foreign(&name, "surge", |object| path(SURGE).write(object, Some(json!(2))).unwrap());
            }
            10 => {}
            11 => self.foreign(&name, "record off", |object| {
                server::merge(
                    object,
                    &json!({"metadata": {"annotations": {undo::UNDO: null}, "labels": {undo::INCIDENT: null}}}),
                );
            }),
            _ => {
                self.note(format!("{name} is deleted"));
                self.world.server.delete(&name);
                if self.dice.one_in(2) {
                    let object = sick_server(&name, 2);
                    let object = self.world.server.create(object, "flux/Apply");
                    self.shadow.insert(object["metadata"]["uid"].as_str().unwrap().to_owned(), leaves(&object));
                }
            }
        }
    }

    pub(super) fn deliver_due(&mut self) {
        while let Some(at) = self.flights.iter().position(|(due, _)| *due <= self.world.now) {
            let (_, effect) = self.flights.swap_remove(at);
            self.arrive(&effect);
        }
    }

    pub(super) fn late(&mut self, effect: &Effect) {
        // What is given up without a fence counts on it that no request is later than two minutes.
        let most = if self.weather.refusals || self.weather.restarts { 110_000 } else { 600_000 };
        let due = self.world.now + SignedDuration::from_millis(self.dice.roll(most) as i64);
        self.flights.push((due, effect.clone()));
    }

    /// Sends one effect through the faulty network. None: the process dies here.
    pub(super) fn send(&mut self, effect: &Effect) -> Option<Outcome> {
        self.check_sending(effect);
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
            // The network repeats no request of one connection.
            3 if self.may_be_repeated(effect) => {
                self.late(effect);
                Some(self.arrive(effect))
            }
            4 => {
                self.meddle();
                Some(self.arrive(effect))
            }
            5 => Some(Outcome::Throttled { after: Some(SignedDuration::from_secs(1)) }),
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

    fn may_be_repeated(&self, effect: &Effect) -> bool {
        !matches!(&effect.write, Write::Operation(request) if request.delivery == Delivery::AtMostOnce)
    }

    /// A person looks, and settles an operation whose outcome is not known.
    fn settle_an_operation(&mut self) {
        let is_open = |change: &&Change| change.needs_settlement();
        let Some(change) = self.world.state().changes.iter().find(is_open) else { return };
        let id = change.id.clone();
        if self.flights.iter().any(|(_, effect)| effect.change == id) {
            return; // it is too early to tell
        }
        let happened = self.world.carried_out.contains_key(&id);
        let outcome = if happened { SettlementOutcome::Happened } else { SettlementOutcome::DidNotHappen };
        self.note(format!("a person says of {}: {outcome:?}", change_name(self.world.state(), &id)));
        let settlement = Settlement { change: id.to_string(), outcome, settled_by: "alice".to_owned() };
        self.world.intent.settlements.push(settlement);
    }

    /// One round of a controller that may have an old view and may die anywhere.
    pub(super) fn stormy_round(&mut self, which: usize, controller: &mut Controller) {
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
                // The status of objects changes while we read.
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
        self.check_rest(&facts, &decision);
        if self.dice.one_in(15) {
            self.note("dies before it records".to_owned());
            return self.die(which, controller);
        }
        let recorded = self.world.record(controller, &decision);
        if recorded {
            self.note(format!("records {}", summary(&decision.next)));
            self.check_answers_are_heard(which, &decision.next);
        } else if self.driver != Driver::ActsUnrecorded {
            if self.driver == Driver::ForgetsAnswers {
                controller.outcomes.clear();
            }
            return; // another controller recorded in between: start over, with what is known
        }
        if self.dice.one_in(15) {
            self.note("dies before it acts".to_owned());
            return self.die(which, controller);
        }
        controller.outcomes.clear();
        if decision.report {
            controller.report = Some(ReportStatus { name: "report".to_owned(), problem: None });
        }
        // The brake, a person or the end of the process stops what is not sent yet.
        let number = decision.effects.len() as u64 + 1;
        let stops_at = self.dice.one_in(15).then(|| self.dice.roll(number) as usize);
        for (at, effect) in decision.effects.iter().enumerate() {
            let outcome = if stops_at.is_some_and(|stops_at| at >= stops_at) {
                self.note(format!("{:?} of {} is not sent", effect.act, effect.target.name));
                Some(Outcome::NotSent).filter(|_| matches!(effect.write, Write::Operation(_)))
            } else {
                match self.send(effect) {
                    Some(outcome) => Some(outcome),
                    None => {
                        self.note("dies while it acts".to_owned());
                        return self.die(which, controller);
                    }
                }
            };
            controller.outcomes.extend(outcome.map(|outcome| (effect.id(), outcome)));
        }
        self.know_answers(which, controller);
        if self.dice.one_in(15) {
            self.leave(which, controller);
        }
    }

    /// The process is gone, and what only it knew.
    fn die(&mut self, which: usize, controller: &mut Controller) {
        self.answered[which].clear();
        *controller = Controller { view: controller.view, ..Controller::default() };
    }

    /// The process ends in an orderly way, and records what only it knows.
    fn leave(&mut self, which: usize, controller: &mut Controller) {
        controller.view = self.world.recorded.len() - 1;
        let facts = self.world.observe(controller);
        let decision = learn(&facts, self.world.now);
        assert!(decision.effects.is_empty(), "a process that ends begins something");
        assert!(self.world.record(controller, &decision));
        self.note(format!("ends, and records {}", summary(&decision.next)));
        self.check_answers_are_heard(which, &decision.next);
        self.die(which, controller);
    }

    pub(super) fn storm(&mut self) {
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
            if self.dice.one_in(12) {
                self.rest_or_go_on();
            }
            if (self.weather.rehearses.is_some() || self.weather.restarts) && self.dice.one_in(6) {
                self.settle_an_operation();
            }
            if number > end_at && self.dice.one_in(12) {
                let ready = if self.dice.one_in(2) { 0 } else { 8 };
                self.note(format!("{ready} nodes are ready"));
                self.world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", ready)]));
            }
            let which = usize::from(self.dice.one_in(3));
            let mut controller = std::mem::take(&mut controllers[which]);
            self.stormy_round(which, &mut controller);
            controllers[which] = controller;
        }
        self.end();
    }

    /// A person pauses or resumes the response, or engages or releases the brake.
    fn rest_or_go_on(&mut self) {
        if self.dice.one_in(2) {
            self.world.brake = match self.world.brake {
                Brake::Off => Brake::Engaged { why: "the brake is engaged".to_owned() },
                Brake::Engaged { .. } => Brake::Off,
            };
        } else {
            self.world.intent.response = match self.world.intent.response {
                Response::Active => Response::Paused,
                Response::Paused => Response::Active,
                last @ (Response::Withdrawn | Response::Kept) => last,
            };
        }
        self.note(format!("{:?}, {:?}", self.world.intent.response, self.world.brake));
    }

    /// While it is paused or braked nothing is sent that no person has asked for.
    fn check_rest(&self, facts: &Facts, decision: &Decision) {
        let persons = decision.is_for_a_person();
        let rests = facts.intent.response == Response::Paused || self.world.brake != Brake::Off;
        assert!(
            persons || !rests || decision.effects.is_empty(),
            "writes while it rests: {:?}",
            decision.effects
        );
    }

    pub(super) fn end(&mut self) {
        match self.dice.roll(3) {
            0 => self.world.intent.response = Response::Withdrawn,
            1 => self.world.intent.deleting = true,
            _ => {
                self.world.signals.insert("nodes".to_owned(), reading(&[("total", 8), ("ready", 8)]));
            }
        }
    }

    /// With the faults switched off it is resolved, in bounded time and work.
    pub(super) fn calm_down(&mut self) {
        let mut controller = Controller::default();
        self.world.brake = Brake::Off;
        if self.world.intent.response == Response::Paused {
            self.world.intent.response = Response::Active;
        }
        self.world.settle = Some(json!({"phase": "Ready"}));
        let recovered = reading(&[("total", 8), ("ready", 8)]);
        let rings = self.world.signals["nodes"] != recovered && !self.weather.calm;
        if rings && self.world.intent.response != Response::Withdrawn && !self.world.intent.deleting {
            self.world.signals.insert("nodes".to_owned(), recovered);
        }
        self.world.pass(1);
        let deadline = self.world.now + SignedDuration::from_mins(40);
        for _ in 0..2000 {
            self.deliver_due();
            // The requests of an effect must pass the checks, so the effects use `arrive`.
            controller.view = self.world.recorded.len() - 1;
            let (facts, decision) = self.world.decide(&mut controller, |_| {}).unwrap();
            check_effects_are_recorded(&facts, &decision).unwrap();
            if decision.next != facts.state {
                self.note(format!("records {}", summary(&decision.next)));
            }
            assert!(self.world.record(&mut controller, &decision));
            controller.outcomes.clear();
            if decision.report {
                controller.report = Some(ReportStatus { name: "report".to_owned(), problem: None });
            }
            for effect in &decision.effects {
                self.check_sending(effect);
                let outcome = self.arrive(effect);
                controller.outcomes.insert(effect.id(), outcome);
            }
            if self.world.state().resolved_at.is_some() {
                return;
            }
            if self.world.state().held.as_ref().is_some_and(|held| held.reason == Reason::Relapsed) {
                self.world.intent.response = Response::Withdrawn; // only a person resolves that
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
}

fn change_name(state: &IncidentState, id: &ChangeId) -> String {
    state.changes.iter().find(|change| change.id == *id).map(Change::subject).unwrap_or_default()
}
