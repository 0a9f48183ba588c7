//! Usage in relation to sizes, and what is not known of it; then the whole signal, with an API server in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebreak_engine::expression::{AT_MOST, FieldKind, FieldValue};
use firebreak_engine::facts::Reading;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Rules, Signal};
use firebreak_engine::signal::MetricsOf;
use futures::FutureExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::sizes::{Size, Sizes};
use super::tally::Tally;
use super::usage::{Fresh, Usages};
use crate::endpoints::{Endpoints, Unanswered};
use crate::observe::fake::{Answer, Fake, NODES};
use crate::observe::fold::{Judge, Of, digests};
use crate::observe::hub::{Changes, Hub, PolicyKey, Resolve};
use crate::observe::poll::question::Read;
use crate::workloads::Profiles;

const GI: i64 = 1 << 30;
const FRESH: Duration = Duration::from_secs(40);

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

/// So many seconds before now.
fn ago(seconds: i64) -> String {
    (now() - SignedDuration::from_secs(seconds)).to_string()
}

fn node(name: &str, cpu: &str, memory: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": memory, "pods": "110"});
    json!({
        "metadata": {"name": name, "uid": name, "creationTimestamp": ago(9000)},
        "status": {"allocatable": amounts, "capacity": amounts},
    })
}

/// A pod that runs, whose containers have these resources.
fn pod(name: &str, containers: &[(&str, Value)]) -> Value {
    let spec: Vec<Value> =
        containers.iter().map(|(name, resources)| json!({"name": name, "resources": resources})).collect();
    let running: Vec<Value> =
        containers.iter().map(|(name, _)| json!({"name": name, "state": {"running": {}}})).collect();
    json!({
        "metadata": {"name": name, "namespace": "a", "uid": name, "creationTimestamp": ago(9000)},
        "spec": {"containers": spec},
        "status": {"phase": "Running", "startTime": ago(9000), "containerStatuses": running},
    })
}

fn requests(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

fn of_node(name: &str, age: i64, cpu: &str, memory: &str) -> Value {
    json!({"metadata": {"name": name, "creationTimestamp": ago(0)}, "timestamp": ago(age), "window": "10.1s",
           "usage": {"cpu": cpu, "memory": memory}})
}

fn of_pod(name: &str, containers: &[(&str, &str, &str)]) -> Value {
    let container = |(name, cpu, memory): &(&str, &str, &str)| json!({"name": name, "usage": {"cpu": cpu, "memory": memory}});
    let containers: Vec<Value> = containers.iter().map(container).collect();
    json!({"metadata": {"name": name, "namespace": "a"}, "timestamp": ago(10), "containers": containers})
}

fn read(of: MetricsOf, objects: &[Value], metrics: &[Value]) -> Result<Read, Unanswered> {
    let mut fold = Of { kind: Sizes { of }, names: Default::default() }.fold();
    for object in objects {
        assert!(fold.put(&object.to_string(), now()).readable, "{object}");
    }
    let mut usages = Usages::default();
    metrics.iter().for_each(|metric| usages.take(&metric.to_string()));
    let mut tally = Tally::default();
    digests::<Sizes>(&*fold).for_each(|size| tally.add(size, &usages, Fresh { at: now(), within: FRESH }));
    tally.read(of)
}

fn nodes(objects: &[Value], metrics: &[Value]) -> Result<Read, Unanswered> {
    read(MetricsOf::Nodes, objects, metrics)
}

fn pods(objects: &[Value], metrics: &[Value]) -> Result<Read, Unanswered> {
    read(MetricsOf::Pods, objects, metrics)
}

fn shown(read: Result<Read, Unanswered>) -> String {
    serde_json::to_string(&read.unwrap().values).unwrap()
}

fn double(read: &Read, field: &str) -> f64 {
    match read.values.get(field) {
        Some(FieldValue::Double(value)) => *value,
        other => panic!("{field}: {other:?} of {read:?}"),
    }
}

#[test]
fn a_ratio_of_nodes_is_the_sum_of_usage_over_the_sum_of_what_can_be_allocated() {
    let objects = [node("a", "3920m", "8Gi"), node("b", "80m", "24Gi")];
    let metrics = [of_node("a", 10, "1999999999n", "4Gi"), of_node("b", 39, "1n", "4194304Ki")];
    let read = nodes(&objects, &metrics);
    assert_eq!(
        shown(read.clone()),
        format!(r#"{{"cpuRatio":0.5,"maxMemoryBytes":{},"memoryRatio":0.25}}"#, 4 * GI)
    );
    let read = read.unwrap();
    assert_eq!((read.age.as_secs(), read.doubts.unjudged), (39, None), "as old as the oldest one");
    // What is no node of the signal does not count.
    let stranger = of_node("c", 10, "100", "100Gi");
    assert_eq!(
        shown(nodes(&objects[..1], &[metrics[0].clone(), stranger])),
        shown(nodes(&objects[..1], &metrics))
    );
}

#[test]
fn a_node_without_a_metric_leaves_bounds_and_is_named() {
    let objects = [node("a", "4", "8Gi"), node("b", "4", "8Gi"), node("c", "2", "4Gi")];
    let metrics = [of_node("a", 10, "3", "6Gi"), of_node("b", 10, "3", "5Gi")];
    let read = nodes(&objects, &metrics).unwrap();
    assert_eq!((double(&read, "cpuRatio"), double(&read, "cpuRatioAtMost")), (0.6, 0.8));
    assert_eq!((double(&read, "memoryRatio"), double(&read, "memoryRatioAtMost")), (0.55, 0.75));
    // It has 4 Gi, and another one uses more.
    assert_eq!(read.values["maxMemoryBytes"], FieldValue::Int(6 * GI));
    assert!(!read.values.contains_key("maxMemoryBytesAtMost"));
    let told = "the usage of 1 object(s) is not known, for example c: it has no metric";
    assert_eq!(read.doubts.unjudged.as_deref(), Some(told));
    // A new one has none yet, which is nothing to tell people.
    let mut new = objects.clone();
    new[2]["metadata"]["creationTimestamp"] = json!(ago(60));
    let read = nodes(&new, &metrics).unwrap();
    assert_eq!((double(&read, "cpuRatioAtMost"), read.doubts.unjudged), (0.8, None));
}

#[test]
fn a_metric_that_cannot_be_used_is_none_and_the_reason_has_no_numbers() {
    let with = |key: &str, value: Value| {
        let mut metric = of_node("b", 10, "3", "6Gi");
        metric[key] = value;
        metric
    };
    let table = [
        (of_node("b", 41, "3", "6Gi"), "too old"),
        (of_node("b", 600, "3", "6Gi"), "the clocks of its node and of the operator differ"),
        (of_node("b", -61, "3", "6Gi"), "in the future"),
        (with("timestamp", json!(null)), "it has no time"),
        (with("timestamp", json!("noon")), "it has no time"),
        (with("usage", json!({"cpu": "3"})), "memory is not a quantity"),
        (with("usage", json!({"cpu": "-3", "memory": "1"})), "cpu is not a quantity"),
        (with("usage", json!({"cpu": "s3cret", "memory": "1"})), "cpu is not a quantity"),
        (with("usage", json!(null)), "it has no usage"),
        (json!({"metadata": {"name": "b"}, "timestamp": 7}), "it has no metric"),
        (json!("b"), "it has no metric"),
    ];
    let objects = [node("a", "4", "8Gi"), node("b", "4", "8Gi")];
    for (metric, why) in table {
        let read = nodes(&objects, &[of_node("a", 10, "2", "2Gi"), metric.clone()]).unwrap();
        assert_eq!((double(&read, "cpuRatio"), double(&read, "cpuRatioAtMost")), (0.25, 0.75), "{metric}");
        let told = read.doubts.unjudged.unwrap();
        assert!(told.starts_with("the usage of 1 object(s) is not known, for example b: "), "{told}");
        assert!(told.contains(why) && !told.contains("s3cret"), "{told}");
    }
    // The clock of a node may be ahead by a little.
    assert!(nodes(&objects[..1], &[of_node("a", -59, "2", "2Gi")]).is_ok());
}

#[test]
fn nothing_is_known_without_objects_or_without_any_metric() {
    let why = |read: Result<Read, Unanswered>| match read.unwrap_err() {
        Unanswered::Unusable { reason, detail } => (reason, detail),
        other => panic!("{other:?}"),
    };
    let (reason, detail) = why(nodes(&[], &[of_node("a", 10, "2", "2Gi")]));
    assert_eq!(
        (reason, detail.as_str()),
        ("EmptyScope", "no node matches; check the selector of the signal")
    );
    let mut waiting = pod("a", &[("main", requests("1", "1Gi"))]);
    waiting["status"]["phase"] = json!("Pending");
    assert_eq!(why(pods(&[waiting], &[])).0, "EmptyScope");
    let objects = [node("b", "4", "8Gi"), node("a", "4", "8Gi")];
    let (reason, detail) = why(nodes(&objects, &[]));
    let told = "metrics.k8s.io has no usable metric of any node, for example a: it has no metric";
    assert_eq!((reason, detail.as_str()), ("NoMetrics", told));
    assert_eq!(why(nodes(&objects, &[of_node("a", 600, "2", "2Gi")])).0, "NoMetrics");
}

#[test]
fn pods_are_measured_against_what_they_request() {
    let main = [("main", requests("2", "4Gi"))];
    let objects = [pod("a", &main), pod("b", &[main[0].clone(), ("proxy", json!({}))])];
    let metrics = [
        of_pod("a", &[("main", "3", "1Gi")]),
        // The proxy requests nothing, so it is in neither part of a ratio.
        of_pod("b", &[("main", "500m", "1Gi"), ("proxy", "7", "9Gi")]),
    ];
    let read = pods(&objects, &metrics);
    assert_eq!(
        shown(read),
        format!(r#"{{"cpuRatio":0.875,"maxMemoryBytes":{},"memoryRatio":0.25}}"#, 10 * GI)
    );
    let free = pod("c", &[("main", json!({"requests": {"memory": "1Gi", "cpu": "0"}}))]);
    let read = pods(&[free], &[of_pod("c", &[("main", "5", "2Gi")])]);
    assert_eq!(
        shown(read),
        format!(r#"{{"maxMemoryBytes":{},"memoryRatio":2.0}}"#, 2 * GI),
        "no ratio over nothing"
    );
}

#[test]
fn what_an_ephemeral_container_uses_is_set_in_relation_to_no_request() {
    let objects = [pod("a", &[("main", requests("2", "4Gi"))])];
    let metrics = [of_pod("a", &[("main", "1", "1Gi"), ("debugger", "7", "9Gi")])];
    let read = pods(&objects, &metrics).unwrap();
    assert_eq!((double(&read, "cpuRatio"), double(&read, "memoryRatio")), (0.5, 0.25));
    assert_eq!(read.values["maxMemoryBytes"], FieldValue::Int(10 * GI), "the memory is used all the same");
}

#[test]
fn sidecars_and_the_resources_of_a_pod_count_as_the_scheduler_counts_them() {
    let mut whole = pod("a", &[("main", json!({})), ("proxy", requests("1", "1Gi"))]);
    let usage = [of_pod("a", &[("main", "1", "1Gi"), ("proxy", "1", "1Gi")])];
    assert_eq!(double(&pods(&[whole.clone()], &usage).unwrap(), "cpuRatio"), 1.0);
    // All of its containers share what the pod requests.
    whole["spec"]["resources"] = requests("8", "8Gi");
    assert_eq!(double(&pods(&[whole], &usage).unwrap(), "cpuRatio"), 0.25);
    let mut with_sidecar = pod("b", &[("main", requests("1", "1Gi"))]);
    with_sidecar["spec"]["initContainers"] = json!([
        {"name": "load", "resources": requests("50", "50Gi")},
        {"name": "proxy", "restartPolicy": "Always", "resources": requests("1", "1Gi")},
    ]);
    let usage = [of_pod("b", &[("main", "1", "1Gi"), ("proxy", "500m", "1Gi")])];
    assert_eq!(double(&pods(&[with_sidecar], &usage).unwrap(), "cpuRatio"), 0.75);
}

#[test]
fn a_pod_without_a_metric_uses_at_most_its_limit_or_any_amount() {
    let limited = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "3", "memory": "2Gi"}});
    let measured = pod("a", &[("main", limited.clone())]);
    let usage = [of_pod("a", &[("main", "1", "1Gi")])];
    let read = pods(&[measured.clone(), pod("b", &[("main", limited)])], &usage).unwrap();
    assert_eq!((double(&read, "cpuRatio"), double(&read, "cpuRatioAtMost")), (0.5, 2.0));
    assert_eq!(read.values["maxMemoryBytesAtMost"], FieldValue::Int(2 * GI));
    let read = pods(&[measured, pod("b", &[("main", requests("1", "1Gi"))])], &usage).unwrap();
    assert_eq!((double(&read, "cpuRatio"), double(&read, "cpuRatioAtMost")), (0.5, f64::INFINITY));
    assert_eq!(read.values["maxMemoryBytesAtMost"], FieldValue::Int(i64::MAX));
}

#[test]
fn pods_that_wait_have_ended_or_are_being_deleted_do_not_count() {
    let main = [("main", requests("1", "1Gi"))];
    let runs = [pod("a", &main)];
    let alone = shown(pods(&runs, &[of_pod("a", &[("main", "1", "1Gi")])]));
    let changed = |pointer: &str, value: Value| {
        let mut other = pod("b", &main);
        match other.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => other["metadata"]["deletionTimestamp"] = value,
        }
        other
    };
    let others = [
        changed("/status/phase", json!("Pending")),
        changed("/status/phase", json!("Succeeded")),
        changed("/status/phase", json!("Failed")),
        changed("/metadata/deletionTimestamp", json!(ago(1))),
    ];
    for other in others {
        let metrics = [of_pod("a", &[("main", "1", "1Gi")]), of_pod("b", &[("main", "9", "9Gi")])];
        assert_eq!(shown(pods(&[runs[0].clone(), other.clone()], &metrics)), alone, "{other}");
    }
}

#[test]
fn a_metric_of_an_earlier_pod_or_without_a_running_container_is_not_the_one_of_this_pod() {
    let main = [("main", requests("1", "1Gi"))];
    let other = pod("a", &main);
    let told = |pod: Value, metric: Value| {
        let read = pods(&[other.clone(), pod], &[of_pod("a", &[("main", "1", "1Gi")]), metric]).unwrap();
        assert_eq!(double(&read, "cpuRatioAtMost"), f64::INFINITY);
        read.doubts.unjudged
    };
    let mut again = pod("b", &main);
    // A StatefulSet gives the name to the next pod at once.
    again["status"]["startTime"] = json!(ago(5));
    assert_eq!(told(again, of_pod("b", &[("main", "9", "9Gi")])), None, "it has just been started");
    let two = pod("b", &[main[0].clone(), ("proxy", requests("1", "1Gi"))]);
    let why = told(two.clone(), of_pod("b", &[("main", "1", "1Gi")])).unwrap();
    assert!(why.ends_with("b: its metric lacks a container that runs"), "{why}");
    // The container of `kubectl debug` is measured, too, and is none of them.
    let debugged = [("main", "1", "1Gi"), ("debugger", "5", "5Gi")];
    let why = told(two.clone(), of_pod("b", &debugged)).unwrap();
    assert!(why.ends_with("b: its metric lacks a container that runs"), "{why}");
    // One that waits after a crash uses nothing.
    let mut crashed = two;
    crashed["status"]["containerStatuses"][1]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let metrics = [of_pod("b", &[("main", "1", "1Gi")])];
    assert_eq!(double(&pods(&[crashed], &metrics).unwrap(), "cpuRatio"), 0.5);
}

const METRICS: &str = "/apis/metrics.k8s.io/v1beta1/nodes";

/// An API server with nodes a and b, and a policy that reads what they use.
struct World {
    fake: Fake,
    hub: Hub,
    changes: Changes,
    errors: Arc<Mutex<BTreeMap<&'static str, usize>>>,
}

impl World {
    fn new() -> Self {
        let errors: Arc<Mutex<BTreeMap<_, usize>>> = Arc::default();
        let counted = Arc::clone(&errors);
        let count = move |signal, error| {
            assert_eq!(signal, "metrics");
            *counted.lock().unwrap().entry(error).or_default() += 1;
        };
        let resolve: Resolve = Arc::new(|_, _| std::future::pending().boxed());
        let profiles = Arc::new(Profiles::built_in().unwrap());
        let (hub, changes) = Hub::new(profiles, Arc::<Endpoints>::default(), resolve, Arc::new(count));
        let fake = Fake::new();
        for name in ["a", "b"] {
            fake.put(NODES, name, node(name, "4", "8Gi"));
        }
        Self { fake, hub, changes, errors }
    }

    /// Both nodes use this much now.
    fn use_cpu(&self, cpu: &str) {
        for name in ["a", "b"] {
            let mut metric = of_node(name, 0, cpu, "2Gi");
            metric["timestamp"] = json!(Timestamp::now());
            self.fake.put(METRICS, name, metric);
        }
    }

    fn subscribe(&self, name: &str, account: &str, signal: Value) -> PolicyKey {
        let policy = PolicyKey { namespace: "serving".to_owned(), name: name.to_owned() };
        self.hub.subscribe(&policy, account, &self.fake.client(), &[parsed(signal)]);
        policy
    }

    fn reason(&self, policy: &PolicyKey) -> String {
        match self.hub.reading(policy, "s") {
            Reading::Known { .. } => "Known".to_owned(),
            Reading::Unknown { reason, .. } => reason,
        }
    }

    fn detail(&self, policy: &PolicyKey) -> String {
        match self.hub.reading(policy, "s") {
            Reading::Known { values } => format!("{values:?}"),
            Reading::Unknown { detail, .. } => detail,
        }
    }

    fn cpu(&self, policy: &PolicyKey) -> Option<FieldValue> {
        match self.hub.reading(policy, "s") {
            Reading::Known { values } => values.get("cpuRatio").cloned(),
            Reading::Unknown { .. } => None,
        }
    }

    /// Waits, with a limit far beyond any pause, until the signal says this. Returns how long it took.
    async fn until(&mut self, policy: &PolicyKey, reason: &str) -> Duration {
        let began = Instant::now();
        while self.reason(policy) != reason {
            let next = timeout(Duration::from_secs(600), self.changes.next()).await;
            next.unwrap_or_else(|_| panic!("still {}", self.reason(policy)));
        }
        began.elapsed()
    }

    fn asked(&self) -> usize {
        self.fake.requests(METRICS).len()
    }
}

fn parsed(signal: Value) -> Signal {
    let spec: PolicySpec = serde_json::from_value(json!({"signals": [signal]})).unwrap();
    Rules::parse(&spec).unwrap().signals.remove(0)
}

fn usage() -> Value {
    json!({"name": "s", "metrics": {"of": "nodes"}})
}

#[tokio::test(start_paused = true)]
async fn the_values_have_the_fields_of_the_shape_and_bounds_and_no_others() {
    let mut world = World::new();
    world.use_cpu("2");
    let policy = world.subscribe("p", "sa", usage());
    assert_eq!(world.reason(&policy), "NotSynced");
    assert!(
        world.until(&policy, "Known").await < Duration::from_secs(1),
        "it waits for the list, and no longer"
    );
    let Reading::Known { values } = world.hub.reading(&policy, "s") else { panic!("known") };
    let given = values.iter().map(|(field, value)| {
        let kind = match value {
            FieldValue::Int(_) => FieldKind::Int,
            FieldValue::Double(_) => FieldKind::Double,
            FieldValue::Boolean(_) | FieldValue::Map(_) => panic!("{field}"),
        };
        (field.as_str(), kind)
    });
    let shape = parsed(usage()).kind.kind().shape().fields;
    assert_eq!(given.collect::<BTreeMap<_, _>>(), shape);
    assert_eq!(AT_MOST.map(|(field, _)| shape.contains_key(field)), [true; 3]);
}

#[tokio::test(start_paused = true)]
async fn objects_are_listed_once_and_usage_is_asked_for_by_all_who_ask_the_same() {
    let mut world = World::new();
    world.use_cpu("2");
    let policies: Vec<_> = ["p", "q", "r"].iter().map(|name| world.subscribe(name, "sa", usage())).collect();
    for policy in &policies {
        world.until(policy, "Known").await;
    }
    sleep(Duration::from_secs(30)).await;
    assert!((2..=4).contains(&world.asked()), "{} requests in half a minute", world.asked());
    let lists = |world: &World| {
        world.fake.requests("/api/v1/nodes?").iter().filter(|it| !it.contains("watch=true")).count()
    };
    assert_eq!((lists(&world), world.fake.open_watches()), (1, 1));
    // Another account may not see the same.
    let other = world.subscribe("other", "another", usage());
    world.until(&other, "Known").await;
    assert_eq!(lists(&world), 2);
    let one = json!({"name": "s", "metrics": {"of": "nodes", "selector": {"matchLabels": {"gpu": "true"}}}});
    let selected = world.subscribe("selected", "sa", one);
    world.until(&selected, "Known").await;
    let asked = world.fake.requests(METRICS);
    assert!(asked.last().unwrap().contains("labelSelector=gpu%3Dtrue"), "{asked:?}");
    for policy in policies.iter().chain([&other, &selected]) {
        world.hub.unsubscribe(policy);
    }
    sleep(Duration::from_secs(1)).await;
    let asked = world.asked();
    sleep(Duration::from_secs(120)).await;
    assert_eq!((world.asked(), world.fake.open_watches()), (asked, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_value_and_a_new_node_count_with_the_next_answer() {
    let mut world = World::new();
    world.use_cpu("2");
    let policy = world.subscribe("p", "sa", usage());
    world.until(&policy, "Known").await;
    assert_eq!(world.cpu(&policy), Some(FieldValue::Double(0.5)));
    world.use_cpu("3");
    sleep(Duration::from_secs(16)).await;
    assert_eq!(world.cpu(&policy), Some(FieldValue::Double(0.75)));
    world.fake.put(NODES, "c", node("c", "4", "8Gi"));
    sleep(Duration::from_secs(16)).await;
    assert_eq!(world.cpu(&policy), Some(FieldValue::Double(0.5)));
    let doubts = world.hub.doubts(&policy, "s");
    assert!(doubts.unjudged.unwrap().ends_with("for example c: it has no metric"));
    world.fake.put(
        NODES,
        "c",
        json!({"metadata": {"name": "c", "uid": "c"}, "status": {"allocatable": {"cpu": "s3cret"}}}),
    );
    sleep(Duration::from_secs(16)).await;
    assert_eq!(world.cpu(&policy), Some(FieldValue::Double(0.75)), "what cannot be read is not counted");
    let uncounted = world.hub.doubts(&policy, "s").uncounted.unwrap();
    assert_eq!(uncounted, "1 object(s) cannot be read, for example c: cpu is not a quantity");
    world.fake.delete(NODES, "c");
    sleep(Duration::from_secs(16)).await;
    assert_eq!(world.hub.doubts(&policy, "s"), Default::default());
}

#[tokio::test(start_paused = true)]
async fn without_the_metrics_api_the_last_value_counts_until_it_is_too_old_and_it_recovers_alone() {
    for code in [503, 500, 429] {
        let mut world = World::new();
        world.use_cpu("2");
        let policy = world.subscribe("p", "sa", usage());
        world.until(&policy, "Known").await;
        world.fake.answer(Answer::CodeIn("metrics.k8s.io", code));
        let took = world.until(&policy, "Unreachable").await;
        assert!((40..=60).contains(&took.as_secs()), "{code}: {took:?}");
        assert!(world.detail(&policy).starts_with("metrics.k8s.io: "), "{}", world.detail(&policy));
        assert!(world.errors.lock().unwrap()["Unreachable"] > 0);
        world.fake.answer(Answer::Normal);
        assert!(world.until(&policy, "Known").await <= Duration::from_secs(126));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_unknown_at_once_and_says_what_to_do() {
    let rule = "{apiGroups: [metrics.k8s.io], resources: [nodes], verbs: [list]}";
    for (part, code, reason, told) in [
        ("metrics.k8s.io", 403, "Forbidden", rule),
        ("metrics.k8s.io", 404, "KindNotFound", "install metrics-server"),
        ("metrics.k8s.io", 401, "Unauthorized", "401"),
        ("/api/v1/nodes", 403, "Forbidden", "the server says 403"),
    ] {
        let mut world = World::new();
        world.use_cpu("2");
        world.fake.answer(Answer::CodeIn(part, code));
        let policy = world.subscribe("p", "sa", usage());
        assert!(world.until(&policy, reason).await <= Duration::from_secs(6), "{part} {code}");
        assert!(world.detail(&policy).contains(told), "{}", world.detail(&policy));
        world.fake.answer(Answer::Normal);
        world.until(&policy, "Known").await;
        world.fake.answer(Answer::CodeIn(part, code));
        // A watch that is open is asked for again after a minute.
        assert!(world.until(&policy, reason).await <= Duration::from_secs(80), "{part} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_unreachable_and_then_the_objects_are_too_old() {
    let mut world = World::new();
    world.use_cpu("2");
    let policy = world.subscribe("p", "sa", usage());
    world.until(&policy, "Known").await;
    world.fake.answer(Answer::Silence);
    assert!(world.until(&policy, "Unreachable").await <= Duration::from_secs(60));
    assert!(world.until(&policy, "Stale").await <= Duration::from_secs(300));
    world.fake.answer(Answer::Normal);
    world.until(&policy, "Known").await;
}

#[tokio::test(start_paused = true)]
async fn objects_that_were_never_listed_are_unreachable_and_not_merely_not_read() {
    let mut world = World::new();
    world.use_cpu("2");
    world.fake.answer(Answer::CodeIn("/api/v1/nodes", 500));
    let policy = world.subscribe("p", "sa", usage());
    assert!(world.until(&policy, "Unreachable").await <= Duration::from_secs(6));
    assert_eq!(world.detail(&policy), "nodes: it has not been read yet: the server says 500");
    sleep(Duration::from_secs(600)).await;
    assert_eq!((world.asked(), world.reason(&policy).as_str()), (0, "Unreachable"));
    world.fake.answer(Answer::Normal);
    let took = world.until(&policy, "Known").await;
    assert!(took <= Duration::from_secs(31), "as soon as they are listed: {took:?}");
}

#[test]
fn what_is_kept_of_an_object_is_small() {
    assert!(std::mem::size_of::<(u128, Option<Size>)>() <= 160);
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_is_none_is_unknown_and_asks_nothing() {
    let world = World::new();
    let odd = json!({"name": "s", "metrics": {"of": "nodes", "selector": {"matchLabels": {"a": "b,c=d"}}}});
    let policy = world.subscribe("p", "sa", odd);
    assert_eq!(world.reason(&policy), "BadSelector");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(world.fake.requests("").len(), 0);
}
