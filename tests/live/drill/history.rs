//! Every state of some objects that the server has sent.

use futures::StreamExt;
use kube::{
    ResourceExt,
    api::DynamicObject,
    runtime::{WatchStreamExt, watcher},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::support::{
    manifest,
    object::{Object, PATIENCE},
    world::World,
};

/// The objects of one kind in the first namespace of a world, from the start of this on, in the order in
/// which the server changed them.
pub struct History {
    states: watch::Receiver<Vec<DynamicObject>>,
    watch: JoinHandle<()>,
}

impl History {
    /// Starts to watch.
    pub fn of(world: &World, api_version: &str, kind: &str) -> Self {
        let api = manifest::api(&world.client, &manifest::resource(api_version, kind), Some(&world.a));
        let (seen, states) = watch::channel(Vec::new());
        let watch = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                if let Ok(object) = event {
                    seen.send_modify(|states: &mut Vec<DynamicObject>| states.push(object));
                }
            }
        });
        Self { states, watch }
    }

    /// Waits until the states satisfy the predicate.
    pub async fn wait_until(&self, wish: &str, mut predicate: impl FnMut(&[DynamicObject]) -> bool) {
        let mut states = self.states.clone();
        let seen = tokio::time::timeout(PATIENCE, states.wait_for(|states| predicate(states))).await;
        assert!(seen.is_ok(), "not {wish:?} within {PATIENCE:?}");
    }

    /// All states, at least up to the object as it is now.
    pub async fn up_to_now(&self, object: &Object) -> Vec<DynamicObject> {
        let version = object.get().await.resource_version();
        let is_it = |state: &DynamicObject| state.resource_version() == version;
        self.wait_until(&format!("{object} as it is"), |states| states.iter().any(is_it)).await;
        self.states.borrow().clone()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.watch.abort();
    }
}
