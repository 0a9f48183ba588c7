//! The proxy records all requests, and injects exactly the faults that it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::support::{
    proxy::{Call, Fault, Moment, Proxy, Rule},
    rights,
    testbed::testbed,
    world::World,
};

/// A proxy, and ConfigMaps behind it as the responder sees them.
struct Scene {
    world: World,
    proxy: Proxy,
    maps: Api<ConfigMap>,
}

impl Scene {
    async fn set(name: &str) -> Self {
        let world = World::new(name).await;
        let everything = rights::Rule { group: "", resources: &["configmaps"], verbs: &["*"] };
        world.grant(&world.a, &[everything]).await;
        let proxy = Proxy::start(&testbed().config().await).await;
        let mut config = kube::Config::new(proxy.url().parse().expect("an address"));
        config.default_retry = false;
        config.auth_info.token = Some(world.token(&world.a, "firebreak-responder").await.into());
        let client = Client::try_from(config).expect("a client");
        let maps = Api::namespaced(client, &world.a);
        Self { world, proxy, maps }
    }

    async fn create(&self, name: &str) -> kube::Result<ConfigMap> {
        let map = json!({"metadata": {"name": name}, "data": {"key": "value"}});
        let map = serde_json::from_value(map).expect("a ConfigMap");
        self.maps.create(&PostParams::default(), &map).await
    }

    /// Whether the server has it, whatever the proxy reports.
    async fn exists(&self, name: &str) -> bool {
        self.world.object("v1", "ConfigMap", &self.world.a, name).find().await.is_some()
    }
}

fn code(error: kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API: {other}"),
    }
}

fn is_broken(result: &kube::Result<ConfigMap>) -> bool {
    matches!(result, Err(error) if !matches!(error, kube::Error::Api(_)))
}

fn is_create(call: &Call) -> bool {
    call.method == http::Method::POST && call.writes("configmaps")
}

#[tokio::test]
async fn calls_are_recorded_with_body_and_answers() {
    let scene = Scene::set("record").await;
    scene.create("one").await.expect("created");
    let patch = Patch::Merge(json!({"data": {"key": "other"}}));
    scene.maps.patch("one", &PatchParams::default(), &patch).await.expect("patched");
    scene.maps.get("one").await.expect("read");

    let writes = scene.proxy.writes();
    let objects: Vec<String> = writes.iter().map(|write| write.call.object()).collect();
    let map = format!("configmaps {}/one", scene.world.a);
    assert_eq!(objects, [map.clone(), map]);
    assert_eq!(writes[0].call.body.as_ref().expect("a body")["data"]["key"], "value");
    assert_eq!((writes[1].server, writes[1].client), (Some(200), Some(200)));
    assert_eq!(scene.proxy.calls().len(), 3);
}

#[tokio::test]
async fn impersonation_passes_through_and_is_recorded() {
    let scene = Scene::set("impersonate").await;
    let mut config = kube::Config::new(scene.proxy.url().parse().expect("an address"));
    config.auth_info.token = Some(scene.world.token(&scene.world.a, "firebreak-responder").await.into());
    config.auth_info.impersonate = Some("alice".to_owned());
    let client = Client::try_from(config).expect("a client");
    let refused = Api::<ConfigMap>::namespaced(client, &scene.world.a).get("one").await;
    assert_eq!(code(refused.expect_err("the responder may not impersonate")), 403);
    assert_eq!(scene.proxy.calls()[0].call.user.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_dropped_request_does_not_reach_the_server() {
    let scene = Scene::set("drop").await;
    scene.proxy.on(Rule::nth(1, is_create, Fault::DropRequest));
    assert!(is_broken(&scene.create("one").await));
    assert!(!scene.exists("one").await);
    scene.create("one").await.expect("the second call is not hit");
}

#[tokio::test]
async fn a_lost_reply_was_applied() {
    let scene = Scene::set("lose").await;
    scene.proxy.on(Rule::nth(2, is_create, Fault::LoseReply));
    scene.create("one").await.expect("the first call is not hit");
    assert!(is_broken(&scene.create("two").await));
    assert!(scene.exists("two").await);
    let lost = &scene.proxy.writes()[1];
    assert_eq!((lost.server, lost.client), (Some(201), None));
    assert!(lost.was_applied());
}

#[tokio::test]
async fn a_cut_reply_was_applied() {
    let scene = Scene::set("cut").await;
    scene.proxy.on(Rule::each(is_create, Fault::CutReply));
    assert!(is_broken(&scene.create("one").await));
    assert!(scene.exists("one").await);
}

#[tokio::test]
async fn an_answer_of_the_proxy_keeps_the_server_out() {
    let scene = Scene::set("answer").await;
    for refusal in [409, 500, 504] {
        scene.proxy.forget_rules();
        scene.proxy.on(Rule::each(is_create, Fault::answer(refusal)));
        assert_eq!(code(scene.create("one").await.expect_err("refused")), refusal);
    }
    scene.proxy.forget_rules();
    scene.proxy.on(Rule::each(is_create, Fault::too_many(7)));
    assert_eq!(code(scene.create("one").await.expect_err("refused")), 429);
    assert!(!scene.exists("one").await);
}

#[tokio::test]
async fn an_answer_after_the_fact_was_applied() {
    let scene = Scene::set("answer-after").await;
    scene.proxy.on(Rule::each(is_create, Fault::answer_after(504)));
    assert_eq!(code(scene.create("one").await.expect_err("504")), 504);
    assert!(scene.exists("one").await);
}

#[tokio::test]
async fn silence_ends_only_with_the_client() {
    let scene = Scene::set("silence").await;
    scene.proxy.on(Rule::nth(1, is_create, Fault::Silence));
    scene.proxy.on(Rule::nth(2, is_create, Fault::SilenceAfter));
    for (name, applied) in [("one", false), ("two", true)] {
        let reached = scene.proxy.wait_for(name, move |exchange| {
            exchange.call.object().ends_with(name) && (exchange.server.is_some() || !applied)
        });
        tokio::select! {
            answer = scene.create(name) => panic!("an answer: {answer:?}"),
            silent = reached => assert_eq!(silent.client, None),
        }
        assert_eq!(scene.exists(name).await, applied);
    }
}

#[tokio::test]
async fn something_can_come_first() {
    let scene = Scene::set("first").await;
    let (world_client, namespace) = (scene.world.client.clone(), scene.world.a.clone());
    let fault = Fault::first(move |call: Arc<Call>| {
        let maps: Api<ConfigMap> = Api::namespaced(world_client.clone(), &namespace);
        let theirs = serde_json::from_value(call.body.clone().expect("a body")).expect("a ConfigMap");
        async move { drop(maps.create(&PostParams::default(), &theirs).await.expect("theirs")) }
    });
    scene.proxy.on(Rule::each(is_create, fault));
    assert_eq!(code(scene.create("one").await.expect_err("theirs came first")), 409);
}

#[tokio::test]
async fn the_victim_is_killed_at_the_chosen_moment() {
    for (moment, applied) in
        [(Moment::BeforeSend, false), (Moment::ReplyLost, true), (Moment::ReplySeen, true)]
    {
        let scene = Scene::set("kill").await;
        let kills = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&kills);
        scene.proxy.on_kill(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        scene.proxy.on(Rule::nth(1, Call::is_write, Fault::Kill(moment)));

        let first = scene.create("one").await;
        assert_eq!(first.is_ok(), moment == Moment::ReplySeen, "{moment:?}");
        assert_eq!(scene.exists("one").await, applied, "{moment:?}");

        assert!(scene.create("two").await.is_err(), "{moment:?}: the dead do not write");
        assert!(!scene.exists("two").await, "{moment:?}");
        assert_eq!(kills.load(Ordering::SeqCst), 1, "{moment:?}");

        scene.proxy.open();
        scene.create("two").await.expect("the successor writes");
    }
}

#[tokio::test]
async fn matched_calls_are_counted() {
    let scene = Scene::set("count").await;
    let created = scene.proxy.on(Rule::first(0, is_create, Fault::DropRequest));
    scene.create("one").await.expect("no fault");
    scene.create("two").await.expect("no fault");
    assert_eq!(created.count(), 2);
}
