//! The revisions of an object: each template that its controller has seen. They tell whether a restart took effect whose
//! answer was lost, and whose value someone has replaced since.

use std::sync::Arc;

use firebreak_engine::change::OperationWrite;
use firebreak_engine::facts::{Revision, Target};
use serde_json::Value;

use super::Reader;
use crate::actuator::live_read::{self, Read, Scope};
use crate::workloads::is_controlled_by;

impl Reader<'_> {
    /// Adds what the revisions of the object say, if the outcome of a restart depends on it.
    pub(super) async fn ask_for_revisions(&self, target: &mut Target) {
        let write = self.state.open_write(&target.id.uid).filter(|write| write.asks_for_revisions(target));
        if let Some(write) = write {
            target.revision = self.revision(target, write).await;
        }
    }

    async fn revision(&self, target: &Target, write: &OperationWrite) -> Revision {
        let profile = self.profile(&target.object);
        let revisions = profile.and_then(|profile| profile.restart.as_ref()?.revisions);
        let Some((api_version, kind)) = revisions.map(|revisions| revisions.kind()) else {
            return Revision::NotAsked;
        };
        let unread = |why| Revision::Unknown(format!("its {kind}s cannot be listed: {why}"));
        let served = match self.kinds.discovery.resolve(api_version, kind).await {
            Ok(served) => served,
            Err(error) => return unread(error.to_string()),
        };
        let has_value = |revision: Arc<Value>| {
            let is_its = is_controlled_by(&revision, &target.id.uid);
            (is_its && write.is_in_revision(&revision)).then_some(())
        };
        let scope = Scope { namespace: &target.id.namespace, labels: "", fields: "" };
        match live_read::list(self.client, &served, scope, &has_value).await {
            Read::Found(with_value) if with_value.is_empty() => Revision::HasNone,
            Read::Found(_) => Revision::HasValue,
            Read::Gone => unread("they are not served".to_owned()),
            Read::Refused(why) | Read::Failed(why) => unread(why),
        }
    }
}
