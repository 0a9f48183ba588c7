//! The earlier release, and the definitions that the cluster has.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::support::{
    install, manifest,
    object::{Object, PATIENCE},
    operator::Plan,
    testbed::{repository, testbed},
};

/// The definitions are of the whole cluster, so one test after the other.
static CLUSTER: Mutex<()> = Mutex::const_new(());

/// What `testbed/old-release.sh` has built.
fn old() -> PathBuf {
    let folder = std::env::var_os("FIREBREAK_OLD_RELEASE");
    PathBuf::from(folder.expect("FIREBREAK_OLD_RELEASE names what testbed/old-release.sh has printed"))
}

/// A cluster in which the earlier release is installed.
pub struct Cluster {
    _alone: MutexGuard<'static, ()>,
}

impl Cluster {
    /// With the definitions and the ClusterRoles of the earlier release.
    pub async fn of_the_old_release() -> Self {
        let alone = CLUSTER.lock().await;
        install(&old());
        Self { _alone: alone }
    }

    /// With the definitions of this release, which store its format, but nothing that came with it: those of the release
    /// before.
    pub async fn of_the_format_before() -> Self {
        let alone = CLUSTER.lock().await;
        let without = |document: &mut Value| {
            let status = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties";
            if document["spec"]["names"]["kind"] == "RemediationPolicy" {
                let status = document.pointer_mut(status).and_then(Value::as_object_mut).expect("a status");
                status.remove("expectRequestedAt").expect("it came with the newest format");
                let window = status["expected"].pointer_mut("/items/properties").expect("a window");
                window
                    .as_object_mut()
                    .and_then(|window| window.remove("peaks"))
                    .expect("it came with it, too");
            }
        };
        let installed = install::edited_release(testbed(), repository(), without);
        installed.unwrap_or_else(|why| panic!("{why}"));
        Self { _alone: alone }
    }

    /// Waits until the API server works by the definitions of [`Self::of_the_format_before`].
    pub async fn stores_the_format_alone(&self, policy: &Object) {
        until_stored_is(policy, &newest(), &json!({"format": 1000})).await;
    }

    /// Waits until the API server works by the definitions of the earlier release, which have no format.
    pub async fn is_served(&self, policy: &Object) {
        until_stored_is(policy, &json!({"format": 1000}), &json!({})).await;
    }

    /// The definitions and the ClusterRoles of this release replace them, as before every upgrade. Waits until the API server
    /// works by them.
    pub async fn upgrade(&self, policy: &Object) {
        install(repository());
        until_stored_is(policy, &newest(), &newest()).await;
    }
}

/// What only definitions of this release store of the status of a policy.
fn newest() -> Value {
    json!({"format": 1000, "expectRequestedAt": "2026-01-01T00:00:00Z"})
}

/// The API server takes a moment to work by another definition, so this asks it what it would store of these fields of a
/// status.
async fn until_stored_is(policy: &Object, sent: &Value, stored: &Value) {
    let client = testbed().client().await;
    let document = policy.get().await;
    let api = manifest::api(&client, policy.resource(), document.metadata.namespace.as_deref());
    let fields = sent.as_object().expect("fields of a status");
    let asked = async {
        loop {
            let patch = Patch::Merge(json!({"status": sent}));
            let dry_run = PatchParams { dry_run: true, ..PatchParams::default() };
            let answer =
                api.patch_status(policy.name(), &dry_run, &patch).await.expect("an administrator may");
            let status = &answer.data["status"];
            if fields.keys().all(|field| status.get(field) == stored.get(field)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the API server works by the definitions");
}

fn install(release: &Path) {
    install::release(testbed(), release).unwrap_or_else(|why| panic!("{}: {why}", release.display()));
}

/// The earlier release with the flags of a drill, under this name.
pub fn old_operator<'w>(plan: Plan<'w>, name: &str) -> Plan<'w> {
    new_operator(plan, name).binary(&old().join("firebreak"))
}

/// This release with the same flags.
pub fn new_operator<'w>(plan: Plan<'w>, name: &str) -> Plan<'w> {
    plan.named(name).flag("--lease-duration").flag("3s")
}
