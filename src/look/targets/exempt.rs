//! Namespaces that are exempt from every response.

use std::collections::BTreeSet;

use firebreak_engine::facts::{Purpose, Target};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};

use super::{IN_FLIGHT, Reader, Unread, found};
use crate::actuator::live_read;
use crate::workloads;

/// What must be known of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exemption {
    /// Whether it is exempt, or nothing in it is changed.
    MustBeKnown,
    /// Whether it is exempt, if it may be read: nothing is changed anyway.
    IfItMayBeRead,
}

impl Reader<'_> {
    /// The namespaces that are exempt, among those of the objects that may be changed.
    pub(super) async fn exempt_namespaces(&self, targets: &[Target]) -> Result<BTreeSet<String>, Unread> {
        let may_be_changed = targets.iter().filter(|target| target.purpose == Purpose::Change);
        let names: BTreeSet<String> = may_be_changed.map(|target| target.id.namespace.clone()).collect();
        stream::iter(names.into_iter().filter(|name| !name.is_empty()))
            .map(|name| async move { Ok(self.is_exempt(&name).await?.then_some(name)) }.boxed())
            .buffered(IN_FLIGHT)
            .try_filter_map(|name| std::future::ready(Ok(name)))
            .try_collect()
            .await
    }

    /// Whether a namespace is exempt. A namespace that cannot be read might be, so
    /// then nothing in the listing is changed, unless nothing is to be changed at all.
    pub(super) async fn is_exempt(&self, name: &str) -> Result<bool, Unread> {
        let kind = self.resolve("v1", "Namespace").await?;
        match found(live_read::named(self.client, &kind, "", name).await) {
            Ok(namespace) => Ok(namespace.is_some_and(|namespace| workloads::is_exempt(&namespace))),
            Err(Unread::Refused(_)) if self.exemption == Exemption::IfItMayBeRead => Ok(false),
            Err(unread) => Err(unread.of(&format!("whether namespace {name} is exempt"))),
        }
    }
}
