//! The nodes of the cluster, for steps that release pods from some of them.

use std::sync::Arc;

use firebreak_engine::action::Action;
use firebreak_engine::facts::{Purpose, Stage, Target};
use firebreak_engine::placement::Nodes;
use firebreak_engine::verdict::Verdict;

use super::Reader;
use crate::actuator::live_read::{self, Read, Scope};

impl Reader<'_> {
    /// Adds the nodes to the targets to whose plan they matter. They are listed once for all live reads of one round, and only if there is such a target.
    pub(super) async fn ask_for_nodes(&self, action: &Action, targets: &mut [Target]) {
        let asks = |target: &Target| {
            target.purpose == Purpose::Change
                && target.stage == Stage::Targets
                && target.matched != Verdict::False
                && action.kind().asks_for_nodes(target)
        };
        if !targets.iter().any(asks) {
            return;
        }
        let nodes = self.nodes.get_or_init(|| self.list_nodes()).await;
        for target in targets.iter_mut().filter(|target| asks(target)) {
            target.nodes = nodes.clone();
        }
    }

    async fn list_nodes(&self) -> Nodes {
        let unread = |why: String| Nodes::Unknown(format!("the nodes cannot be listed: {why}"));
        let kind = match self.kinds.discovery.resolve("v1", "Node").await {
            Ok(kind) => kind,
            Err(error) => return unread(error.to_string()),
        };
        let scope = Scope { namespace: "", labels: "", fields: "" };
        let node = |object| self.target(object, None).ok()?.slots.node;
        match live_read::list(self.client, &kind, scope, &node).await {
            Read::Found(nodes) => Nodes::Known(Arc::new(nodes)),
            Read::Gone => unread("the cluster has none".to_owned()),
            Read::Refused(why) | Read::Failed(why) => unread(why),
        }
    }
}
