//! For every decision of a person about a response, and for everything that can happen to its policy, in every phase:
//! what is documented happens, and nothing is left halfway. All cases run side by side, each with its own policy and
//! model.

use futures::future::join_all;
use kube::{ResourceExt, api::DynamicObject};
use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, heartbeats, is_apply, is_return, is_stalled, models::fallen_spec},
    support::{
        object::{Object, condition},
        proxy::{Call, Fault, Rule},
    },
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Its step does not start.
    Open,
    /// Its step needs approval.
    AwaitingApproval,
    /// Its step did not help.
    Held,
    /// Its write gets no answer.
    Remediating,
    /// Its step has not helped yet.
    Verifying,
    /// Its step has helped.
    Monitoring,
    /// No rule holds, and its model cannot be reverted.
    Reverting,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Paused,
    Withdrawn,
    Kept,
    Deleted,
    PolicySuspended,
    PolicyDeleted,
    PolicyObserves,
    PolicyNotAccepted,
    /// Its step gets another name and another action.
    PolicyEdited,
}

/// What a person does at the end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Withdrawn,
    Kept,
    Deleted,
}

const PHASES: [Phase; 7] = [
    Phase::Open,
    Phase::AwaitingApproval,
    Phase::Held,
    Phase::Remediating,
    Phase::Verifying,
    Phase::Monitoring,
    Phase::Reverting,
];

const FATES: [Fate; 9] = [
    Fate::Paused,
    Fate::Withdrawn,
    Fate::Kept,
    Fate::Deleted,
    Fate::PolicySuspended,
    Fate::PolicyDeleted,
    Fate::PolicyObserves,
    Fate::PolicyNotAccepted,
    Fate::PolicyEdited,
];

/// The alarm of cases that should recover, and the one that is silent when a step has helped that has not yet.
const OTHER_ALARMS: &str = r#"
{"apiVersion": "v1", "kind": "ConfigMap", "data": {"rings": "yes"},
    "metadata": {"name": "other-alarm", "namespace": "${a}"}}
---
{"apiVersion": "v1", "kind": "ConfigMap", "data": {"rings": "yes"},
    "metadata": {"name": "has-helped", "namespace": "${a}"}}"#;

/// The checks of a step that never helps.
fn never() -> Value {
    json!([{"cel": {"expression": "signals.alarm.total > 5"}}])
}

/// One phase and one fate.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Case {
    phase: Phase,
    fate: Fate,
}

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        PHASES.into_iter().flat_map(|phase| FATES.into_iter().map(move |fate| Self { phase, fate }))
    }

    /// The name of its policy and of its model.
    fn name(self) -> String {
        format!("{:?}-{:?}", self.phase, self.fate).to_lowercase()
    }

    fn policy(self) -> Value {
        let mut policy = drill::policy_manifest(|spec| {
            *drill::targets(spec) = json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment",
                "names": [self.name()], "where": "true"});
            match self.phase {
                Phase::Open => spec["steps"][0]["when"] = json!("signals.alarm.total > 5"),
                Phase::AwaitingApproval => spec["steps"][0]["approval"] = json!("Required"),
                Phase::Held => spec["steps"][0]["verify"] = json!({"within": "1s", "checks": never()}),
                Phase::Verifying => {
                    let mut helped = spec["signals"][0].clone();
                    helped["name"] = json!("helped");
                    helped["objects"]["names"] = json!(["has-helped"]);
                    spec["signals"].as_array_mut().expect("a list").push(helped);
                    let check = json!([{"cel": {"expression": "signals.helped.unhealthy == 0"}}]);
                    spec["steps"][0]["verify"] = json!({"within": "1h", "checks": check});
                }
                Phase::Remediating | Phase::Monitoring => {}
                Phase::Reverting => spec["signals"][0]["objects"]["names"] = json!(["other-alarm"]),
            }
        });
        policy["metadata"]["name"] = json!(self.name());
        policy
    }

    /// Whether its model is changed when the fate comes.
    fn is_in_force(self) -> bool {
        !matches!(self.phase, Phase::Open | Phase::AwaitingApproval | Phase::Remediating)
    }

    /// Another step instead of its own, which does not help where its own finally does.
    fn edited(self) -> Value {
        let mut steps = self.policy()["spec"]["steps"].take();
        steps[0]["name"] = json!("edited");
        steps[0]["action"]["cpuFallback"]["quantization"] = json!("fp8");
        if self.phase == Phase::Verifying {
            steps[0]["verify"]["checks"] = never();
        }
        json!({"spec": {"steps": steps}})
    }

    /// How a person ends it, by the fate itself or after it. Cases that no policy ends are ended in every possible way.
    fn end(self) -> End {
        match self.fate {
            Fate::Kept | Fate::PolicyDeleted => End::Kept,
            Fate::Deleted | Fate::PolicySuspended => End::Deleted,
            Fate::Paused
            | Fate::Withdrawn
            | Fate::PolicyObserves
            | Fate::PolicyNotAccepted
            | Fate::PolicyEdited => End::Withdrawn,
        }
    }

    /// Whether nothing at all is done until a person acts. A policy in Observe publishes its plan as long as
    /// nothing was changed.
    fn stands_still(self) -> bool {
        match self.fate {
            Fate::Paused | Fate::PolicySuspended | Fate::PolicyDeleted | Fate::PolicyNotAccepted => true,
            Fate::PolicyObserves => self.is_in_force(),
            Fate::Withdrawn | Fate::Kept | Fate::Deleted | Fate::PolicyEdited => false,
        }
    }
}

/// A case under way.
struct Response {
    case: Case,
    policy: Object,
    incident: Object,
    models: Models,
}

impl Response {
    async fn begin(drill: &Drill, case: Case) -> Self {
        let models = drill.models_named(&[&case.name()]).await;
        let policy = drill.world.apply("flux", &case.policy().to_string()).await.remove(0);
        let incident = drill.world.incident_of(&policy).await;
        let response = Self { case, policy, incident, models };
        let is_there = match case.phase {
            Phase::Reverting => "Monitoring",
            _ => response.phase(),
        };
        response.wait_for_phase(is_there).await;
        response
    }

    /// The name of the phase in which the fate comes.
    fn phase(&self) -> &'static str {
        match self.case.phase {
            Phase::Open => "Open",
            Phase::AwaitingApproval => "AwaitingApproval",
            Phase::Held => "Held",
            Phase::Remediating => "Remediating",
            Phase::Verifying => "Verifying",
            Phase::Monitoring => "Monitoring",
            Phase::Reverting => "Reverting",
        }
    }

    async fn wait_for_phase(&self, name: &str) {
        let is_there = |seen: &DynamicObject| seen.data["status"]["phase"] == name;
        self.incident.wait_until(&format!("{:?}: {name}", self.case), is_there).await;
    }

    async fn wait_for_stall(&self, reason: &str) {
        let is_there =
            |seen: &DynamicObject| is_stalled(seen, reason) && seen.data["status"]["phase"] == "Held";
        self.incident.wait_until(&format!("{:?}: {reason}", self.case), is_there).await;
    }

    async fn respond(&self, response: &str) {
        self.incident.merge("alice", json!({"spec": {"response": response}})).await;
    }

    /// The fate comes, and its immediate effect is seen.
    async fn meets_its_fate(&self) {
        let policy = |patch| self.policy.merge("alice", patch);
        let unknown = json!([{"level": "P0", "reason": "AlarmRings", "when": "signals.nothing.total > 0"}]);
        match self.case.fate {
            Fate::Paused => self.respond("Paused").await,
            Fate::Withdrawn => self.respond("Withdrawn").await,
            Fate::Kept => self.respond("Kept").await,
            Fate::Deleted => self.incident.delete().await,
            Fate::PolicySuspended => drop(policy(json!({"spec": {"suspend": true}})).await),
            Fate::PolicyDeleted => self.policy.delete().await,
            Fate::PolicyObserves => drop(policy(json!({"spec": {"mode": "Observe"}})).await),
            Fate::PolicyNotAccepted => drop(policy(json!({"spec": {"severity": unknown}})).await),
            Fate::PolicyEdited => {
                policy(self.case.edited()).await;
                let is_told = |seen: &DynamicObject| drill::times(seen, "PolicyChanged") == 1;
                self.incident.wait_until(&format!("{:?}: PolicyChanged", self.case), is_told).await;
            }
        }
        if self.case.stands_still() {
            let is_paused = self.case.fate == Fate::Paused;
            self.wait_for_stall(if is_paused { "Paused" } else { "PolicyUnavailable" }).await;
        }
    }

    async fn goes_on(&self) {
        self.respond("Active").await;
        if self.case.phase == Phase::Held {
            // Its step is tried again, which does not help this time either.
            self.wait_for_stall("LadderUsedUp").await;
        } else {
            self.wait_for_phase(self.phase()).await;
        }
    }

    /// A person ends it, if that was not its fate.
    async fn ends(&self) {
        match self.case.end() {
            _ if matches!(self.case.fate, Fate::Withdrawn | Fate::Kept | Fate::Deleted) => {}
            End::Withdrawn => self.respond("Withdrawn").await,
            End::Kept => self.respond("Kept").await,
            End::Deleted => self.incident.delete().await,
        }
    }

    /// A started step is finished and verified as it was when it started.
    async fn finishes_its_step(&self) {
        self.wait_for_phase("Monitoring").await;
        let (model, before) = (&self.models.objects[0], &self.models.before[0]);
        let case = self.case;
        assert_eq!(model.snapshot().await.spec, fallen_spec(&before.spec), "{case:?}: {model}");
        let seen = self.incident.get().await;
        let step = &seen.data["status"]["steps"][0];
        assert_eq!((&step["name"], &step["state"]), (&json!("cpu-fallback"), &json!("Verified")), "{case:?}");
    }

    async fn assert_nothing_is_half_way(&self) {
        let Self { case, incident, models, .. } = self;
        if case.end() == End::Deleted {
            incident.wait_until_gone().await;
        } else {
            self.assert_is_closed().await;
        }
        let (model, before) = (&models.objects[0], &models.before[0]);
        let after = model.snapshot().await;
        assert_eq!(after.traces(), Vec::<&str>::new(), "{case:?}: traces on {model}");
        if case.end() == End::Kept && case.is_in_force() {
            assert_eq!(after.spec, fallen_spec(&before.spec), "{case:?}: {model}");
        } else {
            assert_eq!(after.spec, before.spec, "{case:?}: {model}");
            drill::models::assert_no_trace(model, before, &after);
        }
    }

    async fn assert_is_closed(&self) {
        let Self { case, incident, .. } = self;
        let closed = incident.wait_until("let go", |seen| seen.finalizers().is_empty()).await;
        let name = format!("{case:?}: {incident}");
        let status = &closed.data["status"];
        if case.phase == Phase::Reverting && status["closing"] == "Recovered" {
            let goes_on = matches!(case.fate, Fate::Paused | Fate::PolicyEdited);
            assert!(goes_on, "{name}: only these went on by themselves");
        } else {
            assert_eq!(status["closing"], format!("{:?}", case.end()), "{name}");
        }
        for (type_, truth) in [("Ready", "True"), ("Stalled", "False"), ("Returned", "True")] {
            assert_eq!(condition(&closed, type_), Some(truth), "{name}: {type_}");
        }
        assert_eq!(status["changesInForce"], 0, "{name}");
    }
}

/// A write to the model of such a case.
fn is_of(call: &Call, phase: &str) -> bool {
    call.target.name.starts_with(phase)
}

async fn all<'a, F: Future>(responses: &'a [Response], work: impl Fn(&'a Response) -> F) {
    join_all(responses.iter().map(work)).await;
}

#[tokio::test]
async fn every_decision_and_every_fate_of_the_policy_is_met_in_every_phase() {
    let drill = Drill::new("s10-fates").await;
    let operator = drill.quick_operator().await;
    let lost = |call: &Call| is_of(call, "remediating") && is_apply(call, &call.target.name);
    operator.proxy.on(Rule::each(lost, Fault::answer(500)));
    let refused = |call: &Call| is_of(call, "reverting") && is_return(call, &call.target.name);
    operator.proxy.on(Rule::each(refused, Fault::answer(403)));
    drill.ring().await;
    let other_alarms = drill.world.apply("harness", OTHER_ALARMS).await;
    let (other_alarm, has_helped) = (&other_alarms[0], &other_alarms[1]);

    // Firebreak asks a person after some seconds without an answer to a write, so those cases start last.
    let (brief, lasting): (Vec<Case>, _) = Case::all().partition(|case| case.phase == Phase::Remediating);
    let begin = |cases: Vec<Case>| join_all(cases.into_iter().map(|case| Response::begin(&drill, case)));
    let mut responses = begin(lasting).await;
    other_alarm.merge("harness", json!({"data": {"rings": "no"}})).await;
    all(&responses, |response| response.wait_for_phase(response.phase())).await;
    responses.extend(begin(brief).await);
    all(&responses, Response::meets_its_fate).await;

    // Cases that are held.
    let versions = async || join_all(responses.iter().map(|one| one.models.objects[0].snapshot())).await;
    let before = versions().await;
    heartbeats(&operator, 4).await;
    for ((response, before), after) in responses.iter().zip(before).zip(versions().await) {
        let case = response.case;
        if case.stands_still() {
            assert_eq!(before.version, after.version, "{case:?}: written while it stands still");
        }
        if case.fate == Fate::PolicyEdited && case.is_in_force() {
            let own = fallen_spec(&response.models.before[0].spec);
            assert_eq!(after.spec, own, "{case:?}: changed by the step of another policy");
        }
    }

    // Paused cases continue, and a person ends all.
    let paused = |response: &&Response| response.case.fate == Fate::Paused;
    join_all(responses.iter().filter(paused).map(Response::goes_on)).await;
    has_helped.merge("harness", json!({"data": {"rings": "no"}})).await;
    let begun = Case { phase: Phase::Verifying, fate: Fate::PolicyEdited };
    join_all(responses.iter().filter(|one| one.case == begun).map(Response::finishes_its_step)).await;
    operator.proxy.forget_rules();
    all(&responses, Response::ends).await;
    let a = drill.world.a.as_str();
    let stays = |response: &&Response| response.case.end() != End::Deleted;
    let staying: Vec<&str> = responses.iter().filter(stays).map(|one| one.incident.name()).collect();
    let wait = ["wait", "--for=condition=Resolved", "--namespace", a, "--timeout=60s", "incident"];
    drill.world.kubectl(&[&wait[..], &staying].concat()).await;
    all(&responses, Response::assert_nothing_is_half_way).await;
    assert_eq!(drill.incidents().await.len(), staying.len(), "one for each, and no other was opened");
}
