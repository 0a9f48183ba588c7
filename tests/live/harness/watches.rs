//! Watches through the proxy can be frozen, thinned out, doubled and ended with 410.

use std::pin::pin;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{WatchEvent, WatchParams},
};
use serde_json::json;

use crate::support::{
    proxy::{Delivery, Fault, Proxy, Rule},
    rights,
    testbed::testbed,
    world::World,
};

async fn scene(name: &str) -> (World, Proxy, Api<ConfigMap>) {
    let world = World::new(name).await;
    let reading = rights::Rule { group: "", resources: &["configmaps"], verbs: &["list", "watch"] };
    world.grant(&world.a, &[reading]).await;
    let proxy = Proxy::start(&testbed().config().await).await;
    let mut config = kube::Config::new(proxy.url().parse().expect("an address"));
    config.auth_info.token = Some(world.token(&world.a, "firebreak-responder").await.into());
    let maps = Api::namespaced(Client::try_from(config).expect("a client"), &world.a);
    (world, proxy, maps)
}

async fn create(world: &World, name: &str) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": world.a},
    });
    world.create("alice", &map.to_string()).await;
}

/// The watch from now on, of everything that tests create here.
fn params() -> WatchParams {
    WatchParams { bookmarks: false, ..WatchParams::default().fields("metadata.name!=kube-root-ca.crt") }
}

fn name(event: &WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(map) => map.metadata.name.clone().unwrap_or_default(),
        other => panic!("not an addition: {other:?}"),
    }
}

#[tokio::test]
async fn a_frozen_watch_is_silent_and_stays_open() {
    let (world, proxy, maps) = scene("freeze").await;
    let mut events = pin!(maps.watch(&params(), "0").await.expect("a watch"));
    create(&world, "one").await;
    assert_eq!(name(&events.next().await.expect("open").expect("an event")), "one");

    let freeze = proxy.freeze(|call| call.watches("configmaps"));
    create(&world, "two").await;
    // A second watch that is not frozen shows that the server has sent the event.
    let freezes_old = proxy.calls().len();
    drop(freeze);
    let freeze = proxy.freeze(move |call| call.watches("configmaps") && call.number < freezes_old);
    let mut fresh = pin!(maps.watch(&params(), "0").await.expect("a watch"));
    create(&world, "three").await;
    while name(&fresh.next().await.expect("open").expect("an event")) != "three" {}
    let frozen = futures::poll!(events.next());
    assert!(frozen.is_pending(), "{frozen:?}");

    drop(freeze);
    create(&world, "four").await;
    assert_eq!(name(&events.next().await.expect("open").expect("an event")), "four");
}

#[tokio::test]
async fn events_can_be_swallowed_and_repeated() {
    let (world, proxy, maps) = scene("events").await;
    let _judge = proxy.on_event(|_, event| match event["object"]["metadata"]["name"].as_str() {
        Some("lost") => Delivery::Swallow,
        Some("twice") => Delivery::Twice,
        _ => Delivery::Pass,
    });
    let mut events = pin!(maps.watch(&params(), "0").await.expect("a watch"));
    for each in ["lost", "twice", "once"] {
        create(&world, each).await;
    }
    let mut names = Vec::new();
    while names.len() < 3 {
        names.push(name(&events.next().await.expect("open").expect("an event")));
    }
    assert_eq!(names, ["twice", "twice", "once"]);
}

#[tokio::test]
async fn a_watch_can_be_too_old() {
    let (_world, proxy, maps) = scene("gone").await;
    proxy.on(Rule::nth(1, |call| call.watches("configmaps"), Fault::Gone));
    let mut events = pin!(maps.watch(&params(), "0").await.expect("a watch"));
    match events.next().await {
        Some(Ok(WatchEvent::Error(status))) => assert_eq!(status.code, 410),
        other => panic!("not an error in the stream: {other:?}"),
    }
}
