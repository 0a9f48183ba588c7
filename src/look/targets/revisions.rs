//! The revisions of an object: each template that its controller has seen. They tell whether a restart took effect whose
//! answer was lost, and whose value someone has replaced since.

use std::sync::Arc;

use firebreak_engine::change::{OperationWrite, in_revision};
use firebreak_engine::facts::{Revision, Target};
use firebreak_engine::id::ChangeId;
use serde_json::Value;

use super::Reader;
use crate::actuator::live_read::{self, Read, Scope};
use crate::workloads::is_controlled_by;

impl Reader<'_> {
    /// Adds what the revisions of the object say, if the outcome of a restart depends on it.
    pub(super) async fn ask_for_revisions(&self, target: &mut Target) {
        let asked = self.state.asks_for_revisions(target);
        if !asked.is_empty() {
            target.revision = self.revision(target, &asked).await;
        }
    }

    async fn revision(&self, target: &Target, asked: &[(&ChangeId, &OperationWrite)]) -> Revision {
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
        let found = |revision: Arc<Value>| {
            let is_its = is_controlled_by(&revision, &target.id.uid);
            is_its.then(|| in_revision(asked, &revision))
        };
        let scope = Scope { namespace: &target.id.namespace, labels: "", fields: "" };
        match live_read::list(self.client, &served, scope, &found).await {
            Read::Found(changes) => Revision::Has(changes.into_iter().flatten().collect()),
            Read::Gone => unread("they are not served".to_owned()),
            Read::Refused(why) | Read::Failed(why) => unread(why),
        }
    }
}
