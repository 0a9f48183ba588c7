//! The limits of autoscalers are raised once, whoever else writes them, and are reverted when the
//! autoscalers want no more than before.

use kube::{
    Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    drill::{
        Drill, History, SpecWrites, change_of, heartbeats, is_waiting, message_of, rights, spec_writes,
        times, touches,
    },
    support::{manifest, object::Object, operator::Operator, rights::Rule},
};

const API_VERSION: &str = "autoscaling/v2";
const KIND: &str = "HorizontalPodAutoscaler";

/// A drill whose step doubles the limits of real autoscalers, never above 20.
struct Scene {
    drill: Drill,
    operator: Operator,
    policy: Object,
    /// The state of every autoscaler at every moment.
    history: History,
}

impl Scene {
    async fn new(name: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let drill = Drill::new(name).await;
        let autoscalers = Rule {
            group: "autoscaling",
            resources: &["horizontalpodautoscalers"],
            verbs: &["get", "list", "watch", "patch"],
        };
        drill.world.grant(&drill.world.a, &[rights(), vec![autoscalers]].concat()).await;
        let operator = drill.quick_operator().await;
        let policy = drill
            .policy_with(|spec| {
                // The step has as much time to help as the test takes, so that nothing else happens.
                spec["steps"] = json!([{"name": "double", "settle": "1h", "action": {"raiseAutoscalerLimit": {
                    "targets": {"apiVersion": API_VERSION, "kind": KIND}, "factor": 2, "ceiling": 20,
                }}}]);
                edit(spec);
            })
            .await;
        let history = History::of(&drill.world, API_VERSION, KIND);
        Self { drill, operator, policy, history }
    }

    /// An autoscaler of a Deployment that is scaled to 0, once its controller has said what it wants.
    async fn autoscaler(&self, name: &str, limit: i64) -> Object {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": self.drill.world.a},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}},
                             "spec": {"containers": [{"name": "main", "image": "example.com/gateway:1"}]}},
            },
        });
        self.drill.world.apply("flux", &deployment.to_string()).await;
        let autoscaler = self.autoscaler_of_nothing(name, limit).await;
        let is_settled = |hpa: &DynamicObject| hpa.data["status"].to_string().contains("ScalingDisabled");
        autoscaler.wait_until("its controller wants nothing", is_settled).await;
        autoscaler
    }

    /// An autoscaler of a Deployment that does not exist, so that its controller leaves its status alone.
    async fn autoscaler_of_nothing(&self, name: &str, limit: i64) -> Object {
        let manifest = in_git(&self.drill.world.a, name, limit);
        self.drill.world.apply("flux", &manifest.to_string()).await.remove(0)
    }

    async fn ring(&self) -> Object {
        self.drill.ring().await;
        self.drill.world.incident_of(&self.policy).await
    }

    /// The writes to an autoscaler.
    fn writes(&self, name: &str) -> SpecWrites {
        spec_writes(&[self.operator.proxy.record()], name)
    }

    /// Every limit that the autoscaler ever had, in order.
    async fn limits(&self, autoscaler: &Object) -> Vec<i64> {
        let states = self.history.up_to_now(autoscaler).await;
        let its = |state: &&DynamicObject| state.metadata.name.as_deref() == Some(autoscaler.name());
        let mut limits: Vec<i64> = states.iter().filter(its).map(limit).collect();
        limits.dedup();
        limits
    }
}

fn in_git(namespace: &str, name: &str, limit: i64) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": namespace},
        "spec": {"minReplicas": 1, "maxReplicas": limit,
                 "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}},
    })
}

fn limit(hpa: &DynamicObject) -> i64 {
    hpa.data["spec"]["maxReplicas"].as_i64().expect("a number")
}

async fn assert_no_trace(autoscaler: &Object) {
    let after = autoscaler.snapshot().await;
    assert_eq!(after.traces(), Vec::<&str>::new(), "{autoscaler}: traces");
    assert!(!after.managers.contains("firebreak/Update"), "{autoscaler}: {:?}", after.managers);
}

/// Waits until the change of this autoscaler is in this state.
async fn wait_for_state(incident: &Object, name: &str, state: &str) -> DynamicObject {
    incident.wait_until(&format!("{name}: {state}"), |seen| change_of(seen, name)["state"] == state).await
}

#[tokio::test]
async fn three_limits_are_raised_under_one_ceiling_once_and_go_back() {
    let scene = Scene::new("s3-three", |_| {}).await;
    let (drill, operator) = (&scene.drill, &scene.operator);
    let mut autoscalers = Vec::new();
    for (name, limit) in [("five", 5), ("twelve", 12), ("thirty", 30)] {
        autoscalers.push(scene.autoscaler(name, limit).await);
    }
    let incident = scene.ring().await;
    for name in ["five", "twelve"] {
        wait_for_state(&incident, name, "Applied").await;
    }

    // None of this is a reason to raise anything again.
    operator.restart();
    heartbeats(operator, 2).await;
    let again = json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": incident.name(), "namespace": drill.world.a},
        "spec": incident.get().await.data["spec"],
    });
    drill.world.apply("alice", &again.to_string()).await;
    let second = drill.open("second", json!({"severity": "P0"})).await;
    second.wait_until("Held", |incident| is_waiting(incident, "AnotherIncident")).await;
    heartbeats(operator, 3).await;
    let seen = incident.get().await;
    let step = &seen.data["status"]["steps"][0]["targets"];
    assert_eq!((&step["matched"], &step["nothingToDo"]), (&json!(3), &json!(1)), "{incident}: {step}");
    assert_eq!(change_of(&seen, "thirty"), &Value::Null, "{incident}");

    end(&second).await;
    drill.recover(&incident).await;
    for (autoscaler, limits) in autoscalers.iter().zip([vec![5, 10, 5], vec![12, 20, 12], vec![30]]) {
        assert_eq!(scene.limits(autoscaler).await, limits, "{autoscaler}");
        let done = SpecWrites { applied: limits.len() / 2, returned: limits.len() / 2 };
        assert_eq!(scene.writes(autoscaler.name()), done, "{autoscaler}");
        assert_no_trace(autoscaler).await;
    }
    let writes = operator.proxy.writes();
    assert!(!writes.iter().any(|exchange| touches(&exchange.call, "thirty")), "thirty was written to");
}

/// Ends an Incident that waits for the policy's claim; otherwise it would respond as soon as the first one is closed.
async fn end(incident: &Object) {
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    incident.wait_for_condition("Resolved", "True").await;
}

/// How a tool writes the value from Git.
#[derive(Clone, Copy)]
enum How {
    /// Server-side apply by force, as Flux does it.
    Apply,
    /// A whole object that was just read, as many scripts do it.
    Update,
}

/// Writes the value in Git whenever there is another one.
fn restore(client: &Client, git: Value, how: How) -> JoinHandle<()> {
    let (resource, namespace, name) = manifest::identity(&git);
    let api = manifest::api(client, &resource, namespace.as_deref());
    tokio::spawn(async move {
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut states = std::pin::pin!(watcher(api.clone(), only).default_backoff().applied_objects());
        while let Some(state) = futures::StreamExt::next(&mut states).await {
            let Ok(mut state) = state else { continue };
            if state.data["spec"]["maxReplicas"] == git["spec"]["maxReplicas"] {
                continue;
            }
            // A writer that is too late meets a conflict, and sees the next state.
            match how {
                How::Apply => {
                    let by = PatchParams::apply("flux").force();
                    let _ = api.patch(&name, &by, &Patch::Apply(&git)).await;
                }
                How::Update => {
                    state.data["spec"]["maxReplicas"] = git["spec"]["maxReplicas"].clone();
                    let by = PostParams { field_manager: Some("script".to_owned()), ..PostParams::default() };
                    let _ = api.replace(&name, &by, &state).await;
                }
            }
        }
    })
}

async fn against(name: &str, how: How, writer: &str) {
    let scene = Scene::new(name, |_| {}).await;
    let (drill, operator) = (&scene.drill, &scene.operator);
    let five = scene.autoscaler("five", 5).await;
    let calm = scene.autoscaler("calm", 5).await;
    let git = in_git(&drill.world.a, "five", 5);
    let writing = restore(&drill.world.client, git, how);
    let incident = scene.ring().await;
    // It is theirs at once, and the Incident names the owner.
    let is_theirs = |incident: &DynamicObject| {
        let owner = change_of(incident, "five")["fields"][0]["cededTo"].as_str().unwrap_or_default();
        owner.starts_with(writer)
    };
    incident.wait_until("the limit is theirs", is_theirs).await;
    operator.restart();
    let second = drill.open("second", json!({"severity": "P0"})).await;
    heartbeats(operator, 4).await;
    assert_eq!(limit(&five.get().await), 5, "{five}: raised again");
    end(&second).await;

    let resolved = drill.recover(&incident).await;
    writing.abort();
    assert_eq!(change_of(&resolved, "five")["state"], "Ceded", "{incident}");
    assert_eq!(change_of(&resolved, "calm")["state"], "Reverted", "{incident}");
    for autoscaler in [&five, &calm] {
        // Once up and once down, whoever lowered it.
        assert_eq!(scene.limits(autoscaler).await, [5, 10, 5], "{autoscaler}");
        assert_eq!(scene.writes(autoscaler.name()).applied, 1, "{autoscaler}");
        assert_no_trace(autoscaler).await;
    }
}

#[tokio::test]
async fn a_limit_that_flux_keeps_applying_is_theirs_and_never_compounds() {
    against("s3-flux", How::Apply, "flux").await;
}

#[tokio::test]
async fn a_limit_that_a_script_keeps_writing_is_theirs_and_never_compounds() {
    against("s3-script", How::Update, "script").await;
}

/// Sets the status of an autoscaler so that it wants this many replicas and is healthy, whatever its controller says
/// about its missing Deployment.
fn want(scene: &Scene, autoscaler: &Object, replicas: i64) -> JoinHandle<()> {
    let world = &scene.drill.world;
    let api = manifest::api(&world.client, &manifest::resource(API_VERSION, KIND), Some(&world.a));
    let name = autoscaler.name().to_owned();
    tokio::spawn(async move {
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut states = std::pin::pin!(watcher(api.clone(), only).default_backoff().applied_objects());
        while let Some(state) = futures::StreamExt::next(&mut states).await {
            let Ok(state) = state else { continue };
            let status = &state.data["status"];
            let is_well = status["conditions"].as_array().is_none_or(Vec::is_empty);
            if status["desiredReplicas"] != replicas || !is_well {
                let status = json!({"status": {"desiredReplicas": replicas, "conditions": []}});
                let _ = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
            }
        }
    })
}

#[tokio::test]
async fn an_autoscaler_that_still_needs_its_limit_keeps_it_until_it_wants_no_more() {
    let scene = Scene::new("s3-needs", |spec| spec["steps"][0]["timeout"] = json!("2s")).await;
    let busy = scene.autoscaler_of_nothing("busy", 5).await;
    let calm = scene.autoscaler("calm", 5).await;
    let wanting = want(&scene, &busy, 8);
    busy.wait_until("wants 8", |hpa| hpa.data["status"]["desiredReplicas"] == 8).await;
    let incident = scene.ring().await;
    for name in ["busy", "calm"] {
        wait_for_state(&incident, name, "Applied").await;
    }

    scene.drill.hush().await;
    let waits = incident
        .wait_until("waits", |incident| {
            is_waiting(incident, "AutoscalerStillNeedsIt")
                && change_of(incident, "calm")["state"] == "Reverted"
        })
        .await;
    let message = message_of(&waits, "Reconciling");
    for word in ["busy", "wants 8", "its old limit is 5", "firebreak withdraw"] {
        assert!(message.contains(word), "{incident}: no {word} in {message:?}");
    }
    assert_eq!(waits.data["status"]["phase"], "Reverting", "{incident}");
    heartbeats(&scene.operator, 3).await;
    let waits = incident.get().await;
    assert_eq!(change_of(&waits, "busy")["state"], "Applied", "{incident}");
    assert_eq!(times(&waits, "Relapse"), 0, "{incident}: waiting is no relapse");
    assert!(is_waiting(&waits, "AutoscalerStillNeedsIt"), "{incident}");

    wanting.abort();
    let wanting = want(&scene, &busy, 5);
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    wanting.abort();
    assert_eq!(resolved.data["status"]["closing"], "Recovered", "{incident}");
    for autoscaler in [&busy, &calm] {
        assert_eq!(scene.limits(autoscaler).await, [5, 10, 5], "{autoscaler}");
        assert_no_trace(autoscaler).await;
    }
}

#[tokio::test]
async fn a_person_who_withdraws_does_not_wait_for_the_autoscaler() {
    let scene = Scene::new("s3-withdraw", |_| {}).await;
    let busy = scene.autoscaler_of_nothing("busy", 5).await;
    let wanting = want(&scene, &busy, 8);
    busy.wait_until("wants 8", |hpa| hpa.data["status"]["desiredReplicas"] == 8).await;
    let incident = scene.ring().await;
    wait_for_state(&incident, "busy", "Applied").await;
    incident.merge("alice", json!({"spec": {"response": "Withdrawn"}})).await;
    let resolved = incident.wait_for_condition("Resolved", "True").await;
    wanting.abort();
    assert_eq!(change_of(&resolved, "busy")["state"], "Reverted", "{incident}");
    assert_eq!(scene.limits(&busy).await, [5, 10, 5], "{busy}");
    assert_no_trace(&busy).await;
}

#[tokio::test]
async fn a_limit_that_a_gone_incident_left_raised_is_not_raised_again_and_goes_back() {
    let scene = Scene::new("s3-orphan", |_| {}).await;
    let five = scene.autoscaler("five", 5).await;
    let first = scene.ring().await;
    wait_for_state(&first, "five", "Applied").await;
    scene.drill.abandon(&first).await;
    scene.drill.hush().await;
    let policy = &scene.policy;
    policy.wait_until("waits no more", |policy| policy.data["status"].get("waitingFor").is_none()).await;
    assert_eq!(limit(&five.get().await), 10, "{five}: it was let go");

    let next = scene.ring().await;
    wait_for_state(&next, "five", "Applied").await;
    scene.drill.recover(&next).await;
    assert_eq!(scene.limits(&five).await, [5, 10, 5], "{five}");
    assert_no_trace(&five).await;
}
