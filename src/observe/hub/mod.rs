//! The subscriptions: policies subscribe signals, and signals share watches and pollers.

mod changes;
mod subscription;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use firebreak_engine::alerts::ReceivedAlerts;
use firebreak_engine::common::Census;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::{Rules, Signal};
use futures::future::BoxFuture;
use jiff::Timestamp;
use kube::Client;
use tokio_util::task::AbortOnDropHandle;

pub use self::changes::Changes;
use self::changes::Pending;
use self::subscription::{ReadFrom, Shared, Subscription, unread};
use super::doubt::{Doubt, Doubts};
use super::fold::Judge;
use super::poll::{self, Asker, PollKey, Reader};
use super::source::{Source, WatchKey};
use super::sync_state::SyncState;
use super::watch::{Scope, Served, Signals, Unresolved, Watch};
use crate::configuration::{EndpointsInForce, ProfilesInForce};
use crate::workloads::Profiles;

/// Finds the resource of an apiVersion and kind. It is called whenever a watch is opened, so it should remember
/// answers; that a kind is absent, only briefly.
pub type Resolve =
    Arc<dyn Fn(String, String) -> BoxFuture<'static, Result<Served, Unresolved>> + Send + Sync>;

/// Called for each error with the kind of signal, as the API names it, and the error in one word.
pub type ErrorCounter = Arc<dyn Fn(&'static str, &'static str) + Send + Sync>;

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// The watches and the pollers of all policies. Cheap to clone; the last clone ends them.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    profiles: ProfilesInForce,
    endpoints: EndpointsInForce,
    resolve: Resolve,
    errors: ErrorCounter,
    pending: Arc<Pending>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    policies: BTreeMap<PolicyKey, BTreeMap<String, Subscription>>,
    subscribed: BTreeMap<PolicyKey, Subscribed>,
    read_from: ReadFrom,
}

/// The subscription of a policy. As long as it is the same, there is nothing to do.
struct Subscribed {
    account: String,
    profiles: Arc<Profiles>,
    signals: Vec<Signal>,
}

impl Subscribed {
    fn is(&self, account: &str, profiles: &Arc<Profiles>, signals: &[Signal]) -> bool {
        self.account == account && Arc::ptr_eq(&self.profiles, profiles) && self.signals == signals
    }
}

impl Hub {
    /// A hub without watches.
    pub fn new(
        profiles: impl Into<ProfilesInForce>,
        endpoints: impl Into<EndpointsInForce>,
        resolve: Resolve,
        errors: ErrorCounter,
    ) -> (Self, Changes) {
        let pending = Arc::new(Pending::default());
        let inner = Inner {
            profiles: profiles.into(),
            endpoints: endpoints.into(),
            resolve,
            errors,
            pending: Arc::clone(&pending),
            state: Mutex::default(),
        };
        let inner = Arc::new(inner);
        let changes = Changes(pending, Arc::downgrade(&inner));
        (Self(inner), changes)
    }

    /// Reads these signals for a policy as the ServiceAccount `account` (any text that names it),
    /// whose client is given. Replaces the previous subscription of the policy; watches that stay the same
    /// continue. Must be called within a tokio runtime.
    pub fn subscribe(&self, policy: &PolicyKey, account: &str, client: &Client, signals: &[Signal]) {
        let profiles = self.0.profiles.now();
        let mut state = self.state();
        if state.subscribed.get(policy).is_some_and(|before| before.is(account, &profiles, signals)) {
            return;
        }
        let subscribed = Subscribed {
            account: account.to_owned(),
            profiles: Arc::clone(&profiles),
            signals: signals.to_vec(),
        };
        state.subscribed.insert(policy.clone(), subscribed);
        let mut subscriptions = BTreeMap::new();
        state.read_from.forget_reader(policy);
        for signal in signals {
            let source = Source::of(&policy.namespace, account, &profiles, signal);
            let reader = (policy.clone(), signal.name.clone());
            match &source {
                Ok(Source::Watch { judge, watches }) => {
                    for key in watches {
                        let watch = match state.read_from.watches.entry(key.clone()) {
                            Entry::Occupied(shared) => shared.into_mut(),
                            Entry::Vacant(place) => place.insert(self.start(key, client, judge)),
                        };
                        watch.readers.insert(reader.clone());
                    }
                }
                Ok(Source::Poll { key, account }) => {
                    let (namespace, client) = (policy.namespace.clone(), client.clone());
                    let asker = Asker { account: account.clone(), namespace, client };
                    state.read_from.polls.add(key, reader, &asker, &self.0.endpoints, || self.reports(key));
                }
                // What was sent is handed over with `hear`.
                Ok(Source::Push(_)) | Err(_) => {}
            }
            let mut subscription = Subscription::new(signal, source);
            subscription.refresh(&state.read_from);
            subscriptions.insert(signal.name.clone(), subscription);
        }
        state.read_from.end_what_nobody_reads();
        state.policies.insert(policy.clone(), subscriptions);
        // The next change by time may be an earlier one now.
        self.0.pending.wake.notify_one();
    }

    /// Takes what is known of the alerts that were sent to a policy, for its signals that count them.
    pub fn hear(&self, policy: &PolicyKey, alerts: &[ReceivedAlerts]) {
        let mut state = self.state();
        let State { policies, read_from, subscribed: _ } = &mut *state;
        for (name, subscription) in policies.get_mut(policy).into_iter().flatten() {
            let Ok(Source::Push(pushed)) = &mut subscription.source else { continue };
            pushed.hear(alerts.iter().find(|known| known.signal == *name).cloned());
            if subscription.refresh(read_from) {
                lock(&self.0.pending.policies).insert(policy.clone());
            }
            // The next change by time may be an earlier one now.
            self.0.pending.wake.notify_one();
        }
    }

    /// What is known of alerts that are sent counts no more, until somebody looks into the status of each policy again.
    pub fn forget_alerts(&self) {
        let mut state = self.state();
        let State { policies, read_from, subscribed: _ } = &mut *state;
        for subscription in policies.values_mut().flat_map(|signals| signals.values_mut()) {
            if let Ok(Source::Push(pushed)) = &mut subscription.source {
                pushed.forget();
                subscription.refresh(read_from);
            }
        }
    }

    /// Ends the subscription of the policy, and the watches that nobody else reads.
    pub fn unsubscribe(&self, policy: &PolicyKey) {
        let mut state = self.state();
        if state.policies.remove(policy).is_none() {
            return;
        }
        state.subscribed.remove(policy);
        state.read_from.forget_reader(policy);
        state.read_from.end_what_nobody_reads();
        lock(&self.0.pending.policies).remove(policy);
    }

    /// The present reading of a signal.
    pub fn reading(&self, policy: &PolicyKey, signal: &str) -> Reading {
        let state = self.state();
        match state.policies.get(policy).and_then(|signals| signals.get(signal)) {
            Some(subscription) => subscription.read(&state.read_from, Timestamp::now()).0,
            None => unread(),
        }
    }

    /// The present readings of the signals of a policy.
    pub fn readings(&self, policy: &PolicyKey, rules: &Rules) -> BTreeMap<String, Reading> {
        let reading = |name: &String| self.reading(policy, name);
        rules.signals.iter().map(|signal| (signal.name.clone(), reading(&signal.name))).collect()
    }

    /// The objects of the signals of a policy by their labels, of those signals of which labels are kept.
    pub fn censuses(&self, policy: &PolicyKey) -> BTreeMap<String, Census> {
        let (state, now) = (self.state(), Timestamp::now());
        let signals = state.policies.get(policy).into_iter().flatten();
        let censuses = signals.map(|(name, it)| (name.clone(), it.census(&state.read_from, now)));
        censuses.filter(|(_, census)| *census != Census::default()).collect()
    }

    /// Objects of the signal that cannot be read or judged.
    pub fn doubts(&self, policy: &PolicyKey, signal: &str) -> Doubts {
        let state = self.state();
        let source = state.policies.get(policy).and_then(|signals| signals.get(signal));
        let watches = match source.map(|it| it.source.as_ref()) {
            Some(Ok(Source::Watch { watches, .. })) => watches,
            Some(Ok(Source::Poll { key, account })) => return state.read_from.polls.doubts(key, account),
            Some(Ok(Source::Push(_)) | Err(_)) | None => return Doubts::default(),
        };
        let (mut uncounted, mut unjudged) = (Doubt::default(), Doubt::default());
        for sync in watches.iter().filter_map(|key| Some(&state.read_from.watches.get(key)?.sync)) {
            if let Some(fold) = lock(sync).fold() {
                (uncounted, unjudged) = (uncounted.and(fold.uncounted()), unjudged.and(fold.unjudged()));
            }
        }
        Doubts { uncounted: uncounted.told("read"), unjudged: unjudged.told("judged") }
    }

    /// What the poller of a question reports.
    fn reports(&self, key: &PollKey) -> poll::Signals {
        let (errors, signal) = (Arc::clone(&self.0.errors), key.question.signal());
        // The hub owns the poller, so the poller must not own the hub.
        let (hub, key) = (Arc::downgrade(&self.0), key.clone());
        poll::Signals {
            changed: Box::new(move || answered(&hub, &key)),
            error: Arc::new(move |what| errors(signal, what)),
        }
    }

    /// How many watches there are.
    pub fn watches(&self) -> usize {
        self.state().read_from.watches.len()
    }

    fn start(&self, key: &WatchKey, client: &Client, judge: &Arc<dyn Judge>) -> Shared {
        let sync = Arc::new(Mutex::new(SyncState::new()));
        let (errors, signal) = (Arc::clone(&self.0.errors), key.signal);
        let (api_version, kind) = (key.api_version.clone(), key.kind.clone());
        let resolve = Arc::clone(&self.0.resolve);
        let scope = Scope {
            client: client.clone(),
            resolve: Box::new(move || resolve(api_version.clone(), kind.clone())),
            namespace: key.namespace.clone(),
            selector: key.selector.clone(),
            fields: key.fields.clone(),
            judge: Arc::clone(judge),
        };
        // The hub owns the watch, so the watch must not own the hub.
        let (hub, key) = (Arc::downgrade(&self.0), key.clone());
        let signals = Signals {
            changed: Box::new(move || changed(&hub, &key)),
            error: Box::new(move |what| errors(signal, what)),
        };
        let watch = Watch::new(scope, signals, Arc::clone(&sync));
        let task = AbortOnDropHandle::new(tokio::spawn(watch.run()));
        Shared { sync, readers: BTreeSet::new(), _task: task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

/// Compares what the readers of a watch were told last with its present state.
fn changed(hub: &Weak<Inner>, key: &WatchKey) {
    let Some(hub) = hub.upgrade() else { return };
    let mut state = lock(&hub.state);
    let Some(watch) = state.read_from.watches.get(key) else { return };
    let readers: Vec<_> = watch.readers.iter().cloned().collect();
    state.compare(&readers, &hub.pending);
}

/// The same for the readers of a question.
fn answered(hub: &Weak<Inner>, key: &PollKey) {
    let Some(hub) = hub.upgrade() else { return };
    let mut state = lock(&hub.state);
    let readers: Vec<_> = state.read_from.polls.readers(key).cloned().collect();
    state.compare(&readers, &hub.pending);
}

impl State {
    /// Notifies the policies whose readings have changed.
    fn compare(&mut self, readers: &[Reader], pending: &Pending) {
        let Self { policies, read_from, subscribed: _ } = self;
        for (policy, signal) in readers {
            let subscription = policies.get_mut(policy).and_then(|signals| signals.get_mut(signal));
            let Some(subscription) = subscription else { continue };
            if subscription.refresh(read_from) {
                lock(&pending.policies).insert(policy.clone());
                pending.wake.notify_one();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
