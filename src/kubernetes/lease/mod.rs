//! Which of several processes may act: leader election over a Lease.
//!
//! # Flow
//! A candidate looks at the Lease every `retry`. It takes a Lease that is free, expired or its own by
//! a PUT with the resourceVersion that it saw. The leader renews with one PUT every `retry` and sends
//! nothing else. Whoever wants to write asks [`Leadership::leads`] right before.
//!
//! # Guarantees
//! Two processes never lead at once. The server lets one PUT per resourceVersion pass. A leader
//! counts its time from *before* it sent its last successful PUT, and stops after `renew_deadline`. A
//! candidate counts from *after* it saw the object change, and waits for the longer `duration`.
//!
//! # Assumptions
//! The monotonic clocks of two machines run at the same speed within the ratio of `duration` to
//! `renew_deadline` (1.5). Wall clocks may differ at will; they are only written for people.
//!
//! # Caveats
//! A holder that restarts under its own name goes on at once, so a name must belong to one process
//! at a time. If it does not, the older process finds a claim that is not its own at its next
//! renewal, steps down, and from then on treats the name as a stranger's.
//!
//! # Errors
//! None reach the caller: an attempt that fails is logged and tried again until time is up.

mod standing;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::retry;
use standing::Publisher;
pub use standing::{Leadership, Standing, Term};

/// Attempts to give the Lease back at shutdown.
const RELEASE_ATTEMPTS: usize = 3;

/// The times of an election. They belong together, so only the first can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    duration: Duration,
    renew_deadline: Duration,
    retry: Duration,
}

impl LeaseTimes {
    /// The times that follow from how long a Lease outlives its last renewal: a leader gives up after
    /// 2/3 of it, and attempts are 2/15 of it apart.
    #[must_use]
    pub fn lasting(duration: Duration) -> Self {
        Self { duration, renew_deadline: duration * 2 / 3, retry: duration * 2 / 15 }
    }

    /// One attempt may take half the deadline, so that a lost reply leaves time for a second.
    fn attempt(self) -> Duration {
        self.renew_deadline / 2
    }
}

/// A candidate for one Lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    publisher: Publisher,
    /// The `acquireTime` of this process's claim: it tells our own writes from a namesake's.
    claim: Option<MicroTime>,
    /// What was seen last of somebody else's Lease, and when it was first seen like that.
    watched: Option<(String, Instant)>,
    terms: u64,
    /// The last renewal that was not ours.
    previous_renewal: Option<Timestamp>,
    /// Whether a Lease under our name is ours to continue.
    name_is_ours: bool,
}

/// A Lease that was just written by this process.
struct Held {
    lease: Lease,
    sent: Instant,
}

/// What one look at the Lease, or one write, came to.
enum Attempt {
    Held(Box<Held>),
    /// Somebody else holds it, or was faster.
    Beaten {
        holder: String,
    },
}

impl Election {
    /// A candidate, and the view of it for everybody else. The client must not repeat writes.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        times: LeaseTimes,
    ) -> (Self, Leadership) {
        let (publisher, leadership) = standing::channel();
        let election = Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            times,
            publisher,
            claim: None,
            watched: None,
            terms: 0,
            previous_renewal: None,
            name_is_ours: true,
        };
        (election, leadership)
    }

    /// Runs until `stop`, then gives the Lease back. Whatever acts must have ended before `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.compete()).await;
        self.publisher.standby("");
        self.release().await;
    }

    async fn compete(&mut self) {
        loop {
            let held = self.acquire().await;
            let valid_until = held.sent + self.times.renew_deadline;
            tracing::info!(lease = self.name, identity = self.identity, "leading");
            self.terms += 1;
            let term = Term { number: self.terms, previous_renewal: self.previous_renewal };
            self.publisher.lead(term, valid_until);
            let why = self.keep(held).await;
            self.publisher.standby("");
            tracing::warn!(lease = self.name, why, "no longer leading");
            // The next term is a new claim, and what was seen before says nothing about its time.
            self.claim = None;
            self.watched = None;
        }
    }

    /// Looks again and again until the Lease is ours.
    async fn acquire(&mut self) -> Held {
        loop {
            match timeout(self.times.attempt(), self.attempt()).await {
                Ok(Ok(Attempt::Held(held))) => return *held,
                Ok(Ok(Attempt::Beaten { holder })) => self.publisher.standby(&holder),
                Ok(Err(error)) => self.failed(&retry::explain(&error)),
                Err(_) => self.failed("no answer in time"),
            }
            sleep(self.times.retry).await;
        }
    }

    fn failed(&self, why: &str) {
        tracing::warn!(lease = self.name, why, "cannot look at the lease");
        self.publisher.unknown();
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            // If it was there a moment ago, somebody deleted it, and its holder does not know yet.
            let deleted_lately = self.watched.as_ref();
            if deleted_lately.is_some_and(|(_, since)| since.elapsed() <= self.times.duration) {
                return Ok(beaten());
            }
            return self.create().await;
        };
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let ours = self.is_ours(spec);
        if !ours {
            self.previous_renewal = spec.renew_time.as_ref().map(|at| at.0);
        }
        let own_name = holder == self.identity && (self.name_is_ours || ours);
        if !own_name && !holder.is_empty() && !self.has_expired(&lease) {
            return Ok(Attempt::Beaten { holder });
        }
        self.take(lease, &holder).await
    }

    async fn create(&mut self) -> Result<Attempt, kube::Error> {
        self.previous_renewal = None;
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec { lease_transitions: Some(0), ..self.filled(LeaseSpec::default()) }),
        };
        let sent = Instant::now();
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(lease) => Ok(held(lease, sent)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(beaten()),
            Err(error) => Err(error),
        }
    }

    async fn take(&mut self, mut lease: Lease, holder: &str) -> Result<Attempt, kube::Error> {
        let spec = lease.spec.take().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        let changed = i32::from(holder != self.identity);
        lease.spec = Some(LeaseSpec {
            lease_transitions: Some(transitions.saturating_add(changed)),
            ..self.filled(spec)
        });
        self.put(&lease).await
    }

    /// Renews until that is no longer possible, and says why.
    async fn keep(&mut self, held: Held) -> &'static str {
        let Held { mut lease, mut sent } = held;
        loop {
            let valid_until = sent + self.times.renew_deadline;
            sleep_until(sent + self.times.retry).await;
            match timeout_at(valid_until, self.renew_until_answered(&mut lease)).await {
                Ok(Ok(at)) => sent = at,
                Ok(Err(why)) => return why,
                Err(_) => return "the lease could not be renewed in time",
            }
            self.publisher.renewed(sent + self.times.renew_deadline);
        }
    }

    /// Repeats one renewal until the server has decided on it. The caller limits the time.
    async fn renew_until_answered(&mut self, lease: &mut Lease) -> Result<Instant, &'static str> {
        loop {
            if let Some(spec) = lease.spec.as_mut() {
                spec.renew_time = Some(now());
            }
            match timeout(self.times.attempt(), self.put(lease)).await {
                Ok(Ok(Attempt::Held(held))) => {
                    *lease = held.lease;
                    return Ok(held.sent);
                }
                Ok(Ok(Attempt::Beaten { .. })) => self.reread(lease).await?,
                Ok(Err(error)) => {
                    tracing::warn!(why = retry::explain(&error), "cannot renew the lease");
                    sleep(self.times.retry).await;
                }
                // The write may have been done; then the next one conflicts and is sorted out there.
                Err(_) => tracing::warn!("no answer to a renewal of the lease"),
            }
        }
    }

    /// After a conflict: goes on from the newer object if the claim in it is still ours. It is when
    /// the reply to an earlier renewal was lost, or somebody labelled the object.
    async fn reread(&mut self, lease: &mut Lease) -> Result<(), &'static str> {
        match timeout(self.times.attempt(), self.leases.get_opt(&self.name)).await {
            Ok(Ok(Some(newer))) if newer.spec.as_ref().is_some_and(|spec| self.is_ours(spec)) => {
                *lease = newer;
                Ok(())
            }
            Ok(Ok(Some(newer))) => {
                let holder = newer.spec.and_then(|spec| spec.holder_identity);
                if holder.as_deref() == Some(&self.identity) {
                    self.name_is_ours = false;
                    return Err("another process uses this identity");
                }
                Err("somebody else holds the lease")
            }
            Ok(Ok(None)) => Err("the lease was deleted"),
            Ok(Err(_)) | Err(_) => {
                sleep(self.times.retry).await;
                Ok(())
            }
        }
    }

    /// Gives the Lease back if it is ours, so that a successor need not wait for it to expire.
    async fn release(&mut self) {
        for _ in 0..RELEASE_ATTEMPTS {
            if self.claim.is_none() {
                return;
            }
            match timeout(self.times.attempt(), self.try_release()).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(why = retry::explain(&error), "cannot release the lease");
                }
                Err(_) => tracing::warn!("cannot release the lease in time"),
            }
        }
    }

    /// Whether nothing is left to release.
    async fn try_release(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            return Ok(true);
        };
        let Some(spec) = lease.spec.as_mut().filter(|spec| self.is_ours(spec)) else {
            return Ok(true);
        };
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(now());
        Ok(matches!(self.put(&lease).await?, Attempt::Held(_)))
    }

    async fn put(&self, lease: &Lease) -> Result<Attempt, kube::Error> {
        let sent = Instant::now();
        let params = PostParams::default();
        match self.leases.replace(&self.name, &params, lease).await {
            Ok(lease) => Ok(held(lease, sent)),
            // 404: it was deleted meanwhile, which a fresh look sorts out like a conflict.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(beaten()),
            Err(error) => Err(error),
        }
    }

    /// The spec as this process claims it.
    fn filled(&mut self, spec: LeaseSpec) -> LeaseSpec {
        let now = now();
        let claim = self.claim.get_or_insert_with(|| now.clone()).clone();
        let seconds = self.times.duration.as_millis().div_ceil(1000).max(1);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
            acquire_time: Some(claim),
            renew_time: Some(now),
            ..spec
        }
    }

    fn is_ours(&self, spec: &LeaseSpec) -> bool {
        self.claim.is_some()
            && spec.acquire_time == self.claim
            && spec.holder_identity.as_deref() == Some(&self.identity)
    }

    /// Whether the object has not changed for as long as its holder may be silent, by our own clock.
    fn has_expired(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.as_deref().unwrap_or("");
        let since = match &self.watched {
            Some((seen, since)) if seen == version => *since,
            Some(_) | None => {
                let now = Instant::now();
                self.watched = Some((version.to_owned(), now));
                now
            }
        };
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let theirs = Duration::from_secs(theirs.unwrap_or(0).try_into().unwrap_or(0));
        since.elapsed() > theirs.max(self.times.duration)
    }
}

/// The wall clock as precise as the API stores it, so that what comes back compares equal.
fn now() -> MicroTime {
    let now = Timestamp::now();
    MicroTime(Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now))
}

fn held(lease: Lease, sent: Instant) -> Attempt {
    Attempt::Held(Box::new(Held { lease, sent }))
}

fn beaten() -> Attempt {
    Attempt::Beaten { holder: String::new() }
}

#[cfg(test)]
mod tests;
