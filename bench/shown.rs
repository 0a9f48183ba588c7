//! What open watches show during a burst: targets that are changed, and Incidents that are in Monitoring.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use kube::{
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::ApiResource,
};
use tokio::{sync::mpsc, time::timeout};

use crate::support::{manifest, world::World};

/// The annotation that a target has from its first patch to its last.
const UNDO: &str = "firebreak.dev/undo";

/// The number of each model of an alarm, as soon as a watch shows it with its undo record.
pub async fn changes(world: &World, alarm: &str) -> mpsc::UnboundedReceiver<(usize, Instant)> {
    let kind = manifest::resource("inference.llm-d.io/v1alpha1", "LLMDeployment");
    let watch = watch(world, &kind).await;
    let prefix = format!("{alarm}-");
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut events = watch;
        while let Ok(Some(event)) = events.try_next().await {
            let seen = Instant::now();
            if tell.is_closed() {
                return; // the alarm is over
            }
            let (WatchEvent::Added(model) | WatchEvent::Modified(model)) = event else { continue };
            let is_changed = model.metadata.annotations.iter().flatten().any(|(key, _)| key == UNDO);
            let name = model.metadata.name.unwrap_or_default();
            let number = name.strip_prefix(&prefix).and_then(|number| number.parse().ok());
            if let Some(number) = number.filter(|_| is_changed)
                && tell.send((number, seen)).is_err()
            {
                return;
            }
        }
    });
    told
}

/// The name of each Incident as soon as a watch shows it in Monitoring.
pub async fn monitoring(world: &World) -> mpsc::UnboundedReceiver<String> {
    let kind = manifest::resource("firebreak.dev/v1alpha1", "Incident");
    let (tell, told) = mpsc::unbounded_channel();
    let watch = watch(world, &kind).await;
    tokio::spawn(async move {
        let mut events = watch;
        while let Ok(Some(event)) = events.try_next().await {
            let (WatchEvent::Added(incident) | WatchEvent::Modified(incident)) = event else { continue };
            let name = incident.metadata.name.unwrap_or_default();
            if incident.data["status"]["phase"] == "Monitoring" && tell.send(name).is_err() {
                return;
            }
        }
    });
    told
}

/// Waits until this many Incidents were shown in Monitoring.
pub async fn wait_for_monitoring(
    mut shown: mpsc::UnboundedReceiver<String>,
    count: usize,
    patience: Duration,
) {
    let mut names = BTreeSet::new();
    let all = async {
        while names.len() < count {
            names.insert(shown.recv().await.expect("the watch goes on"));
        }
    };
    if timeout(patience, all).await.is_err() {
        panic!("{} of {count} Incidents are in Monitoring after {patience:?}", names.len());
    }
}

/// A watch of a kind in the namespace of the policies, from now on.
async fn watch(
    world: &World,
    kind: &ApiResource,
) -> BoxStream<'static, kube::Result<WatchEvent<DynamicObject>>> {
    let api = manifest::api(&world.client, kind, Some(&world.a));
    let one = ListParams::default().limit(1);
    let version = api.list(&one).await.expect("a list").metadata.resource_version.unwrap_or_default();
    api.watch(&WatchParams::default().timeout(294), &version).await.expect("a watch").boxed()
}
