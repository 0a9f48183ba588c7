//! All objects of a kind in the namespaces of some others: their autoscalers, and the Rollouts that may run their pods.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::id::TargetId;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::autoscalers::Kind;
use super::{LISTS, Reader};
use crate::actuator::live_read::{self, Read, Scope};
use crate::kubernetes::discovery::ResolveError;

/// The objects of a kind by namespace; the error is for people.
pub(super) type ByNamespace = BTreeMap<String, Result<Vec<Arc<Value>>, String>>;

impl Reader<'_> {
    /// All objects of this kind in the namespaces of these objects.
    pub(super) async fn all_beside<'i>(
        &self,
        kind: Kind,
        ids: impl IntoIterator<Item = &'i TargetId>,
    ) -> ByNamespace {
        let namespaces: BTreeSet<String> = ids
            .into_iter()
            .map(|id| id.namespace.clone())
            .filter(|namespace| !namespace.is_empty())
            .collect();
        stream::iter(namespaces)
            .map(|namespace| async move {
                let all = self.all_in(kind, &namespace).await;
                (namespace, all)
            })
            .buffer_unordered(LISTS)
            .collect()
            .await
    }

    async fn all_in(&self, kind: Kind, namespace: &str) -> Result<Vec<Arc<Value>>, String> {
        let unread =
            |why: String| format!("the {}s in namespace {namespace} cannot be listed: {why}", kind.1);
        let served = match self.kinds.discovery.resolve(kind.0, kind.1).await {
            Ok(served) => served,
            // If the kind is not installed there are none.
            Err(ResolveError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error @ (ResolveError::Malformed(_) | ResolveError::Unreachable { .. })) => {
                return Err(unread(error.to_string()));
            }
        };
        let scope = Scope { namespace, labels: "", fields: "" };
        match live_read::list(self.client, &served, scope, &Some).await {
            Read::Found(all) => Ok(all),
            Read::Gone => Ok(Vec::new()),
            Read::Refused(why) | Read::Failed(why) => Err(unread(why)),
        }
    }
}
