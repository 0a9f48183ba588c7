//! ServiceAccounts that flood the API server.
//!
//! What overloads it are seats and not processors: most requests are writes that wait for a webhook that never answers, as
//! when its node has died. The others list all ConfigMaps of a namespace.

use std::{net::TcpListener, thread::JoinHandle, time::Duration};

use kube::{
    Api, Client, Config,
    api::{DynamicObject, ListParams, Patch, PatchParams},
    config::AuthInfo,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::scene;
use crate::support::{manifest, world::World};

/// Requests that are sent at once. Each one is followed by the next.
const CONNECTIONS: usize = 400;
/// Of these, one in this many is a list, the others are writes.
const ONE_LISTS_OF: usize = 10;
const OBJECTS: usize = 1000;
/// How long the API server waits for the webhook.
const WEBHOOK_SECONDS: u32 = 2;
/// What the API server asks for when it rejects a request.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who floods. The API server is fair to users, so it matters how many there are.
#[derive(Clone, Copy, Debug)]
pub enum Users {
    One,
    Twenty,
}

impl Users {
    fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Twenty => 20,
        }
    }

    /// One user fills at most 6 queues of 50, and requests that do not fit are rejected.
    fn expected_to_wait(self) -> f64 {
        match self {
            Self::One => 200.0,
            Self::Twenty => 250.0,
        }
    }
}

/// What all do.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Rest,
    Push,
}

/// The flood, in a thread of its own, so that the clock of the benchmark is not late because of it.
pub struct Crowd {
    users: Users,
    order: watch::Sender<Order>,
    thread: JoinHandle<()>,
    /// Accepts no connection, and neither refuses one.
    _webhook: TcpListener,
}

impl Crowd {
    /// Creates the accounts, the objects and the webhook.
    pub async fn gather(ground: &World, users: Users) -> Self {
        let webhook = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = webhook.local_addr().expect("it is bound");
        let mut documents = vec![
            webhook_configuration(&ground.b, &format!("https://{address}/")),
            role(&ground.b),
            binding(&ground.b, users.count()),
        ];
        documents.extend((0..users.count()).map(|number| account(&ground.b, number)));
        for document in documents {
            manifest::apply(&ground.client, "bench", &document).await.expect("the crowd can be gathered");
        }
        fill(ground).await;
        let mut configs = Vec::new();
        for number in 0..users.count() {
            let token = ground.token(&ground.b, &format!("flood-{number}")).await;
            let mut config = ground.testbed.config().await;
            config.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
            configs.push(config);
        }
        let (order, orders) = watch::channel(Order::Rest);
        let namespace = ground.b.clone();
        let thread = std::thread::spawn(move || run(configs, &namespace, &orders));
        Self { users, order, thread, _webhook: webhook }
    }

    /// Lets all connections send, one request after the other.
    pub fn push(&self) {
        self.order.send_replace(Order::Push);
    }

    /// Lets no connection send a further request.
    pub fn rest(&self) {
        self.order.send_replace(Order::Rest);
    }

    /// How many requests wait in the queues when the API server is overloaded.
    pub fn expected_to_wait(&self) -> f64 {
        self.users.expected_to_wait()
    }

    /// Ends the flood.
    pub fn disperse(self) {
        drop(self.order);
        self.thread.join().expect("the flood does not panic");
    }
}

/// Until nobody gives orders any more.
fn run(configs: Vec<Config>, namespace: &str, orders: &watch::Receiver<Order>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let maps = manifest::resource("v1", "ConfigMap");
        let apis: Vec<Api<DynamicObject>> = configs
            .into_iter()
            .map(|config| manifest::api(&Client::try_from(config).expect("a client"), &maps, Some(namespace)))
            .collect();
        let connections = (0..CONNECTIONS).map(|number| {
            let (api, orders) = (apis[number % apis.len()].clone(), orders.clone());
            tokio::spawn(send(number, api, orders))
        });
        let connections: Vec<_> = connections.collect();
        let mut orders = orders.clone();
        while orders.changed().await.is_ok() {}
        // Requests in flight break off with the runtime.
        connections.iter().for_each(tokio::task::JoinHandle::abort);
    });
}

/// One request after the other.
async fn send(number: usize, api: Api<DynamicObject>, mut orders: watch::Receiver<Order>) {
    for turn in 0_usize.. {
        if orders.wait_for(|order| *order == Order::Push).await.is_err() {
            return;
        }
        let answer = if number.is_multiple_of(ONE_LISTS_OF) {
            api.list(&ListParams::default()).await.map(drop)
        } else {
            let patch = Patch::Merge(json!({"data": {"turn": format!("{number}-{turn}")}}));
            api.patch(&object(number), &PatchParams::default(), &patch).await.map(drop)
        };
        // It ends with the flood, too.
        if answer.is_err() {
            tokio::select! {
                () = tokio::time::sleep(RETRY_AFTER) => {}
                _ = orders.wait_for(|order| *order == Order::Rest) => {}
            }
        }
    }
}

fn object(number: usize) -> String {
    format!("flood-{number}")
}

async fn fill(ground: &World) {
    let text = "x".repeat(1000);
    let map = |number: usize| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": object(number), "namespace": ground.b}, "data": {"text": text},
        })
    };
    let first = ground.object("v1", "ConfigMap", &ground.b, &object(OBJECTS - 1));
    if first.find().await.is_none() {
        scene::create(ground, (0..OBJECTS).map(map)).await;
    }
}

/// A webhook for updates in this namespace, whose failure is ignored.
fn webhook_configuration(namespace: &str, url: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "flood"},
        "webhooks": [{
            "name": "flood.bench.firebreak.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "failurePolicy": "Ignore", "timeoutSeconds": WEBHOOK_SECONDS,
            "clientConfig": {"url": url},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["configmaps"],
            }],
        }],
    })
}

fn account(namespace: &str, number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": object(number), "namespace": namespace},
    })
}

fn role(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "flood", "namespace": namespace},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "patch"]}],
    })
}

fn binding(namespace: &str, users: usize) -> Value {
    let subject = |number| json!({"kind": "ServiceAccount", "name": object(number), "namespace": namespace});
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "flood", "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "flood"},
        "subjects": (0..users).map(subject).collect::<Vec<_>>(),
    })
}
