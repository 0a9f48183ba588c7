//! The guardrails hold while two operators that both lead are killed at any moment: the counts
//! are in the API, and change in the same writes that they limit.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt;
use kube::{
    ResourceExt,
    api::DynamicObject,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde_json::{Value, json};
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    drill::{Drill, SpecWrites, closed, has_fallen, is_stalled, message_of, models, spec_writes, targets},
    support::{
        manifest,
        object::{Object, PATIENCE},
        operator::Operator,
        proxy::{Call, Fault, Moment, Rule},
    },
};

/// Deaths of each of the two operators, at most one in an emergency.
const DEATHS: usize = 10;
/// What the policy allows.
const INCIDENTS: usize = 2;
const TARGETS: usize = 2;
const COOLDOWN_MILLIS: i64 = 1000;

/// Sees every state of the models and of the Incidents, and records violations.
#[derive(Default)]
struct Witness {
    fallen: BTreeSet<String>,
    most_fallen: usize,
    incidents: BTreeMap<String, DynamicObject>,
    acted: BTreeSet<String>,
    open_together: BTreeSet<Vec<String>>,
    acting_together: BTreeSet<Vec<String>>,
}

impl Witness {
    fn sees_model(&mut self, model: &DynamicObject) {
        match has_fallen(&model.data) {
            true => self.fallen.insert(model.name_any()),
            false => self.fallen.remove(&model.name_any()),
        };
        self.most_fallen = self.most_fallen.max(self.fallen.len());
    }

    fn sees_incident(&mut self, incident: DynamicObject) {
        if incident.data["status"].get("firstActionAt").is_some() {
            self.acted.insert(incident.name_any());
        }
        self.incidents.insert(incident.name_any(), incident);
        let names = |is: fn(&DynamicObject) -> bool| -> Vec<String> {
            self.incidents.iter().filter(|(_, one)| is(one)).map(|(name, _)| name.clone()).collect()
        };
        let (open, acting) = (names(|one| !closed(one)), names(is_acting));
        if open.len() > 1 {
            self.open_together.insert(open);
        }
        if acting.len() > 1 {
            self.acting_together.insert(acting);
        }
    }

    /// An Incident whose announcement was given up while its creation was in flight closes automatically.
    fn is_superseded(&self, name: &String) -> bool {
        self.incidents[name].data["status"]["closing"] == "Superseded"
    }
}

fn is_acting(incident: &DynamicObject) -> bool {
    incident.data["status"]["changesInForce"].as_u64().is_some_and(|number| number > 0)
}

/// Watches until it is dropped.
struct Watching {
    witness: Arc<watch::Sender<Witness>>,
    tasks: [AbortHandle; 2],
}

impl Watching {
    fn begin(drill: &Drill) -> Self {
        let witness: Arc<watch::Sender<Witness>> = Arc::default();
        let follow = |api_version: &str, kind: &str, sees: fn(&mut Witness, DynamicObject)| {
            let resource = manifest::resource(api_version, kind);
            let api = manifest::api(&drill.world.client, &resource, Some(&drill.world.a));
            let witness = Arc::clone(&witness);
            tokio::spawn(async move {
                let mut events = pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
                while let Some(event) = events.next().await {
                    // An interrupted watch reconnects.
                    if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
                        witness.send_modify(|witness| sees(witness, object));
                    }
                }
            })
            .abort_handle()
        };
        let tasks = [
            follow("inference.llm-d.io/v1alpha1", "LLMDeployment", |witness, model| {
                witness.sees_model(&model);
            }),
            follow("firebreak.dev/v1alpha1", "Incident", Witness::sees_incident),
        ];
        Self { witness, tasks }
    }

    /// Waits until it has seen the end of all Incidents.
    async fn until_all_is_seen(&self, incidents: &[DynamicObject]) {
        let mut seen = self.witness.subscribe();
        let at_the_end = |witness: &Witness| {
            let is_over = |one: &DynamicObject| witness.incidents.get(&one.name_any()).is_some_and(closed);
            witness.fallen.is_empty() && incidents.iter().all(is_over)
        };
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(at_the_end)).await;
        assert!(waited.is_ok(), "the watches have not shown the end of all Incidents");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Kills the operator again and again, each time at one of its next writes in another emergency.
async fn kill_again_and_again(operator: &Operator, seed: u64, emergencies: &watch::Sender<usize>) {
    let (mut dice, mut emergencies) = (fastrand::Rng::with_seed(seed), emergencies.subscribe());
    for death in 1..=DEATHS {
        emergencies.wait_for(|count| *count >= death).await.expect("the sender is there");
        let moments = [Moment::BeforeSend, Moment::ReplyLost, Moment::ReplySeen];
        let (nth, moment) = (dice.usize(1..=8), moments[dice.usize(..3)]);
        operator.proxy.on(Rule::nth(nth, Call::is_write, Fault::Kill(moment)));
        operator.until_dead().await;
        operator.proxy.forget_rules();
        operator.restart();
    }
}

/// One emergency after the other, each of which is counted, until it is `over`.
async fn ring_again_and_again(
    drill: &Drill,
    policy: &Object,
    joiner: &Object,
    emergencies: &watch::Sender<usize>,
    over: &AtomicBool,
) {
    while !over.load(Ordering::SeqCst) {
        emergencies.send_modify(|count| *count += 1);
        drill.ring().await;
        let incident = drill.world.incident_of(policy).await;
        let acts_with =
            |incident: &DynamicObject, number| incident.data["status"]["changesInForce"] == number;
        let is_too_many = |incident: &DynamicObject| is_stalled(incident, "TooManyIncidents");
        let answered = incident
            .wait_until("responds or is Held", |one| acts_with(one, TARGETS) || is_too_many(one))
            .await;
        if !is_too_many(&answered) {
            // One more wants to join than may be changed.
            joiner.merge("flux", json!({"metadata": {"labels": {"tier": "gold"}}})).await;
            incident.wait_until("Held", |one| is_stalled(one, "TooManyTargets")).await;
        }
        drill.hush().await;
        incident.wait_for_condition("Resolved", "True").await;
        let is_its = |policy: &DynamicObject| {
            policy.data["status"]["activeIncident"]["name"] == json!(incident.name())
        };
        policy.wait_until("free", |policy| !is_its(policy)).await;
        joiner.merge("flux", json!({"metadata": {"labels": {"tier": "silver"}}})).await;
    }
}

fn guarded(spec: &mut Value) {
    spec["recovery"] = json!({"for": "200ms", "between": "0s"});
    spec["guardrails"] = json!({
        "maxTargets": TARGETS, "cooldown": format!("{COOLDOWN_MILLIS}ms"),
        "maxIncidents": {"count": INCIDENTS, "per": "1h"},
    });
    targets(spec)["where"] = json!("object.metadata.labels.tier == 'gold'");
    // It does not help, so that its targets are listed often.
    spec["steps"][0]["verify"]["checks"][0]["cel"]["expression"] = json!("signals.alarm.total == 2");
}

fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

/// What was observed over the whole time, and what the policy remembers.
fn assert_guarded(seen: &Witness, remembered: &Value) {
    let responses = remembered.as_array().expect("it has responded");
    let names: Vec<String> =
        responses.iter().filter_map(|one| one["name"].as_str()).map(str::to_owned).collect();
    let real: BTreeSet<&String> = seen.incidents.keys().filter(|name| !seen.is_superseded(name)).collect();
    assert_eq!(
        names.iter().collect::<BTreeSet<_>>(),
        real,
        "Incidents, and what is remembered: {remembered:#}"
    );
    assert!(names.len() > INCIDENTS, "no Incident was one too many: {remembered:#}");
    assert_eq!(seen.acted, names[..INCIDENTS].iter().cloned().collect(), "Incidents that changed anything");
    assert_eq!(seen.most_fallen, TARGETS, "changes in force at once");
    assert_eq!(seen.acting_together, BTreeSet::new());
    for together in &seen.open_together {
        let real: Vec<_> = together.iter().filter(|name| !seen.is_superseded(name)).collect();
        assert!(real.len() < 2, "open together: {together:?}");
    }
    for pair in responses.windows(2) {
        let pause = time(&pair[1]["at"]).duration_since(time(&pair[0]["endedAt"]));
        assert!(pause.as_millis() >= COOLDOWN_MILLIS.into(), "{pause:?} between {pair:#?}");
    }
}

#[tokio::test]
async fn guardrails_hold_while_two_operators_are_killed_at_any_moment() {
    let drill = Drill::new("s19").await;
    let models = drill.models(TARGETS).await;
    let mut joiner = models::document(&drill.world, "joiner");
    joiner["metadata"]["labels"]["tier"] = json!("silver");
    let joiner = drill.world.create("flux", &joiner.to_string()).await.remove(0);
    let joiner_before = joiner.snapshot().await;
    let leader = |name: &str| drill.world.operator().named(name).flag("--no-leader-election").start();
    let (first, second) = (leader("firebreak-0").await, leader("firebreak-1").await);
    let policy = drill.policy_with(guarded).await;
    let watching = Watching::begin(&drill);

    let (over, emergencies) = (AtomicBool::new(false), watch::Sender::new(0));
    let deaths = async {
        tokio::join!(
            kill_again_and_again(&first, 0x5eed_0001, &emergencies),
            kill_again_and_again(&second, 0x5eed_0002, &emergencies)
        );
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(deaths, ring_again_and_again(&drill, &policy, &joiner, &emergencies, &over));

    watching.until_all_is_seen(&drill.incidents().await).await;
    let remembered = policy.get().await.data["status"]["recentResponses"].clone();
    assert_guarded(&watching.witness.borrow(), &remembered);
    for (model, before) in models.objects.iter().zip(&models.before) {
        let after = model.snapshot().await;
        assert_eq!(after.spec, before.spec, "{model}: spec");
        models::assert_no_trace(model, before, &after);
        let writes = spec_writes(&[first.proxy.record(), second.proxy.record()], model.name());
        assert_eq!(writes, SpecWrites { applied: INCIDENTS, returned: INCIDENTS }, "{model}");
    }
    assert_eq!(joiner.snapshot().await.generation, joiner_before.generation, "{joiner}");
}

#[tokio::test]
async fn a_policy_that_is_created_again_has_not_forgotten_its_responses() {
    let drill = Drill::new("s19-again").await;
    let models = drill.models(1).await;
    let _operator = drill.world.operator().start().await;
    let strict = |spec: &mut Value| {
        spec["guardrails"] = json!({"cooldown": "0s", "maxIncidents": {"count": 1, "per": "1h"}});
    };
    let policy = drill.policy_with(strict).await;
    let first = drill.respond(&policy).await;
    drill.recover(&first).await;
    policy.wait_until("free", |policy| policy.data["status"].get("activeIncident").is_none()).await;
    let before = policy.get().await.data["status"]["recentResponses"][0].clone();
    policy.delete().await;
    policy.wait_until_gone().await;

    let policy = drill.policy_with(strict).await;
    let after = policy.get().await.data["status"]["recentResponses"].clone();
    assert_eq!(after.as_array().map(Vec::len), Some(1), "{after:#}");
    for field in ["name", "uid", "openedBy"] {
        assert_eq!(after[0][field], before[field], "{after:#}, before: {before:#}");
    }
    drill.ring().await;
    let second = drill.world.incident_of(&policy).await;
    let held = second.wait_until("Held", |one| is_stalled(one, "TooManyIncidents")).await;
    let message = message_of(&held, "Stalled");
    for word in ["guardrails.maxIncidents", first.name(), "number 2", "firebreak withdraw"] {
        assert!(message.contains(word), "{second}: no {word} in {message:?}");
    }

    // A person raises it, and the response continues.
    let raised = json!({"spec": {"guardrails": {"maxIncidents": {"count": 2, "per": "1h"}}}});
    policy.merge("alice", raised).await;
    second.wait_for_condition("Mitigated", "True").await;
    models.wait_until_fallen().await;
    drill.recover(&second).await;
}

#[tokio::test]
async fn a_policy_says_until_when_it_rests_and_then_opens_for_a_rule_that_still_holds() {
    let drill = Drill::new("s19-rest").await;
    let models = drill.models(1).await;
    let operator = drill.world.operator().start().await;
    let policy = drill.policy_with(|spec| spec["guardrails"] = json!({"cooldown": "4s"})).await;
    let first = drill.respond(&policy).await;
    drill.recover(&first).await;
    drill.ring().await;
    let rests = |policy: &DynamicObject| message_of(policy, "Ready").contains("guardrails.cooldown of 4s");
    let resting = policy.wait_until("rests", rests).await;
    let ended = time(&resting.data["status"]["recentResponses"][0]["endedAt"]);
    let until = (ended + jiff::SignedDuration::from_secs(4)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    assert!(message_of(&resting, "Ready").contains(&until), "{policy}: not {until}");
    operator.restart();

    let second = drill.world.incident_of(&policy).await;
    second.wait_for_condition("Mitigated", "True").await;
    let responses = policy.get().await.data["status"]["recentResponses"].clone();
    assert!(time(&responses[1]["at"]) >= ended + jiff::SignedDuration::from_secs(4), "{responses:#}");
    models.wait_until_fallen().await;
    drill.recover(&second).await;
}
