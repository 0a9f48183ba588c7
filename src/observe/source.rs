//! Where a signal is read from: its watches and what they count, a question, or what others send.

use std::collections::BTreeSet;
use std::sync::Arc;

use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Signal;
use firebreak_engine::selector::Namespaces;
use firebreak_engine::signal::{SignalKind, Watched};

use super::fold::{Judge, Of};
use super::kind::Kind;
use super::kinds::{Events, Nodes, Objects, Pods, Workloads};
use super::poll::PollKey;
use super::push::Pushed;
use super::selector::selector_text;
use crate::workloads::Profiles;

/// Where a signal is read from.
pub(super) enum Source {
    /// Objects are watched and counted.
    Watch {
        /// What is looked at in each object.
        judge: Arc<dyn Judge>,
        /// Each reads one part of the scope.
        watches: Vec<WatchKey>,
    },
    /// A question is asked, as this account.
    Poll {
        /// The question.
        key: PollKey,
        /// The ServiceAccount.
        account: String,
    },
    /// Alerts are sent to Firebreak.
    Push(Pushed),
}

/// Signals with the same key share a watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WatchKey {
    /// The ServiceAccount.
    pub account: String,
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Only these; empty for all.
    pub names: BTreeSet<String>,
    /// None for the whole cluster.
    pub namespace: Option<String>,
    /// As the API wants it.
    pub selector: String,
    /// Which fields they have, as the API wants it.
    pub fields: String,
    /// The kind of signal.
    pub signal: &'static str,
    /// What distinguishes it from others of its kind.
    pub identity: Option<String>,
}

impl Source {
    /// The source of a signal of a policy in this namespace, read as `account`; or why there is none.
    pub(super) fn of(
        namespace: &str,
        account: &str,
        profiles: &Profiles,
        signal: &Signal,
    ) -> Result<Self, Reading> {
        let reader = Reader { signal: signal.kind.name(), namespace, account };
        match &signal.kind {
            SignalKind::Events(events) => reader.watch(events.watched(), Events::of(events)),
            SignalKind::Nodes(nodes) => reader.watch(nodes.watched(), Nodes::of(nodes, signal.expect_within)),
            SignalKind::Objects(objects) => {
                let watched = objects.watched();
                let profile = profiles.find(watched.api_version, watched.kind).cloned();
                let of_profile = || profile.as_ref().map(|profile| profile.healthy.clone());
                let healthy = objects.healthy.clone().or_else(of_profile);
                reader.watch(watched, Objects { healthy, profile })
            }
            SignalKind::Pods(pods) => reader.watch(pods.watched(), Pods::of(pods)),
            SignalKind::Workloads(workloads) => {
                let watched = workloads.watched();
                let Some(profile) = profiles.find(watched.api_version, watched.kind) else {
                    let detail = format!(
                        "{} {} has no profile, so Firebreak does not know which field has its replicas",
                        watched.api_version, watched.kind
                    );
                    return Err(unknown("NoProfile", &detail));
                };
                reader.watch(watched, Workloads { profile: Arc::clone(profile) })
            }
            SignalKind::Alertmanager(_)
            | SignalKind::Http(_)
            | SignalKind::Metrics(_)
            | SignalKind::Prometheus(_) => match signal.hearing {
                Some(hearing) => Ok(Self::Push(Pushed::new(hearing))),
                None => reader.poll(signal),
            },
        }
    }
}

/// The reader of a signal, and the policy for which it reads.
struct Reader<'a> {
    signal: &'static str,
    namespace: &'a str,
    account: &'a str,
}

impl Reader<'_> {
    fn poll(self, signal: &Signal) -> Result<Source, Reading> {
        let key = PollKey::of(signal, self.namespace, self.account)?;
        Ok(Source::Poll { key, account: self.account.to_owned() })
    }

    /// One watch for each namespace, or one for the whole cluster.
    fn watch(self, watched: Watched<'_>, kind: impl Kind) -> Result<Source, Reading> {
        let Watched { api_version, kind: of, names, selector, namespaces } = watched;
        let selector = selector_text(selector).map_err(|why| unknown("BadSelector", &why))?;
        let names: BTreeSet<String> = names.iter().cloned().collect();
        let key = |namespace: Option<String>| WatchKey {
            account: self.account.to_owned(),
            api_version: api_version.to_owned(),
            kind: of.to_owned(),
            names: names.clone(),
            namespace,
            selector: selector.clone(),
            fields: kind.fields(),
            signal: self.signal,
            identity: kind.identity(),
        };
        let watches = places(namespaces, self.namespace).into_iter().map(key).collect();
        Ok(Source::Watch { judge: Arc::new(Of { kind, names }), watches })
    }
}

/// Where to watch, for a policy in the namespace `own`; none is the whole cluster.
pub(super) fn places(namespaces: Namespaces<'_>, own: &str) -> BTreeSet<Option<String>> {
    match namespaces {
        Namespaces::Own => BTreeSet::from([Some(own.to_owned())]),
        Namespaces::All => BTreeSet::from([None]),
        Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
    }
}

/// A reading without values.
pub(super) fn unknown(reason: &str, detail: &str) -> Reading {
    Reading::Unknown { reason: reason.to_owned(), detail: detail.to_owned() }
}
