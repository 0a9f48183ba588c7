//! One signal of one policy: where it is read from, and its reading.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use firebreak_engine::common::Census;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Signal;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::lock;
use crate::observe::counts::Counts;
use crate::observe::poll::{Polls, Reader};
use crate::observe::source::{Source, WatchKey, unknown};
use crate::observe::sync_state::SyncState;

/// One signal of one policy.
pub(super) struct Subscription {
    /// What it reads, or why it cannot be read at all.
    pub(super) source: Result<Source, Reading>,
    last: Reading,
    /// When the reading changes by time alone.
    pub(super) changes_at: Option<Timestamp>,
    /// The fields that expressions of the policy read.
    read_fields: BTreeSet<String>,
}

/// What subscriptions share.
#[derive(Default)]
pub(super) struct ReadFrom {
    pub(super) watches: BTreeMap<WatchKey, Shared>,
    pub(super) polls: Polls,
}

/// A watch, and who reads it.
pub(super) struct Shared {
    pub(super) sync: Arc<Mutex<SyncState>>,
    pub(super) readers: BTreeSet<Reader>,
    pub(super) _task: AbortOnDropHandle<()>,
}

impl Subscription {
    /// A signal that nobody has read yet.
    pub(super) fn new(signal: &Signal, source: Result<Source, Reading>) -> Self {
        Self { source, last: unread(), changes_at: None, read_fields: signal.read_fields.clone() }
    }

    /// Reads the signal. Returns whether its reading has changed. That something grows that no expression reads is no change:
    /// a policy would be decided once a second because of a pod that waits.
    pub(super) fn refresh(&mut self, read_from: &ReadFrom) -> bool {
        let (mut reading, changes_at) = self.read(read_from, Timestamp::now());
        self.changes_at = changes_at;
        if let (Reading::Known { values }, Ok(Source::Watch { judge, .. })) = (&mut reading, &self.source) {
            let ignored = judge.growing().iter().filter(|field| !self.read_fields.contains(**field));
            ignored.for_each(|field| drop(values.remove(*field)));
        }
        std::mem::replace(&mut self.last, reading) != self.last
    }

    /// The reading at this moment, and when a field of it that is read changes by time alone.
    pub(super) fn read(&self, read_from: &ReadFrom, now: Timestamp) -> (Reading, Option<Timestamp>) {
        match &self.source {
            Ok(Source::Watch { judge, watches: keys }) => match count(keys, &read_from.watches) {
                Ok(counts) => {
                    let values = judge.values(&counts, now);
                    (Reading::Known { values }, judge.changes_at(&counts, &self.read_fields, now))
                }
                Err(reading) => (reading, None),
            },
            Ok(Source::Poll { key, account }) => (read_from.polls.read(key, account), None),
            Ok(Source::Push(pushed)) => pushed.reading(now),
            Err(reading) => (reading.clone(), None),
        }
    }

    /// The objects by their labels at this moment; none if they are not known.
    pub(super) fn census(&self, read_from: &ReadFrom, now: Timestamp) -> Census {
        match &self.source {
            Ok(Source::Watch { judge, watches: keys }) => {
                count(keys, &read_from.watches).map(|counts| judge.census(&counts, now)).unwrap_or_default()
            }
            Ok(Source::Poll { .. } | Source::Push(_)) | Err(_) => Census::default(),
        }
    }
}

impl ReadFrom {
    pub(super) fn forget_reader(&mut self, policy: &super::PolicyKey) {
        for watch in self.watches.values_mut() {
            watch.readers.retain(|(reader, _)| reader != policy);
        }
        self.polls.forget(policy);
    }

    pub(super) fn end_what_nobody_reads(&mut self) {
        self.watches.retain(|_, watch| !watch.readers.is_empty());
        self.polls.tidy();
    }
}

/// The reading of a signal that nobody has read yet.
pub(super) fn unread() -> Reading {
    unknown(Reading::NOT_SYNCED, "it has not been read yet")
}

/// Known only if every watch of the signal knows its scope.
fn count(keys: &[WatchKey], watches: &BTreeMap<WatchKey, Shared>) -> Result<Counts, Reading> {
    let mut counts = Counts::default();
    for key in keys {
        let Some(watch) = watches.get(key) else {
            return Err(unread());
        };
        let mut sync = lock(&watch.sync);
        // Checked here too, because the watch may be late.
        sync.expire(Instant::now());
        match &*sync {
            SyncState::Known { fold, .. } => counts.absorb(fold.counts()),
            SyncState::Unknown { reason, detail } => {
                return Err(match &key.namespace {
                    Some(namespace) => unknown(reason, &format!("in namespace {namespace}: {detail}")),
                    None => unknown(reason, detail),
                });
            }
        }
    }
    Ok(counts)
}
