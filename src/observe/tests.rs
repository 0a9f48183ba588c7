use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebreak_engine::alerts::{
    AlertState, Emergency, Extent, Message, News, ReceivedAlerts, SentAlert, take_in,
};
use firebreak_engine::expression::FieldValue;
use firebreak_engine::facts::Reading;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Rules, Signal};
use futures::FutureExt;
use kube::core::ApiResource;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::fake::{Answer, Fake, NODES};
use super::watch::{Served, Unresolved};
use super::{Changes, Hub, PolicyKey};
use crate::endpoints::Endpoints;
use crate::workloads::Profiles;

const SERVING: &str = "/apis/inference.llm-d.io/v1alpha1/namespaces/serving/llmdeployments";
const STAGING: &str = "/apis/inference.llm-d.io/v1alpha1/namespaces/staging/llmdeployments";
const ACCOUNT: &str = "serving/firebreak-responder";

struct World {
    fake: Fake,
    hub: Hub,
    changes: Changes,
    errors: Arc<Mutex<BTreeMap<(&'static str, &'static str), usize>>>,
    /// Whether the CRD is installed.
    served: Arc<Mutex<bool>>,
}

impl World {
    fn new() -> Self {
        let served = Arc::new(Mutex::new(true));
        let errors: Arc<Mutex<BTreeMap<_, usize>>> = Arc::default();
        let (asked, counted) = (Arc::clone(&served), Arc::clone(&errors));
        let resolve = move |api_version: String, kind: String| {
            let answer = if *asked.lock().unwrap() {
                let gvk = kube::core::GroupVersionKind::try_from(kube::core::TypeMeta { api_version, kind });
                let namespaced = true;
                Ok(Served { resource: ApiResource::from_gvk(&gvk.unwrap()), namespaced })
            } else {
                Err(Unresolved::NoSuchKind(format!("the cluster serves no {kind} in {api_version}")))
            };
            std::future::ready(answer).boxed()
        };
        let count = move |signal, error| *counted.lock().unwrap().entry((signal, error)).or_default() += 1;
        let profiles = Arc::new(Profiles::built_in().unwrap());
        let endpoints = Arc::<Endpoints>::default();
        let (hub, changes) = Hub::new(profiles, endpoints, Arc::new(resolve), Arc::new(count));
        Self { fake: Fake::new(), hub, changes, errors, served }
    }

    fn subscribe(&self, name: &str, signals: &[Signal]) -> PolicyKey {
        let policy = PolicyKey { namespace: "serving".to_owned(), name: name.to_owned() };
        self.hub.subscribe(&policy, ACCOUNT, &self.fake.client(), signals);
        policy
    }

    fn field(&self, policy: &PolicyKey, field: &str) -> Option<FieldValue> {
        match self.hub.reading(policy, "s") {
            Reading::Known { values } => values.get(field).cloned(),
            Reading::Unknown { .. } => None,
        }
    }

    fn int(&self, policy: &PolicyKey, field: &str) -> i64 {
        match self.field(policy, field) {
            Some(FieldValue::Int(value)) => value,
            other => panic!("{field} is {other:?}: {:?}", self.hub.reading(policy, "s")),
        }
    }

    fn reason(&self, policy: &PolicyKey) -> String {
        match self.hub.reading(policy, "s") {
            Reading::Known { .. } => "Known".to_owned(),
            Reading::Unknown { reason, .. } => reason,
        }
    }

    /// Waits, with a limit far beyond any pause, until the signal says this.
    async fn until(&mut self, policy: &PolicyKey, reason: &str) {
        while self.reason(policy) != reason {
            let next = timeout(Duration::from_secs(300), self.changes.next()).await;
            next.unwrap_or_else(|_| panic!("still {}", self.reason(policy)));
        }
    }

    /// The policies that are notified within a second.
    async fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(policies) = timeout(Duration::from_secs(1), self.changes.next()).await {
            told.extend(policies.into_iter().map(|policy| policy.name));
        }
        told
    }
}

fn signal(spec: Value) -> Signal {
    read_by(&[], spec)
}

/// A signal of a policy with rules that have these expressions.
fn read_by(expressions: &[&str], spec: Value) -> Signal {
    let mut whole = json!({"name": "s"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let rule = |(at, when): (usize, &&str)| json!({"level": "P1", "reason": format!("R{at}"), "when": when});
    let rules: Vec<Value> = expressions.iter().enumerate().map(rule).collect();
    let spec: PolicySpec = serde_json::from_value(json!({"signals": [whole], "severity": rules})).unwrap();
    Rules::parse(&spec).unwrap().signals.remove(0)
}

fn nodes() -> Signal {
    signal(json!({"nodes": {}}))
}

fn models(namespaces: Option<&[&str]>) -> Signal {
    named_models("s", namespaces)
}

fn named_models(name: &str, namespaces: Option<&[&str]>) -> Signal {
    let namespaces = namespaces.map(|names| json!({"names": names}));
    let objects = json!({"apiVersion": "inference.llm-d.io/v1alpha1", "kind": "LLMDeployment", "namespaces": namespaces});
    signal(json!({"name": name, "objects": objects}))
}

fn workloads(kind: &str) -> Signal {
    signal(json!({"workloads": {"apiVersion": "apps/v1", "kind": kind}}))
}

fn node(name: &str, ready: &str) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")},
           "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": "8"}}})
}

fn model(name: &str, phase: Value) -> Value {
    json!({"metadata": {"name": name, "uid": format!("uid-{name}")}, "status": {"phase": phase}})
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_unknown_until_it_was_listed_and_followed() {
    let mut world = World::new();
    for index in 0..3 {
        world.fake.put(NODES, &format!("n{index}"), node(&format!("n{index}"), "True"));
    }
    let policy = world.subscribe("p", &[nodes()]);
    assert_eq!(world.reason(&policy), "NotSynced");
    world.until(&policy, "Known").await;
    assert_eq!((world.int(&policy, "total"), world.int(&policy, "ready")), (3, 3));
    let watches = world.fake.requests("watch=true");
    assert!(
        watches[0].contains("timeoutSeconds=60") && watches[0].contains("resourceVersion=4"),
        "{watches:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn changes_and_deletions_arrive_and_heartbeats_tell_nobody() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    world.fake.put(NODES, "b", node("b", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.told().await;

    world.fake.put(NODES, "a", node("a", "Unknown"));
    assert_eq!(world.told().await, ["p"]);
    assert_eq!(world.int(&policy, "notReady"), 1);

    for _ in 0..10 {
        world.fake.put(NODES, "a", node("a", "Unknown"));
    }
    assert_eq!(world.told().await, Vec::<String>::new());

    world.fake.delete(NODES, "a");
    assert_eq!(world.told().await, ["p"]);
    assert_eq!((world.int(&policy, "total"), world.int(&policy, "notReady")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_told_once() {
    let mut world = World::new();
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    for index in 0..1000 {
        world.fake.put(NODES, &format!("n{index}"), node(&format!("n{index}"), "True"));
    }
    sleep(Duration::from_millis(10)).await;
    assert_eq!(world.told().await, ["p"]);
    assert_eq!(world.int(&policy, "total"), 1000);
}

#[tokio::test(start_paused = true)]
async fn a_long_list_comes_in_pages() {
    let mut world = World::new();
    for index in 0..1001 {
        world.fake.put(NODES, &format!("n{index}"), node(&format!("n{index}"), "True"));
    }
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "total"), 1001);
    assert_eq!(world.fake.lists(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_no_is_unknown_at_once_and_ends_without_a_restart() {
    for (code, reason) in [(401, "Unauthorized"), (403, "Forbidden"), (404, "KindNotFound")] {
        let mut world = World::new();
        world.fake.put(NODES, "a", node("a", "True"));
        world.fake.answer(Answer::Code(code));
        let policy = world.subscribe("p", &[nodes()]);
        world.until(&policy, reason).await;
        sleep(Duration::from_secs(300)).await;
        assert_eq!(world.reason(&policy), reason);
        world.fake.answer(Answer::Normal);
        let allowed = Instant::now();
        world.until(&policy, "Known").await;
        assert!(allowed.elapsed() <= Duration::from_secs(31));
        assert_eq!(world.int(&policy, "total"), 1);

        world.fake.answer(Answer::Code(code));
        world.fake.hang_up();
        let refused = Instant::now();
        world.until(&policy, reason).await;
        assert!(refused.elapsed() <= Duration::from_secs(31));
        assert!(world.errors.lock().unwrap()[&("nodes", reason)] > 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_retry_is_quick_and_later_ones_are_half_a_minute_apart() {
    let mut world = World::new();
    world.fake.answer(Answer::Code(403));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Forbidden").await;
    sleep(Duration::from_millis(600)).await;
    assert!(world.fake.lists() >= 2);
    sleep(Duration::from_secs(600)).await;
    assert!((20..=60).contains(&world.fake.lists()), "{}", world.fake.lists());
}

#[tokio::test(start_paused = true)]
async fn who_may_list_but_not_watch_does_not_flicker() {
    let mut world = World::new();
    world.fake.answer(Answer::WatchCode(403));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Forbidden").await;
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.told().await, Vec::<String>::new());
    assert_eq!(world.reason(&policy), "Forbidden");
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_installed_later_is_found() {
    let mut world = World::new();
    *world.served.lock().unwrap() = false;
    let policy = world.subscribe("p", &[models(None)]);
    world.until(&policy, "KindNotFound").await;
    world.fake.put(SERVING, "m", model("m", json!("Ready")));
    *world.served.lock().unwrap() = true;
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_is_stale_after_two_minutes_and_known_again_when_it_answers() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.fake.answer(Answer::Silence);
    let frozen = Instant::now();
    world.fake.put(NODES, "a", node("a", "False"));
    sleep(Duration::from_secs(119)).await;
    assert_eq!(world.int(&policy, "ready"), 1);
    world.until(&policy, "Stale").await;
    assert!(frozen.elapsed() <= Duration::from_secs(121), "{:?}", frozen.elapsed());
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.reason(&policy), "Stale");

    world.fake.answer(Answer::Normal);
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "ready"), 0);
}

#[tokio::test(start_paused = true)]
async fn one_frozen_watch_is_opened_again_and_nobody_is_told() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.told().await;
    // Frozen over the moment at which the server would have ended the watch.
    world.fake.answer(Answer::Silence);
    sleep(Duration::from_secs(62)).await;
    world.fake.put(NODES, "b", node("b", "True"));
    world.fake.answer(Answer::Normal);
    assert_eq!(world.told().await, Vec::<String>::new());
    sleep(Duration::from_secs(5)).await;
    assert_eq!(world.int(&policy, "total"), 2);
    assert_eq!(world.fake.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_is_opened_every_minute_from_its_last_version() {
    let mut world = World::new();
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.fake.put(NODES, "a", node("a", "True"));
    sleep(Duration::from_secs(605)).await;
    let watches = world.fake.requests("watch=true");
    assert_eq!(watches.len(), 11);
    assert!(watches[10].contains("resourceVersion=2"), "{}", watches[10]);
    assert_eq!(world.fake.lists(), 1);
    assert_eq!(world.reason(&policy), "Known");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_gone_is_listed_again_without_a_gap() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.told().await;
    world.fake.compact();
    world.fake.hang_up();
    world.fake.put(NODES, "b", node("b", "True"));
    for _ in 0..20 {
        assert_eq!(world.reason(&policy), "Known");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.int(&policy, "total"), 2);
    assert_eq!(world.fake.lists(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_version_is_gone_before_its_last_page_is_read_in_one_piece() {
    let mut world = World::new();
    for number in 0..501 {
        world.fake.put(NODES, &format!("n{number:03}"), node(&format!("n{number}"), "True"));
    }
    world.fake.answer(Answer::CodeIn("continue=", 410));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "total"), 501);
    assert_eq!(world.fake.lists(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_never_ends_in_time_is_unknown_with_the_reason() {
    let world = World::new();
    let policy = world.subscribe("new", &[nodes()]);
    let detail = |policy: &PolicyKey| match world.hub.reading(policy, "s") {
        Reading::Unknown { reason, detail } => format!("{reason}: {detail}"),
        known => panic!("{known:?}"),
    };
    for gone in [Answer::Code(410), Answer::WatchCode(410)] {
        world.fake.answer(gone);
        sleep(Duration::from_secs(60)).await;
        let told = "NotSynced: it has not been read yet: the API server no longer has the version from which to continue";
        assert!(detail(&policy).starts_with(told), "{}", detail(&policy));
    }
    world.fake.answer(Answer::Normal);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.reason(&policy), "Known");
    world.fake.answer(Answer::Code(410));
    world.fake.hang_up();
    sleep(Duration::from_secs(180)).await;
    let told = "Stale: it could not be watched for 120 s: the API server no longer has the version";
    assert!(detail(&policy).starts_with(told), "{}", detail(&policy));
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_known_until_it_is_stale() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.fake.answer(Answer::Code(500));
    world.fake.hang_up();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(world.reason(&policy), "Known");
    sleep(Duration::from_secs(30)).await;
    assert_eq!(world.reason(&policy), "Stale");
}

#[tokio::test(start_paused = true)]
async fn a_malformed_object_among_good_ones_costs_itself_only() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    world.fake.put(
        NODES,
        "b",
        json!({"metadata": {"name": "b", "uid": "uid-b"}, "status": {"conditions": "fine"}}),
    );
    world.fake.put(NODES, "c", json!(["not", "an", "object"]));
    world.fake.put(NODES, "d", node("d", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "ready"), 2);
    let doubts = world.hub.doubts(&policy, "s");
    let unreadable = doubts.uncounted.unwrap();
    assert!(unreadable.starts_with("2 object(s) cannot be read, for example b: "), "{unreadable}");
    assert_eq!(doubts.unjudged, None);
    assert_eq!(world.errors.lock().unwrap()[&("nodes", "Unreadable")], 2);
    world.fake.put(NODES, "b", json!({"metadata": {"name": "b", "uid": "uid-b"}, "status": 3}));
    world.fake.put(NODES, "a", node("a", "False"));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.int(&policy, "ready"), 1);
}

#[tokio::test(start_paused = true)]
async fn policies_share_a_watch_and_the_last_one_ends_it() {
    let mut world = World::new();
    let first = world.subscribe("first", &[nodes()]);
    let second = world.subscribe("second", &[nodes()]);
    world.until(&first, "Known").await;
    world.told().await;
    assert_eq!((world.hub.watches(), world.fake.open_watches()), (1, 1));
    world.fake.put(NODES, "a", node("a", "True"));
    assert_eq!(world.told().await, ["first", "second"]);

    world.hub.unsubscribe(&first);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.fake.open_watches(), 1);
    assert_eq!((world.reason(&first).as_str(), world.int(&second, "total")), ("NotSynced", 1));
    world.hub.unsubscribe(&second);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((world.hub.watches(), world.fake.open_watches()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn another_account_has_a_watch_of_its_own_and_subscribing_again_keeps_what_is_the_same() {
    let mut world = World::new();
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.subscribe("p", &[nodes(), named_models("t", None)]);
    assert_eq!((world.hub.watches(), world.reason(&policy).as_str()), (2, "Known"));
    world.hub.subscribe(&policy, "serving/another", &world.fake.client(), &[nodes()]);
    assert_eq!((world.hub.watches(), world.reason(&policy).as_str()), (1, "NotSynced"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_added_up_and_one_that_is_unknown_makes_all_unknown() {
    let mut world = World::new();
    world.fake.put(SERVING, "a", model("a", json!("Ready")));
    world.fake.put(STAGING, "b", model("b", json!("Failed")));
    let policy = world.subscribe("p", &[models(Some(&["serving", "staging"]))]);
    world.until(&policy, "Known").await;
    assert_eq!(world.hub.watches(), 2);
    assert_eq!(world.int(&policy, "total"), 2);
    let counts = (world.int(&policy, "healthy"), world.int(&policy, "unhealthy"));
    assert_eq!(counts, (1, 1));
    assert_eq!(world.field(&policy, "healthyRatio"), Some(FieldValue::Double(0.5)));

    world.fake.answer(Answer::CodeIn("namespaces/staging", 403));
    world.fake.hang_up();
    world.until(&policy, "Forbidden").await;
    let Reading::Unknown { detail, .. } = world.hub.reading(&policy, "s") else { panic!("it is known") };
    assert_eq!(detail, "in namespace staging: the server says 403");
}

#[tokio::test(start_paused = true)]
async fn a_model_of_unknown_health_is_unknown_and_blinds_nobody() {
    let mut world = World::new();
    world.fake.put(SERVING, "a", model("a", json!("Ready")));
    world.fake.put(SERVING, "b", json!({"metadata": {"name": "b", "uid": "u"}, "status": "broken"}));
    let policy = world.subscribe("p", &[models(None)]);
    world.until(&policy, "Known").await;
    let counts =
        |world: &World| ["total", "healthy", "unhealthy", "unknown"].map(|field| world.int(&policy, field));
    assert_eq!(counts(&world), [2, 1, 0, 1]);
    world.fake.delete(SERVING, "b");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(counts(&world), [1, 1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_young_node_that_was_ready_is_not_starting_after_a_new_list() {
    let mut world = World::new();
    let young = |ready| {
        let mut node = node("a", ready);
        node["metadata"]["creationTimestamp"] = json!(jiff::Timestamp::now().to_string());
        node
    };
    world.fake.put(NODES, "a", young("True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    world.told().await;
    let lists = world.fake.lists();
    // The watch ends, and what happened meanwhile is only seen in a list.
    world.fake.hang_up();
    world.fake.put(NODES, "a", young("False"));
    world.fake.compact();
    let next = timeout(Duration::from_secs(300), world.changes.next()).await;
    assert_eq!(next.unwrap(), [policy.clone()].into());
    assert_eq!(world.fake.lists(), lists + 1);
    assert_eq!((world.int(&policy, "starting"), world.int(&policy, "notReady")), (0, 1));
}

// Not with paused time: the age of a node is told by the clock.
#[tokio::test]
async fn a_node_that_does_not_get_ready_in_time_is_told_although_nothing_comes_from_the_server() {
    let mut world = World::new();
    let mut new = node("a", "False");
    new["metadata"]["creationTimestamp"] = json!(jiff::Timestamp::now().to_string());
    world.fake.put(NODES, "a", new);
    let within = || json!({"nodes": {}, "expectWithin": "2s"});
    world.subscribe("counts", &[read_by(&["signals.s.total > 3"], within())]);
    let policy = world.subscribe("p", &[read_by(&["signals.s.notReady > 0"], within())]);
    world.until(&policy, "Known").await;
    assert_eq!((world.int(&policy, "starting"), world.int(&policy, "notReady")), (1, 0));
    let next = timeout(Duration::from_secs(30), world.changes.next());
    assert_eq!(next.await.unwrap(), [policy.clone()].into());
    assert_eq!((world.int(&policy, "starting"), world.int(&policy, "notReady")), (0, 1));
}

// Not with paused time either: so is the age of a pod.
#[tokio::test]
async fn a_pod_that_waits_wakes_only_the_policies_that_ask_how_long() {
    let mut world = World::new();
    let pods = "/api/v1/namespaces/serving/pods";
    let created = jiff::Timestamp::now().to_string();
    let waits = json!({"metadata": {"name": "a", "uid": "uid-a", "creationTimestamp": created}, "status": {"phase": "Pending"}});
    world.fake.put(pods, "a", waits);
    let restarted = json!({"metadata": {"name": "b", "uid": "uid-b"}, "status": {"phase": "Running", "containerStatuses": [
        {"ready": true, "lastState": {"terminated": {"reason": "OOMKilled", "finishedAt": created}}}]}});
    world.fake.put(pods, "b", restarted);
    let of = |when: &str| read_by(&[when], json!({"pods": {"window": "1s"}}));
    let counts = world.subscribe("counts", &[of("signals.s.pending > 0")]);
    let asks = world.subscribe("asks", &[of("signals.s.oldestPendingSeconds > 300")]);
    for policy in [&counts, &asks] {
        world.until(policy, "Known").await;
    }
    let mut woken = Vec::new();
    while woken.len() < 4 {
        let next = timeout(Duration::from_secs(30), world.changes.next()).await.unwrap();
        woken.extend(next.into_iter().map(|policy| policy.name));
    }
    assert_eq!(woken, ["asks"; 4]);
    assert!(world.int(&counts, "oldestPendingSeconds") > 1, "it is still known");
    // What happens is told to everyone, whatever the pod that waits is like.
    world.fake.delete(pods, "b");
    let next = timeout(Duration::from_secs(30), world.changes.next()).await.unwrap();
    assert!(next.contains(&counts), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn workloads_and_objects_of_one_kind_are_judged_each_in_its_way() {
    let mut world = World::new();
    let deployment = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"replicas": 3}, "status": {
        "readyReplicas": 2, "conditions": [{"type": "Available", "status": "False"}]}});
    world.fake.put("/apis/apps/v1/namespaces/serving/deployments", "a", deployment);
    let objects = signal(json!({"objects": {"apiVersion": "apps/v1", "kind": "Deployment"}}));
    let by_health = world.subscribe("by-health", &[objects]);
    let by_replicas = world.subscribe("by-replicas", &[workloads("Deployment")]);
    world.until(&by_health, "Known").await;
    world.until(&by_replicas, "Known").await;
    assert_eq!((world.int(&by_health, "unhealthy"), world.hub.watches()), (1, 2));
    let replicas = (world.int(&by_replicas, "desiredReplicas"), world.int(&by_replicas, "readyReplicas"));
    assert_eq!((world.int(&by_replicas, "unavailable"), replicas), (1, (3, 2)));
}

#[tokio::test(start_paused = true)]
async fn workloads_of_a_kind_without_a_profile_are_unknown() {
    let world = World::new();
    let policy = world.subscribe("p", &[workloads("Rocket")]);
    assert_eq!((world.reason(&policy).as_str(), world.hub.watches()), ("NoProfile", 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_two_minutes_is_no_answer() {
    let mut world = World::new();
    world.fake.put(NODES, "a", node("a", "True"));
    let policy = world.subscribe("p", &[nodes()]);
    world.until(&policy, "Known").await;
    // Each opening takes longer than we wait for it, until the last of those within two minutes.
    world.fake.answer(Answer::Slow(Duration::from_secs(14)));
    world.fake.hang_up();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.reason(&policy), "Known");
    world.fake.answer(Answer::Slow(Duration::from_secs(16)));
    world.fake.hang_up();
    world.until(&policy, "Stale").await;
    world.fake.answer(Answer::Normal);
    world.until(&policy, "Known").await;
    assert_eq!(world.int(&policy, "total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_makes_unknown_and_does_not_end_the_watch() {
    let mut world = World::new();
    let panics = Arc::new(Mutex::new(true));
    let still = Arc::clone(&panics);
    let profiles = Arc::new(Profiles::built_in().unwrap());
    let resolve = move |_: String, _: String| {
        assert!(!*still.lock().unwrap(), "on purpose");
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Node>(&());
        std::future::ready(Ok(Served { resource, namespaced: true })).boxed()
    };
    let endpoints = Arc::<Endpoints>::default();
    (world.hub, world.changes) = Hub::new(profiles, endpoints, Arc::new(resolve), Arc::new(|_, _| {}));
    let policy = world.subscribe("p", &[models(None)]);
    world.until(&policy, "InternalError").await;
    *panics.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = false;
    panics.clear_poison();
    world.until(&policy, "Known").await;
}

/// What is known after a message with an alert that fires.
fn one_alert() -> Vec<ReceivedAlerts> {
    let spec = json!({"signals": [{"name": "s", "alertmanager": {"receive": {}}}]});
    let rules = Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap();
    let fires = SentAlert {
        fingerprint: "00c8a5b5c4f6d1e2".parse().unwrap(),
        state: AlertState::Firing,
        labels: Some(BTreeMap::new()),
    };
    let message = Message { alerts: vec![fires], extent: Extent::Whole };
    take_in(&[], &rules, &News::of(&message, &rules), Emergency::None, jiff::Timestamp::now())
}

#[tokio::test]
async fn alerts_that_were_sent_count_for_their_policy_alone_and_its_readers_are_told() {
    let mut world = World::new();
    let receives = || signal(json!({"alertmanager": {"receive": {}}}));
    let (policy, other) = (world.subscribe("p", &[receives()]), world.subscribe("q", &[receives()]));
    assert_eq!(world.reason(&policy), "NotSynced", "nobody has looked into the status");
    world.hub.hear(&policy, &[]);
    assert_eq!(world.changes.next().await.into_iter().map(|key| key.name).collect::<Vec<_>>(), ["p"]);
    assert_eq!((world.reason(&policy), world.reason(&other)), ("NotHeard".into(), "NotSynced".into()));
    world.hub.hear(&policy, &one_alert());
    assert_eq!(world.changes.next().await.len(), 1);
    assert_eq!(world.int(&policy, "firing"), 1);
    world.hub.hear(&policy, &one_alert());
    world.hub.hear(&other, &[]);
    let told: Vec<_> = world.changes.next().await.into_iter().map(|key| key.name).collect();
    assert_eq!(told, ["q"], "the same again is no change");
}
