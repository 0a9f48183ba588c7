//! The namespace of a policy is deleted in the middle of an emergency: with the policy, its Incident and its
//! ServiceAccount. It ends, and what is elsewhere is put back.

use crate::{
    drill::{self, Drill},
    support::object::Object,
};

#[tokio::test]
async fn a_namespace_that_is_deleted_ends_and_what_is_elsewhere_is_put_back() {
    let drill = Drill::new("s10-namespace").await;
    // By rights that do not go with the namespace; those that do are a story of the engine.
    drill.world.grant_everywhere(&drill::rights()).await;
    let models = drill.models(1).await;
    let elsewhere = drill::models::manifest("elsewhere").replace("${a}", "${b}");
    let elsewhere = drill.world.apply("flux", &elsewhere).await;
    drill::models::serve(&elsewhere[0]).await;
    let elsewhere = drill::Models::of(elsewhere).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    drill.respond(&policy).await;
    models.wait_until_fallen().await;
    elsewhere.wait_until_fallen().await;

    drill.world.kubectl(&["delete", "namespace", &drill.world.a, "--timeout=60s"]).await;
    Object::new(&drill.world.client, "v1", "Namespace", None, &drill.world.a).wait_until_gone().await;
    elsewhere.assert_put_back().await;
}
