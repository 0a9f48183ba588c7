//! What a candidate knows about the Lease, and whether it may write it. No client.
//!
//! A candidacy starts with the first write that this process tries and ends with the term. Its
//! `acquireTime` is kept in every write and distinguishes our own writes from those of a process with the same
//! name, so a write whose reply was lost is recognized.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use tokio::time::Instant;

/// The knowledge of one candidate.
pub(super) struct Candidacy {
    identity: String,
    duration: Duration,
    acquired: Option<MicroTime>,
    /// The version of another holder's Lease that was seen last, and when it was first seen.
    watched: Option<(String, Instant)>,
    /// The last renewal that was not ours.
    previous_renewal: Option<Timestamp>,
    /// Whether a Lease under our name is ours to continue.
    name_is_ours: bool,
}

impl Candidacy {
    pub(super) fn new(identity: String, duration: Duration) -> Self {
        Self { identity, duration, acquired: None, watched: None, previous_renewal: None, name_is_ours: true }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether a write was tried that may have taken effect.
    pub(super) fn has_written(&self) -> bool {
        self.acquired.is_some()
    }

    pub(super) fn previous_renewal(&self) -> Option<Timestamp> {
        self.previous_renewal
    }

    /// Whether a Lease is the one that this candidacy wrote.
    pub(super) fn wrote(&self, spec: &LeaseSpec) -> bool {
        self.has_written()
            && spec.acquire_time == self.acquired
            && spec.holder_identity.as_deref() == Some(&self.identity)
    }

    /// Whether the Lease that was just read may be taken; otherwise its holder.
    pub(super) fn may_take(&mut self, lease: &Lease) -> Result<(), String> {
        let spec = lease.spec.clone().unwrap_or_default();
        let ours = self.wrote(&spec);
        if !ours {
            self.previous_renewal = spec.renew_time.as_ref().map(|at| at.0);
        }
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let own_name = holder == self.identity && (self.name_is_ours || ours);
        let version = lease.metadata.resource_version.as_deref().unwrap_or("");
        if own_name || holder.is_empty() || self.has_expired(version, &spec) { Ok(()) } else { Err(holder) }
    }

    /// Whether a missing Lease may be created. If it existed a moment ago, someone deleted it, and its
    /// holder does not know yet.
    pub(super) fn may_create(&mut self) -> bool {
        self.previous_renewal = None;
        self.watched.as_ref().is_none_or(|(_, since)| since.elapsed() > self.duration)
    }

    /// Whether the object has not changed for as long as its holder may be silent, by our own clock.
    fn has_expired(&mut self, version: &str, spec: &LeaseSpec) -> bool {
        let since = match &self.watched {
            Some((seen, since)) if seen == version => *since,
            Some(_) | None => {
                let now = Instant::now();
                self.watched = Some((version.to_owned(), now));
                now
            }
        };
        let theirs = spec.lease_duration_seconds.unwrap_or(0);
        let theirs = Duration::from_secs(theirs.try_into().unwrap_or(0));
        since.elapsed() > theirs.max(self.duration)
    }

    /// The spec to write over what was found.
    pub(super) fn spec(&mut self, found: Option<LeaseSpec>) -> LeaseSpec {
        let now = now();
        let acquired = self.acquired.get_or_insert_with(|| now.clone()).clone();
        let seconds = self.duration.as_millis().div_ceil(1000).max(1);
        let transitions = found.as_ref().map_or(0, |found| {
            let changed = found.holder_identity.as_deref() != Some(&self.identity);
            let before = found.lease_transitions.unwrap_or(0);
            before.saturating_add(i32::from(changed))
        });
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(acquired),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..found.unwrap_or_default()
        }
    }

    /// Another process holds our Lease. If it has our name, the name is not unique.
    pub(super) fn lost_to(&mut self, spec: Option<&LeaseSpec>) -> &'static str {
        let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
        if holder == Some(&self.identity) {
            self.name_is_ours = false;
            "another process uses this identity"
        } else {
            "another process holds the lease"
        }
    }

    /// The term is over. What was seen before it tells nothing about the time of the next holder.
    pub(super) fn end(&mut self) {
        self.acquired = None;
        self.watched = None;
    }
}

/// The wall clock with the precision of the API, so that a stored time compares equal.
pub(super) fn now() -> MicroTime {
    let now = Timestamp::now();
    MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}
