//! The runbook of the ML scheduler.

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use super::{Before, install, withdraw};
use crate::support::{object::Object, world::World};

const SERVICES: &str = include_str!("hydatis.yaml");
const PENDING: &str = include_str!("pending.yaml");

/// `ml-scheduler`, `redis` and `gateway`, available.
async fn services(world: &World) -> Vec<Object> {
    let services = world.apply("flux", SERVICES).await;
    for service in &services {
        service.wait_until("available", is_available).await;
    }
    services
}

fn is_available(workload: &DynamicObject) -> bool {
    workload.data["status"]["availableReplicas"] == workload.data["spec"]["replicas"]
        && workload.data["status"]["observedGeneration"] == json!(workload.metadata.generation)
}

/// The pods of the scheduler run and are not ready.
async fn break_scheduler(world: &World, scheduler: &Object) {
    let pods = Api::<Pod>::namespaced(world.client.clone(), &world.a);
    let unready = Patch::Merge(json!({"metadata": {"annotations": {"sim/unready": "1"}}}));
    for pod in world.list("v1", "Pod", &world.a).await {
        if pod.labels().get("app").is_some_and(|app| app == "ml-scheduler") {
            pods.patch(&pod.name_any(), &PatchParams::default(), &unready)
                .await
                .expect("pods can be annotated");
        }
    }
    let is_down = |scheduler: &DynamicObject| scheduler.data["status"]["readyReplicas"].is_null();
    scheduler.wait_until("without a replica that is ready", is_down).await;
}

#[tokio::test]
async fn scheduler_failure_does_what_the_runbook_intends_and_comes_back() {
    let world = World::new("s17-scheduler").await;
    let services = services(&world).await;
    let [scheduler, _, gateway] = services.as_slice() else { panic!("three services") };
    let waiting = world.apply("flux", PENDING).await;
    let before = Before::of(&[services.clone(), waiting.clone()].concat()).await;
    let _operator = world.operator().start().await;
    let policy = install(&world, "hydatis", "scheduler-failure").await;

    break_scheduler(&world, scheduler).await;
    let incident = world.incident_of(&policy).await;
    for workload in &waiting {
        let moved = |workload: &DynamicObject| {
            workload.data["spec"]["template"]["spec"]["schedulerName"] == "default-scheduler"
        };
        workload.wait_until("of the default scheduler", moved).await;
        // No pod is Pending any more.
        workload.wait_until("available", is_available).await;
    }
    assert_eq!(scheduler.get().await.data["spec"]["replicas"], 0, "{scheduler}");
    let seen = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");

    withdraw(&world, &incident).await;
    before.assert_reverted().await;
    // It served all the time, and the runbook's command would have restarted it.
    let (_, gateway_before) = &before.0[2];
    assert_eq!(gateway.snapshot().await.generation, gateway_before.generation, "{gateway}");
    scheduler.wait_until("available", is_available).await;
}

#[tokio::test]
async fn emergency_scale_out_does_what_the_runbook_intends_and_comes_back() {
    let world = World::new("s17-scale").await;
    let services = services(&world).await;
    let before = Before::of(&services).await;
    let _operator = world.operator().start().await;
    install(&world, "hydatis", "emergency-scale-out").await;

    let incident = world.create_example("hydatis/incidents/emergency-scale-out.yaml").await;
    for (service, replicas) in services.iter().zip([5, 3, 1]) {
        let scaled =
            |service: &DynamicObject| service.data["spec"]["replicas"] == replicas && is_available(service);
        service.wait_until(&format!("available {replicas} times"), scaled).await;
    }
    let seen = incident.wait_for_condition("Mitigated", "True").await;
    assert_eq!(seen.data["status"]["severity"], "P0", "{incident}");

    withdraw(&world, &incident).await;
    before.assert_reverted().await;
}
