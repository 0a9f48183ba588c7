//! The pollers of all policies, and what they know.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use firebreak_engine::facts::Reading;
use kube::Client;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::poller::{Poller, Signals};
use super::question::PollKey;
use super::state::PollState;
use crate::configuration::EndpointsInForce;
use crate::observe::doubt::Doubts;
use crate::observe::hub::PolicyKey;
use crate::observe::source::unknown;

/// Who asks: a ServiceAccount.
#[derive(Clone)]
pub struct Asker {
    /// Any text that names it.
    pub account: String,
    /// The namespace of its policies.
    pub namespace: String,
    /// Acts as it.
    pub client: Client,
}

/// A signal of a policy.
pub type Reader = (PolicyKey, String);

/// The pollers, each with those who read it.
#[derive(Default)]
pub struct Polls(BTreeMap<PollKey, Shared>);

struct Shared {
    board: Arc<Board>,
    /// The account of each reader.
    readers: BTreeMap<Reader, String>,
    _task: AbortOnDropHandle<()>,
}

/// What is known of one question, by ServiceAccount.
#[derive(Default)]
pub struct Board {
    known: Mutex<BTreeMap<String, Standing>>,
    /// Notified when an account joins.
    pub joined: Notify,
    /// Notified when something may become too old sooner than before.
    pub moved: Notify,
}

struct Standing {
    asker: Asker,
    state: PollState,
}

impl Board {
    /// Everyone who asks.
    pub fn askers(&self) -> Vec<Asker> {
        self.lock().values().map(|standing| standing.asker.clone()).collect()
    }

    /// Changes what one account knows, if it still asks.
    pub fn edit(&self, account: &str, change: impl FnOnce(&mut PollState)) {
        if let Some(standing) = self.lock().get_mut(account) {
            change(&mut standing.state);
        }
    }

    /// Changes what everyone knows.
    pub fn edit_all(&self, mut change: impl FnMut(&mut PollState)) {
        self.lock().values_mut().for_each(|standing| change(&mut standing.state));
    }

    /// When the first value becomes too old.
    pub fn until(&self) -> Option<Instant> {
        self.lock().values().filter_map(|standing| standing.state.until()).min()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Standing>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an account is new here.
    fn join(&self, asker: &Asker) -> bool {
        let mut known = self.lock();
        let is_new = !known.contains_key(&asker.account);
        if is_new {
            let standing = Standing { asker: asker.clone(), state: PollState::default() };
            known.insert(asker.account.clone(), standing);
        }
        is_new
    }
}

impl Polls {
    /// Adds a reader, and starts the poller if it is the first one.
    pub fn add(
        &mut self,
        key: &PollKey,
        reader: Reader,
        asker: &Asker,
        endpoints: &EndpointsInForce,
        signals: impl FnOnce() -> Signals,
    ) {
        let shared = match self.0.entry(key.clone()) {
            Entry::Occupied(shared) => {
                let shared = shared.into_mut();
                if shared.board.join(asker) {
                    // It need not wait for the next time.
                    shared.board.joined.notify_one();
                }
                shared
            }
            Entry::Vacant(place) => {
                let board = Arc::new(Board::default());
                board.join(asker);
                let poller = Poller::new(key.clone(), endpoints.clone(), Arc::clone(&board), signals());
                let task = AbortOnDropHandle::new(tokio::spawn(poller.run()));
                place.insert(Shared { board, readers: BTreeMap::new(), _task: task })
            }
        };
        shared.readers.insert(reader, asker.account.clone());
    }

    /// Takes the readers of a policy away. What nobody reads ends with [`Self::tidy`].
    pub fn forget(&mut self, policy: &PolicyKey) {
        for shared in self.0.values_mut() {
            shared.readers.retain(|(reader, _), _| reader != policy);
        }
    }

    /// Ends what nobody reads any more.
    pub fn tidy(&mut self) {
        self.0.retain(|_, shared| !shared.readers.is_empty());
        for shared in self.0.values_mut() {
            let accounts: BTreeSet<&String> = shared.readers.values().collect();
            shared.board.lock().retain(|account, _| accounts.contains(account));
        }
    }

    /// The readers of a question.
    pub fn readers(&self, key: &PollKey) -> impl Iterator<Item = &Reader> {
        self.0.get(key).into_iter().flat_map(|shared| shared.readers.keys())
    }

    /// The objects of which an account does not know something.
    pub fn doubts(&self, key: &PollKey, account: &str) -> Doubts {
        let known = self.0.get(key).map(|shared| shared.board.lock());
        known.and_then(|known| Some(known.get(account)?.state.doubts())).unwrap_or_default()
    }

    /// What an account knows of a question.
    pub fn read(&self, key: &PollKey, account: &str) -> Reading {
        let Some(shared) = self.0.get(key) else {
            return unknown(Reading::NOT_SYNCED, "it has not been read yet");
        };
        match shared.board.lock().get_mut(account) {
            Some(standing) => {
                // Checked here too, because the poller may be late.
                standing.state.expire(Instant::now(), key.max_age());
                standing.state.reading()
            }
            None => PollState::default().reading(),
        }
    }
}
