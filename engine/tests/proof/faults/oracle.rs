//! What must be true whenever a write takes effect, and at the end.

use firebreak_engine::change::{Again, Change, Evidence};
use firebreak_engine::reason::Reason;
use firebreak_engine::value::same;

use super::*;

/// The timeout of the steps, which is longer than `within`.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

pub(super) fn in_server_words(field: &FieldPath) -> Path {
    let word = |segment: &Segment| match segment {
        Segment::Key(key) => Some(format!("f:{key}")),
        Segment::Element { key, value } => Some(format!("k:{}", json!({ key: value }))),
        Segment::Flag(_) => None,
    };
    field.segments().iter().filter_map(word).collect()
}

/// The ownership of the field that a restart sets, and of nothing else.
fn value_of_restart() -> String {
    let set =
        in_server_words(&path(RESTARTED)).into_iter().rev().fold(json!({}), |set, key| json!({ key: set }));
    format!("managedFields {set}")
}

pub(super) fn is_trace(at: &Path) -> bool {
    at.last().is_some_and(|last| last.starts_with("f:firebreak.dev/"))
}

impl Run {
    /// The invariants at the moment at which a write takes effect.
    pub(super) fn check_landing(&mut self, effect: &Effect, before: &Value, after: &Value) {
        let uid = before["metadata"]["uid"].as_str().unwrap().to_owned();
        let (old, new) = (leaves(before), leaves(after));
        let moved: Vec<Path> = changed(before, after).into_iter().filter(|at| !is_trace(at)).collect();
        let shadow = &self.shadow[&uid];
        *self.moved.entry(uid.clone()).or_default() += u32::from(!moved.is_empty());
        match effect.act {
            Act::Apply => {
                let state = self.world.state();
                let change = state.changes.iter().find(|change| change.id == effect.change);
                let Some(change) = change else { panic!("an apply that is not in the journal took effect") };
                assert!(state.resolved_at.is_none(), "an apply took effect after the incident was closed");
                assert!(
                    change.is_open_intent(),
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
                    assert_eq!(
                        old.get(at),
                        shadow.get(at),
                        "{at:?}: the reverted value is not the one from before"
                    );
                }
                let loan =
                    undo::loan(after, &effect.change, &incident()).expect("the record comes with the change");
                for at in &moved {
                    let recorded = |fields: &[firebreak_engine::change::FieldChange]| {
                        fields.iter().any(|field| {
                            // Flags share one list, which is compared as a whole at the end.
                            let is_before = || same(&field.path, field.before.as_ref(), old.get(at));
                            in_server_words(&field.path) == *at && (field.path.is_flag() || is_before())
                        })
                    };
                    assert!(
                        recorded(&loan.fields) && recorded(change.fields()),
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
                    assert_eq!(
                        new.get(at),
                        shadow.get(at),
                        "{at:?}: another value was restored than the one from before"
                    );
                }
                self.check_pace(effect, before, after, &moved);
            }
            Act::Operate(_) => unreachable!("it has a check of its own"),
            Act::Amend | Act::Fence | Act::HandBack => {
                assert_eq!(moved, Vec::<Path>::new(), "{:?} changed more than traces", effect.act);
            }
        }
    }

    /// The pace of a rollout goes back after its template: when that has rolled out, when there was time enough for it,
    /// when the object was never healthy, or when the change is about to be applied again.
    fn check_pace(&mut self, effect: &Effect, before: &Value, after: &Value, moved: &[Path]) {
        let uid = before["metadata"]["uid"].as_str().unwrap().to_owned();
        let is_pace = |at: &&Path| at.get(1).is_some_and(|word| word == "f:strategy");
        let (pace, template): (Vec<&Path>, Vec<&Path>) = moved.iter().partition(is_pace);
        assert!(
            pace.is_empty() || template.is_empty(),
            "the pace of the rollout goes back with the template"
        );
        if undo::loan(after, &effect.change, &incident()).is_some() {
            self.template_back.entry(uid).or_insert(self.world.now);
            return;
        }
        let Some(back) = self.template_back.remove(&uid) else { return };
        let has_rolled_out = before["status"]["phase"] == "Ready"
            && before["status"]["observedGeneration"] == before["metadata"]["generation"];
        let changes = &self.world.state().changes;
        let change = changes.iter().find(|change| change.id == effect.change).expect("it is in the journal");
        let is_wanted_again = matches!(change.again(), Again::Always | Again::IfMatching);
        let had_its_time =
            change.applied_at().is_some_and(|at| at + SignedDuration::from_secs(30) <= self.world.now);
        let was_never_well = change.evidence(PATIENCE, self.world.now) == Evidence::Nothing && had_its_time;
        let is_late = self.world.now >= back + PATIENCE;
        assert!(
            pace.is_empty() || has_rolled_out || is_wanted_again || was_never_well || is_late,
            "the pace of the rollout goes back before the template has rolled out"
        );
    }

    /// A restart takes effect once, and changes nothing but its annotation. The controller of the object may see it before
    /// someone writes another value.
    pub(super) fn check_restart(&mut self, effect: &Effect, before: &Value, after: &Value) {
        let moved: Vec<Path> = changed(before, after);
        if moved.is_empty() {
            return; // it is there already
        }
        let restarted = in_server_words(&path(RESTARTED));
        assert_eq!(moved, std::slice::from_ref(&restarted), "a restart changes more than its annotation");
        let times = self.world.carried_out.entry(effect.change.clone()).or_default();
        *times += 1;
        assert_eq!(*times, 1, "an object is restarted a second time");
        let uid = before["metadata"]["uid"].as_str().unwrap().to_owned();
        let number = self.restarted.entry(uid.clone()).or_default();
        *number += 1;
        self.shadow.get_mut(&uid).unwrap().insert(restarted.clone(), leaves(after)[&restarted].clone());
        if self.dice.one_in(2) {
            let owner = json!([{"kind": "Deployment", "name": effect.target.name}]);
            let name = format!("{}-{}", effect.target.name, after["metadata"]["generation"]);
            let metadata = json!({"name": name, "namespace": "serving", "ownerReferences": owner});
            let template = json!({"metadata": after["spec"]["template"]["metadata"]});
            let revision = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata,
                "spec": {"template": template}, "status": {"phase": "Ready"}});
            let revision = self.world.server.create(revision, "controller/Update");
            let uid = revision["metadata"]["uid"].as_str().unwrap().to_owned();
            self.shadow.insert(uid, leaves(&revision));
        }
    }

    /// Every operation was recorded before it is carried out, by whichever controller and however late.
    pub(super) fn check_operation(&self, effect: &Effect) {
        let names = |state: &IncidentState| {
            let is_it = |change: &Change| change.id == effect.change && change.target == effect.target;
            state.changes.iter().any(|change| is_it(change) && change.state == ChangeState::Intended)
        };
        assert!(self.world.recorded.iter().any(names), "an operation is carried out that no intent names");
    }

    /// An operation that may be sent once is sent once, whatever the outcome of the first request.
    pub(super) fn check_sending(&mut self, effect: &Effect) {
        let Write::Operation(request) = &effect.write else { return };
        if request.delivery == Delivery::AtMostOnce {
            let times = self.sent_once.entry(effect.change.clone()).or_default();
            *times += 1;
            assert_eq!(*times, 1, "an operation that may be sent once was sent again");
        }
    }

    /// Notes the clear answers to requests that may be sent once: only this process has them.
    pub(super) fn know_answers(&mut self, which: usize, controller: &Controller) {
        let is_clear = |outcome: &Outcome| !matches!(outcome, Outcome::Unclear { .. });
        let may_be_sent_once = |guard: &Guard| matches!(guard, Guard::Request(request) if request.delivery == Delivery::AtMostOnce);
        let known = controller
            .outcomes
            .iter()
            .filter(|(id, outcome)| may_be_sent_once(&id.guard) && is_clear(outcome));
        self.answered[which].extend(known.map(|(id, _)| id.clone()));
    }

    /// Nobody is asked for what this process has been told, whoever wrote the Incident in between.
    pub(super) fn check_answers_are_heard(&mut self, which: usize, recorded: &IncidentState) {
        for id in std::mem::take(&mut self.answered[which]) {
            let is_it = |change: &&Change| {
                change.id == id.change
                    && change.request(&incident()).map(Guard::Request).as_ref() == Some(&id.guard)
            };
            let open = recorded.changes.iter().find(is_it).filter(|change| change.is_open_operation());
            assert!(open.is_none(), "a clear answer is forgotten: {open:?}");
        }
    }

    /// What the journal says about the operations is what happened.
    fn check_operations(&self, state: &IncidentState) {
        for change in state.changes.iter().filter(|change| change.as_operation().is_some()) {
            if change.on_behalf_of().is_some() {
                continue; // the pods of these runs have their own life cycle
            }
            let times = self.world.carried_out.get(&change.id).copied().unwrap_or(0);
            if change.reason == Some(Reason::ObjectGone) {
                continue; // nobody can tell any more
            }
            match change.state {
                ChangeState::Done => assert!(times > 0, "{} is Done and never took effect", change.subject()),
                ChangeState::Skipped | ChangeState::Failed => {
                    assert_eq!(times, 0, "{} is {:?} and took effect", change.subject(), change.state);
                }
                ChangeState::Unclear => {}
                other => panic!("{} ended as {other:?}", change.subject()),
            }
            assert!(times <= u32::from(change.round), "{} took effect {times} times", change.subject());
        }
    }

    pub(super) fn check_the_end(&mut self) {
        for (_, effect) in std::mem::take(&mut self.flights) {
            self.arrive(&effect);
        }
        let state = self.world.state().clone();
        let told = serde_json::to_string(&state).unwrap();
        assert!(!told.contains("secret"), "a secret has left its object: {told}");
        self.check_operations(&state);
        for change in state.changes.iter().filter(|change| change.loan().is_some()) {
            assert!(!change.is_outstanding(), "{:?} after the end", change.state);
            let landed = self.landed.contains_key(&change.target.uid);
            match change.state {
                ChangeState::Reverted => assert!(landed, "reverted although it was never applied"),
                ChangeState::Ceded => {}
                // A later round was given up, and the one before it is over.
                ChangeState::Failed if change.round > 1 => {}
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
                let fields = change.fields().iter().filter(|field| field.ceded_to.is_some());
                fields.map(|field| (change.target.uid.clone(), in_server_words(&field.path)))
            })
            .collect();
        for object in self.world.server.objects.values() {
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            let (is, should) = (leaves(object), &self.shadow[&uid]);
            let is_ours_to_change = |at: &&Path| at[0] != "f:status";
            for at in is.keys().chain(should.keys()).filter(is_ours_to_change) {
                let left = ceded.contains(&(uid.clone(), at.clone()));
                assert!(
                    is.get(at) == should.get(at) || left,
                    "{at:?} is {:?} and should be {:?}",
                    is.get(at),
                    should.get(at)
                );
            }
            let given_up = state.timeline.iter().any(|entry| entry.type_ == "TracesLeft");
            // The value of a restart stays, and with it who has set it.
            let is_of_restart =
                |trace: &String| self.restarted.contains_key(&uid) && trace.ends_with(&value_of_restart());
            let left: Vec<String> = traces(object).into_iter().filter(|it| !is_of_restart(it)).collect();
            assert!(given_up || left.is_empty(), "traces are left: {left:?}");
            if !self.weather.foreign {
                let times = self.landed.get(&uid).copied().unwrap_or(0);
                assert!(times <= 1 + u32::from(state.relapses), "applied {times} times");
                let returns = if object["spec"].get("strategy").is_some() { 2 } else { 1 };
                let writes = self.moved.get(&uid).copied().unwrap_or(0);
                assert_eq!(writes, times * (1 + returns), "applied once, and reverted once, in each round");
                let restarts = self.restarted.get(&uid).copied().unwrap_or(0);
                assert_eq!(
                    object["metadata"]["generation"],
                    json!(1 + writes + restarts),
                    "and nothing else"
                );
            }
        }
        if state.closing == Some(Closing::Recovered) {
            assert!(state.classified_at.is_some());
        }
    }
}
