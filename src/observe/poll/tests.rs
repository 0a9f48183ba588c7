//! Signals that are asked, with an endpoint and an API server that are functions. Time is tokio's, which tests pause.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firebreak_engine::expression::{FieldKind, FieldValue};
use firebreak_engine::facts::Reading;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Rules, Signal};
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower::BoxError;
use tower::util::BoxCloneSyncService;

use crate::configuration::EndpointsInForce;
use crate::endpoints::{Endpoint, EndpointSpec, Endpoints};
use crate::observe::hub::{Changes, Hub, PolicyKey, Resolve};
use crate::outbound::HttpClient;
use crate::workloads::Profiles;

/// How the endpoint answers.
#[derive(Clone, Debug)]
enum Answer {
    /// A vector with these values, and how old the data is.
    Values(&'static [&'static str], Duration),
    Code(u16),
    /// Every second request fails.
    Flapping,
    Silence,
    Panic,
}

/// An endpoint and an API server, as functions.
struct Fake {
    answer: Answer,
    /// The namespaces whose ServiceAccount may use the endpoint.
    allowed: BTreeSet<String>,
    /// When the endpoint was asked.
    asked: Vec<Instant>,
    at_once: usize,
    most_at_once: usize,
}

struct World {
    fake: Arc<Mutex<Fake>>,
    hub: Hub,
    changes: Changes,
    errors: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    endpoints: watch::Sender<Arc<Endpoints>>,
}

const FRESH: Answer = Answer::Values(&["1"], Duration::ZERO);

impl Fake {
    fn new(answer: Answer) -> Arc<Mutex<Self>> {
        let allowed = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        Arc::new(Mutex::new(Self { answer, allowed, asked: Vec::new(), at_once: 0, most_at_once: 0 }))
    }
}

impl World {
    fn new() -> Self {
        let fake = Fake::new(FRESH);
        let (endpoints, in_force) = EndpointsInForce::new(named("main", &fake));
        let errors: Arc<Mutex<BTreeMap<_, usize>>> = Arc::default();
        let counted = Arc::clone(&errors);
        let count = move |signal, error| {
            assert_eq!(signal, "prometheus");
            *counted.lock().unwrap().entry(error).or_default() += 1;
        };
        let profiles = Arc::new(Profiles::built_in().unwrap());
        let resolve: Resolve = Arc::new(|_, _| std::future::pending().boxed());
        let (hub, changes) = Hub::new(profiles, in_force, resolve, Arc::new(count));
        Self { fake, hub, changes, errors, endpoints }
    }

    fn answer(&self, answer: Answer) {
        self.fake.lock().unwrap().answer = answer;
    }

    fn allow(&self, namespace: &str) {
        self.fake.lock().unwrap().allowed.insert(namespace.to_owned());
    }

    fn forbid(&self, namespace: &str) {
        self.fake.lock().unwrap().allowed.remove(namespace);
    }

    fn requests(&self) -> usize {
        self.fake.lock().unwrap().asked.len()
    }

    /// A policy with this signal, in a namespace with its own ServiceAccount.
    fn subscribe(&self, namespace: &str, name: &str, signals: &[Signal]) -> PolicyKey {
        let policy = PolicyKey { namespace: namespace.to_owned(), name: name.to_owned() };
        let client = api_server(&self.fake, namespace);
        self.hub.subscribe(&policy, &format!("{namespace}/sa"), &client, signals);
        policy
    }

    fn value(&self, policy: &PolicyKey, field: &str) -> Option<FieldValue> {
        match self.hub.reading(policy, "s") {
            Reading::Known { values } => values.get(field).cloned(),
            Reading::Unknown { .. } => None,
        }
    }

    fn reason(&self, policy: &PolicyKey) -> String {
        match self.hub.reading(policy, "s") {
            Reading::Known { .. } => "Known".to_owned(),
            Reading::Unknown { reason, .. } => reason,
        }
    }

    fn detail(&self, policy: &PolicyKey) -> String {
        match self.hub.reading(policy, "s") {
            Reading::Known { .. } => String::new(),
            Reading::Unknown { detail, .. } => detail,
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

    /// The policies that are notified within this time.
    async fn told(&mut self, within: u64) -> Vec<String> {
        let mut told = Vec::new();
        let until = Instant::now() + Duration::from_secs(within);
        while let Ok(policies) = tokio::time::timeout_at(until, self.changes.next()).await {
            told.extend(policies.into_iter().map(|policy| policy.name));
        }
        told
    }
}

fn named(name: &str, fake: &Arc<Mutex<Fake>>) -> Endpoints {
    let text = format!("{{name: {name}, type: Prometheus, url: 'http://a'}}");
    Endpoints::answering([Endpoint::answering(serde_saphyr::from_str(&text).unwrap(), prometheus(fake))])
}

/// A Prometheus.
fn prometheus(fake: &Arc<Mutex<Fake>>) -> HttpClient {
    let fake = Arc::clone(fake);
    let service = tower::service_fn(move |request: Request<Body>| {
        let fake = Arc::clone(&fake);
        async move {
            let asks_for_time = request.uri().query().unwrap_or_default().contains("timestamp");
            let (answer, number) = {
                let mut fake = fake.lock().unwrap();
                fake.asked.push(Instant::now());
                fake.at_once += 1;
                fake.most_at_once = fake.most_at_once.max(fake.at_once);
                (fake.answer.clone(), fake.asked.len())
            };
            let _here = Leaves(Arc::clone(&fake));
            sleep(Duration::from_millis(10)).await;
            let code = match answer {
                Answer::Values(..) => 200,
                Answer::Code(code) => code,
                Answer::Flapping => {
                    if number.is_multiple_of(2) {
                        200
                    } else {
                        500
                    }
                }
                Answer::Silence => std::future::pending().await,
                Answer::Panic => panic!("on purpose"),
            };
            let (values, age) = match answer {
                Answer::Values(values, age) => (values, age),
                _ => (&["1"][..], Duration::ZERO),
            };
            let time = (jiff::Timestamp::now().as_second() - age.as_secs() as i64).to_string();
            let values =
                if asks_for_time { vec![time] } else { values.iter().map(|v| (*v).to_owned()).collect() };
            let result: Vec<Value> =
                values.iter().map(|value| json!({"metric": {}, "value": [1, value]})).collect();
            let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
            let body = Full::new(body.to_string().into())
                .map_err(|never: Infallible| -> io::Error { match never {} })
                .boxed_unsync();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::from_u16(code).unwrap();
            Ok::<_, BoxError>(response)
        }
    });
    BoxCloneSyncService::new(service)
}

/// A request that ends, however it does.
struct Leaves(Arc<Mutex<Fake>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.lock().unwrap().at_once -= 1;
    }
}

/// An API server that answers reviews of this namespace's ServiceAccount.
fn api_server(fake: &Arc<Mutex<Fake>>, namespace: &str) -> Client {
    let (fake, namespace) = (Arc::clone(fake), namespace.to_owned());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (fake, namespace) = (Arc::clone(&fake), namespace.clone());
        async move {
            let mut review: Value = serde_json::from_slice(&request.into_body().collect_bytes().await?)?;
            let expected = json!({"verb": "use", "group": "firebreak.dev", "resource": "endpoints", "name": "main",
                                  "namespace": namespace});
            let asked = review["spec"]["resourceAttributes"].clone();
            let is_it = expected.as_object().unwrap().iter().all(|(key, value)| asked[key] == *value);
            let allowed = is_it && fake.lock().unwrap().allowed.contains(&namespace);
            review["status"] = json!({ "allowed": allowed });
            Ok::<_, BoxError>(Response::new(Body::from(review.to_string().into_bytes())))
        }
    });
    Client::new(service, "default")
}

fn signal(more: Value) -> Signal {
    let mut whole = json!({"name": "s", "prometheus": {"endpoint": "main", "query": "up"}});
    for (key, value) in more.as_object().unwrap() {
        match value.as_object() {
            Some(fields) => whole[key].as_object_mut().unwrap().extend(fields.clone()),
            None => whole[key] = value.clone(),
        }
    }
    let spec: PolicySpec = serde_json::from_value(json!({"signals": [whole]})).unwrap();
    Rules::parse(&spec).unwrap().signals.remove(0)
}

fn query() -> Signal {
    signal(json!({}))
}

#[tokio::test(start_paused = true)]
async fn the_values_have_the_fields_of_the_shape_and_no_others() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    assert_eq!(world.reason(&policy), "NotSynced");
    world.until(&policy, "Known").await;
    let Reading::Known { values } = world.hub.reading(&policy, "s") else { panic!("known") };
    let given = values.iter().map(|(field, value)| {
        let kind = match value {
            FieldValue::Int(_) => FieldKind::Int,
            FieldValue::Double(_) => FieldKind::Double,
            FieldValue::Boolean(_) => FieldKind::Boolean,
            FieldValue::Map(_) => FieldKind::IntMap,
        };
        (field.as_str(), kind)
    });
    assert_eq!(given.collect::<BTreeMap<_, _>>(), query().kind.kind().shape().fields);
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_told_when_a_value_changes_and_only_then() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    assert_eq!(world.told(120).await, Vec::<String>::new());
    assert!((8..=11).contains(&world.requests()), "{} requests in two minutes", world.requests());
    world.answer(Answer::Values(&["2"], Duration::ZERO));
    assert_eq!(world.told(20).await, ["p"]);
    assert_eq!(world.value(&policy, "value"), Some(FieldValue::Double(2.0)));
    world.hub.unsubscribe(&policy);
    let before = world.requests();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(world.requests(), before, "nobody reads it any more");
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_the_same_share_a_request_and_others_do_not() {
    let mut world = World::new();
    let all: Vec<_> = (0..5).map(|at| world.subscribe("a", &format!("p{at}"), &[query()])).collect();
    let other = world.subscribe("b", "other", &[query()]);
    for policy in all.iter().chain([&other]) {
        world.until(policy, "Known").await;
    }
    sleep(Duration::from_secs(60)).await;
    assert!(world.requests() <= 7, "{} requests in a minute", world.requests());
    let before = world.requests();
    let slower = world.subscribe("a", "slower", &[signal(json!({"every": "30s"}))]);
    world.until(&slower, "Known").await;
    assert!(world.requests() > before);
}

#[tokio::test(start_paused = true)]
async fn without_an_answer_the_last_value_counts_until_it_is_too_old_and_it_recovers_alone() {
    for silence in [Answer::Silence, Answer::Code(500), Answer::Code(429)] {
        let mut world = World::new();
        let policy = world.subscribe("a", "p", &[query()]);
        world.until(&policy, "Known").await;
        world.answer(silence.clone());
        let took = world.until(&policy, "Unreachable").await;
        assert!((44..=60).contains(&took.as_secs()), "{silence:?}: {took:?}");
        assert!(world.detail(&policy).starts_with("endpoint main: it "), "{}", world.detail(&policy));
        sleep(Duration::from_secs(1200)).await;
        assert_eq!(world.reason(&policy), "Unreachable");
        assert!(world.errors.lock().unwrap()["Unreachable"] > 5);
        world.answer(FRESH);
        let took = world.until(&policy, "Known").await;
        assert!(took <= Duration::from_secs(126), "{silence:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answered_is_unreachable_and_not_merely_not_read() {
    let mut world = World::new();
    world.answer(Answer::Silence);
    let policy = world.subscribe("a", "p", &[query()]);
    let took = world.until(&policy, "Unreachable").await;
    assert!(took <= Duration::from_secs(6), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_does_not_answer_gets_one_request_at_a_time_and_ever_fewer() {
    let world = World::new();
    world.answer(Answer::Silence);
    let queries = (0..20).map(|at| signal(json!({"prometheus": {"query": format!("up{at}")}})));
    for (at, query) in queries.enumerate() {
        world.subscribe("a", &format!("p{at}"), &[query]);
    }
    sleep(Duration::from_secs(60)).await;
    let before = world.requests();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(world.fake.lock().unwrap().most_at_once, 1);
    let requests = world.requests() - before;
    assert!(requests <= 120, "{requests} requests in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn one_that_flaps_is_asked_less_often_and_stays_known() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    world.answer(Answer::Flapping);
    let before = world.requests();
    for _ in 0..600 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(world.reason(&policy), "Known");
    }
    let requests = world.requests() - before;
    assert!(requests <= 32, "{requests} requests in ten minutes");
    world.answer(FRESH);
    sleep(Duration::from_secs(120)).await;
    let before = world.requests();
    sleep(Duration::from_secs(150)).await;
    assert!(world.requests() - before >= 9, "back to its pace");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_use_the_endpoint_reads_nothing_and_is_told_the_rule() {
    let mut world = World::new();
    world.forbid("b");
    let stranger = world.subscribe("b", "q", &[query()]);
    world.until(&stranger, "Forbidden").await;
    assert_eq!(world.requests(), 0, "nobody may ask");
    let rule = "Role in namespace b needs the rule {apiGroups: [firebreak.dev], resources: [endpoints], \
                resourceNames: [main], verbs: [use]}";
    assert!(world.detail(&stranger).contains(rule), "{}", world.detail(&stranger));

    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    assert_eq!(world.reason(&stranger), "Forbidden");
    world.allow("b");
    let took = world.until(&stranger, "Known").await;
    assert!(took <= Duration::from_secs(15), "{took:?}");
    world.forbid("b");
    let took = world.until(&stranger, "Forbidden").await;
    assert!(took <= Duration::from_secs(15), "{took:?}");
    assert_eq!(world.reason(&policy), "Known");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_the_configuration_lacks_is_unknown_until_it_is_added() {
    let mut world = World::new();
    world.endpoints.send_replace(Arc::new(named("other", &world.fake)));
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "NoSuchEndpoint").await;
    assert!(world.detail(&policy).ends_with("of type Prometheus it has other"), "{}", world.detail(&policy));
    sleep(Duration::from_secs(600)).await;
    world.endpoints.send_replace(Arc::new(named("main", &world.fake)));
    assert!(world.until(&policy, "Known").await <= Duration::from_secs(1));
    world.endpoints.send_replace(Arc::default());
    assert!(world.until(&policy, "NoSuchEndpoint").await <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_another_endpoint_of_the_same_name_said_is_forgotten_and_what_it_still_says_is_dropped() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    let before = Arc::clone(&world.fake);
    let other = Fake::new(Answer::Silence);
    world.endpoints.send_replace(Arc::new(named("main", &other)));
    assert_eq!(world.until(&policy, "NotSynced").await, Duration::ZERO);
    let asked = before.lock().unwrap().asked.len();
    sleep(Duration::from_millis(1000)).await;
    assert_eq!((before.lock().unwrap().asked.len(), other.lock().unwrap().at_once), (asked, 1));
    // It is replaced again while it is asked.
    world.endpoints.send_replace(Arc::new(named("main", &world.fake)));
    world.until(&policy, "Known").await;
    assert_eq!(other.lock().unwrap().at_once, 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_other_endpoints_asks_nothing() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    let specs = |names: &[&str]| -> Vec<EndpointSpec> {
        let text = |name: &&str| format!("{{name: {name}, type: Prometheus, url: 'http://a'}}");
        names.iter().map(|name| serde_saphyr::from_str(&text(name)).unwrap()).collect()
    };
    let before = world.requests();
    for names in [&["main", "b"][..], &["main"], &["main", "c"]] {
        let endpoints = Endpoints::of(specs(names), &world.endpoints.borrow());
        world.endpoints.send_replace(Arc::new(endpoints));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((world.requests(), world.reason(&policy)), (before, "Known".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_use_an_endpoint_does_not_learn_which_there_are() {
    let mut world = World::new();
    world.endpoints.send_replace(Arc::new(named("s3cret", &world.fake)));
    world.forbid("b");
    let policy = world.subscribe("a", "p", &[query()]);
    let stranger = world.subscribe("b", "q", &[query()]);
    world.until(&policy, "NoSuchEndpoint").await;
    world.until(&stranger, "Forbidden").await;
    assert!(!world.detail(&stranger).contains("s3cret"), "{}", world.detail(&stranger));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_once() {
    let mut world = World::new();
    world.answer(Answer::Silence);
    let policies: Vec<_> = (0..6)
        .map(|at| {
            let query = signal(json!({"prometheus": {"query": format!("up{at}")}}));
            world.subscribe("a", &format!("p{at}"), &[query])
        })
        .collect();
    for policy in &policies {
        world.until(policy, "Unreachable").await;
    }
    let details: Vec<_> = policies.iter().map(|policy| world.detail(policy)).collect();
    for at in 0..600 {
        if at == 300 {
            world.answer(Answer::Code(500));
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(details, policies.iter().map(|policy| world.detail(policy)).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_is_too_old_is_unknown_although_the_endpoint_answers() {
    let mut world = World::new();
    let fresh = signal(json!({"prometheus": {"freshness": "max(timestamp(up))"}}));
    world.answer(Answer::Values(&["1"], Duration::from_secs(3600)));
    let policy = world.subscribe("a", "p", &[fresh]);
    world.until(&policy, "Stale").await;
    assert!(world.detail(&policy).contains("older than maxAge (1m)"), "{}", world.detail(&policy));
    world.answer(Answer::Values(&["1"], Duration::from_secs(30)));
    world.until(&policy, "Known").await;
    // Half of its time was over when it came.
    world.answer(Answer::Silence);
    let took = world.until(&policy, "Unreachable").await;
    assert!((14..=31).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_the_answer_is_unknown_at_once() {
    let mut world = World::new();
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "Known").await;
    world.answer(Answer::Code(403));
    assert!(world.until(&policy, "Unauthorized").await <= Duration::from_secs(16));
    world.answer(FRESH);
    world.until(&policy, "Known").await;
    world.answer(Answer::Values(&["NaN"], Duration::ZERO));
    world.told(20).await;
    assert_eq!(
        (world.value(&policy, "value"), world.value(&policy, "count")),
        (None, Some(FieldValue::Int(1)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_makes_unknown_and_does_not_end_the_poller() {
    let mut world = World::new();
    world.answer(Answer::Panic);
    let policy = world.subscribe("a", "p", &[query()]);
    world.until(&policy, "InternalError").await;
    world.answer(FRESH);
    world.until(&policy, "Known").await;
}
