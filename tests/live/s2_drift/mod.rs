//! Someone else changes what Firebreak has changed: their value stays, and
//! everything else is reverted.

mod writers;

use serde_json::{Value, json};

use crate::{
    drill::{self, Drill, Models, change_of, closed, has_fallen, heartbeats, models, targets},
    support::{object::Object, operator::Operator, world::World},
};

/// The field manager of `kubectl edit`.
const EDITOR: &str = "kubectl-edit";

/// A drill in which two models have fallen back.
struct Response {
    drill: Drill,
    operator: Operator,
    models: Models,
    incident: Object,
}

impl Response {
    async fn begin(name: &str, edit: impl FnOnce(&mut Value)) -> Self {
        let drill = Drill::new(name).await;
        let models = drill.models(2).await;
        let plan = drill.world.operator();
        let operator = drill::QUICK_HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag)).start().await;
        let policy = drill.policy_with(edit).await;
        let incident = drill.respond(&policy).await;
        models.wait_until_fallen().await;
        Self { drill, operator, models, incident }
    }

    /// Waits until the change of the first model has ended in this way, while the alarm still rings.
    async fn wait_until_ended(&self, state: &str) {
        let name = self.models.objects[0].name();
        let wish = format!("{name} is {state}");
        self.incident.wait_until(&wish, |incident| change_of(incident, name)["state"] == state).await;
    }

    /// Ends the emergency. The first model's change ended in this way, the other's was reverted.
    async fn end(&self, state: &str) {
        let resolved = self.drill.recover(&self.incident).await;
        for (model, state) in self.models.objects.iter().zip([state, "Reverted"]) {
            let change = change_of(&resolved, model.name());
            assert_eq!(change["state"], state, "{}: {model}: {change}", self.incident);
        }
        self.models.assert_one_reverted(1, 0).await;
    }
}

fn without_record() -> Value {
    json!({"annotations": {"firebreak.dev/undo": null}, "labels": {"firebreak.dev/incident": null}})
}

#[tokio::test]
async fn a_field_that_somebody_changed_stays_theirs_with_its_group_and_the_rest_goes_back() {
    let response = Response::begin("s2-edit", |_| {}).await;
    let (model, before) = (&response.models.objects[0], &response.models.before[0]);

    model.merge(EDITOR, json!({"spec": {"model": {"quantization": {"precision": "int4"}}}})).await;

    // It is theirs at once, and the Incident names the owner.
    let path = "/spec/model/quantization/precision";
    let is_theirs = |change: &Value| {
        let fields = change["fields"].as_array().map_or(&[][..], Vec::as_slice);
        let field = fields.iter().find(|field| field["path"] == path).unwrap_or(&Value::Null);
        field["cededTo"].as_str().is_some_and(|owner| owner.starts_with(EDITOR))
    };
    response
        .incident
        .wait_until("the precision is theirs", |incident| is_theirs(change_of(incident, model.name())))
        .await;

    response.end("Ceded").await;
    // A precision has no effect where quantization is off.
    let mut expected = before.spec.clone();
    expected["model"]["quantization"] = json!({"enabled": true, "precision": "int4"});
    let after = model.snapshot().await;
    assert_eq!(after.spec, expected, "{model}: spec");
    assert_eq!(after.generation, before.generation + 3, "{model}: generation");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
    let closed = response.incident.get().await;
    let change = change_of(&closed, model.name());
    assert!(change["message"].as_str().unwrap_or_default().contains(EDITOR), "{model}: {change}");
    let report = report_of(&response.drill.world, &closed.data["status"]["report"]).await;
    assert!(report.contains(EDITOR), "{model}: nobody is named in\n{report}");
}

#[tokio::test]
async fn the_owner_of_a_limit_without_a_request_can_change_it_and_nothing_of_ours_stays_beside_it() {
    let drill = Drill::new("s2-limit").await;
    let limited = |name: &str| {
        let mut document = models::document(&drill.world, name);
        document["spec"]["resources"] = json!({"limits": {"nvidia.com/gpu": "1"}});
        document.to_string()
    };
    let left = drill.world.apply("flux", &limited("left")).await.remove(0);
    let taken = drill.world.apply("flux", &limited("taken")).await.remove(0);
    for model in [&left, &taken] {
        models::serve(model).await;
    }
    let before = left.snapshot().await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy_with(|_| {}).await;
    let incident = drill.respond(&policy).await;
    for model in [&left, &taken] {
        let fallen = model.snapshot().await.spec;
        assert_eq!(fallen["resources"], json!({"limits": {"nvidia.com/gpu": "0"}}), "{model}");
    }

    taken.merge(EDITOR, json!({"spec": {"resources": {"limits": {"nvidia.com/gpu": "3"}}}})).await;
    let named = |incident: &kube::api::DynamicObject| {
        change_of(incident, "taken")["fields"].to_string().contains(EDITOR)
    };
    incident.wait_until("the limit is theirs", named).await;
    let resolved = drill.recover(&incident).await;
    assert_eq!(change_of(&resolved, "left")["state"], "Reverted", "{incident}");
    assert_eq!(change_of(&resolved, "taken")["state"], "Ceded", "{incident}");
    assert_eq!(left.snapshot().await.spec, before.spec, "{left}");
    let spec = taken.snapshot().await.spec;
    assert_eq!(spec["resources"], json!({"limits": {"nvidia.com/gpu": "3"}}), "{taken}");
}

async fn report_of(world: &World, report: &Value) -> String {
    let name = report["name"].as_str().unwrap_or_else(|| panic!("no report: {report}"));
    let report = world.object("v1", "ConfigMap", &world.a, name).get().await;
    report.data["data"]["report.md"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_value_that_someone_restored_is_theirs_and_is_never_applied_again() {
    let response = Response::begin("s2-restore", |_| {}).await;
    let (model, before) = (&response.models.objects[0], &response.models.before[0]);

    // The record stays, as when a GitOps tool applies the content of Git by force.
    let mut spec = before.spec.clone();
    spec["model"]["quantization"] = json!({"enabled": true, "precision": "int8"});
    model.merge("kustomize-controller", json!({"spec": spec})).await;
    response
        .incident
        .wait_until("the accelerators are theirs", |incident| {
            change_of(incident, model.name()).to_string().contains("kustomize-controller")
        })
        .await;
    heartbeats(&response.operator, 5).await;
    assert!(!has_fallen(&model.get().await.data), "{model}: it was applied again");

    response.end("Ceded").await;
    // The quantization still has our value, and is reverted.
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 3, "{model}: two changes by us, one by them");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn without_the_record_our_value_is_theirs() {
    let response = Response::begin("s2-strip", |_| {}).await;
    let (model, before) = (&response.models.objects[0], &response.models.before[0]);

    model.merge(EDITOR, json!({"metadata": without_record()})).await;
    response.wait_until_ended("Ceded").await;

    response.end("Ceded").await;
    let after = model.snapshot().await;
    assert_eq!(after.spec, models::fallen_spec(&before.spec), "{model}: spec");
    assert_eq!(after.generation, before.generation + 1, "{model}: generation");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
    assert_eq!(
        after.managers.iter().filter(|manager| manager.starts_with("firebreak/")).count(),
        0,
        "{model}"
    );
}

#[tokio::test]
async fn without_the_record_the_old_value_is_reverted_and_is_never_applied_again() {
    let response = Response::begin("s2-undone", |_| {}).await;
    let (model, before) = (&response.models.objects[0], &response.models.before[0]);

    model.merge(EDITOR, json!({"metadata": without_record(), "spec": before.spec})).await;
    response.wait_until_ended("Reverted").await;
    heartbeats(&response.operator, 5).await;
    assert!(!has_fallen(&model.get().await.data), "{model}: it was applied again");

    response.end("Reverted").await;
    let after = model.snapshot().await;
    assert_eq!(after.spec, before.spec, "{model}: spec");
    assert_eq!(after.generation, before.generation + 2, "{model}: one change by us, one by them");
    assert_eq!(after.traces(), Vec::<&str>::new(), "{model}: traces");
}

#[tokio::test]
async fn an_object_that_was_created_again_is_another_object() {
    let no_newcomers = |spec: &mut Value| {
        targets(spec)["where"] = json!("!has(object.metadata.labels) || !('new' in object.metadata.labels)");
    };
    let response = Response::begin("s2-again", no_newcomers).await;
    let model = &response.models.objects[0];

    // With the emergency values, but without the record: the person who created it wants them.
    let mut recreated = models::document(&response.drill.world, model.name());
    recreated["spec"] = models::fallen_spec(&recreated["spec"]);
    recreated["metadata"]["labels"]["new"] = json!("yes");
    model.delete().await;
    model.wait_until_gone().await;
    let recreated = Models::of(response.drill.world.create("alice", &recreated.to_string()).await).await;
    response.wait_until_ended("Ceded").await;

    response.end("Ceded").await;
    recreated.assert_untouched(0).await;
}

#[tokio::test]
async fn an_object_that_is_deleted_is_let_go() {
    let response = Response::begin("s2-gone", |_| {}).await;
    let model = &response.models.objects[0];
    model.delete().await;
    model.wait_until_gone().await;
    response.wait_until_ended("Ceded").await;
    response.end("Ceded").await;
    assert!(closed(&response.incident.get().await), "{}", response.incident);
    assert!(model.find().await.is_none(), "{model} was created again");
}
