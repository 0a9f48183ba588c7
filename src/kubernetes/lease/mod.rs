//! Which of several processes may act: leader election over a Lease.
//!
//! # Flow
//! A candidate reads the Lease every `retry`. It takes a Lease that is free, expired or its own with a PUT
//! with the resourceVersion that it saw. The leader renews with one PUT every `retry` and sends nothing else.
//! A writer asks [`Leadership::leads`] right before each write.
//!
//! # Guarantees
//! Two processes never lead at once. The server accepts one PUT per resourceVersion. A leader
//! counts its time from *before* it sent its last successful PUT, and stops after `renew_deadline`. A
//! candidate counts from *after* it saw the object change, and waits for the longer `duration`.
//!
//! # Assumptions
//! The monotonic clocks of two machines run at the same speed within the ratio of `duration` to
//! `renew_deadline` (1.5). Wall clocks may differ by any amount; they are only written for people.
//!
//! # Caveats
//! A holder that restarts under its own name continues at once, so a name must belong to one process
//! at a time. Otherwise the older process finds a foreign acquireTime at its next
//! renewal, steps down, and from then on treats the name as someone else's.
//!
//! # Errors
//! None reach the caller: a failed attempt is logged and repeated until its time is over.

mod candidacy;
mod leadership;
mod times;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::retry;
use candidacy::Candidacy;
use leadership::Publisher;
pub use leadership::{ElectionState, Leadership, Term};
pub use times::LeaseTimes;

/// The name of the operator's Lease, in its namespace.
pub const NAME: &str = "firebreak";

/// Attempts to release the Lease at shutdown.
const RELEASE_ATTEMPTS: usize = 3;

/// A candidate for one Lease.
pub struct Election {
    leases: Api<Lease>,
    name: String,
    times: LeaseTimes,
    publisher: Publisher,
    candidacy: Candidacy,
    terms: u64,
}

/// A Lease that was just written by this process.
struct Held {
    lease: Lease,
    sent: Instant,
}

/// The result of reading the Lease once, or of one write.
enum Attempt {
    Held(Box<Held>),
    /// Another process holds it, or was faster; empty while it is not known which.
    Beaten {
        holder: String,
    },
}

impl Attempt {
    fn outrun() -> Self {
        Self::Beaten { holder: String::new() }
    }

    fn held(lease: Lease, sent: Instant) -> Self {
        Self::Held(Box::new(Held { lease, sent }))
    }
}

impl Election {
    /// A candidate, and the view of the election for all other parts. The client must not repeat writes.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        times: LeaseTimes,
    ) -> (Self, Leadership) {
        let (publisher, leadership) = leadership::channel();
        let election = Self {
            leases: Api::namespaced(client, namespace),
            name: name.to_owned(),
            times,
            publisher,
            candidacy: Candidacy::new(identity, times.duration),
            terms: 0,
        };
        (election, leadership)
    }

    /// Runs until `stop`, then releases the Lease. All parts that write must have ended before `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let _ = stop.run_until_cancelled(self.compete()).await;
        self.publisher.standby("");
        self.release().await;
    }

    async fn compete(&mut self) {
        loop {
            let held = self.acquire().await;
            let valid_until = held.sent + self.times.renew_deadline;
            let identity = self.candidacy.identity();
            tracing::info!(lease = self.name, identity, "leading");
            self.terms += 1;
            let term = Term { number: self.terms, previous_renewal: self.candidacy.previous_renewal() };
            self.publisher.lead(term, valid_until);
            let why = self.keep(held).await;
            self.publisher.standby("");
            tracing::warn!(lease = self.name, why, "no longer leading");
            self.candidacy.end();
        }
    }

    /// Tries until the Lease is ours.
    async fn acquire(&mut self) -> Held {
        loop {
            match timeout(self.times.attempt(), self.attempt()).await {
                Ok(Ok(Attempt::Held(held))) => return *held,
                Ok(Ok(Attempt::Beaten { holder })) => self.publisher.standby(&holder),
                Ok(Err(error)) => self.failed(&retry::explain(&error)),
                Err(_) => self.failed("no reply in time"),
            }
            sleep(self.times.retry).await;
        }
    }

    fn failed(&self, why: &str) {
        tracing::warn!(lease = self.name, why, "cannot read the lease");
        self.publisher.unknown();
    }

    async fn attempt(&mut self) -> Result<Attempt, kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            return if self.candidacy.may_create() { self.create().await } else { Ok(Attempt::outrun()) };
        };
        if let Err(holder) = self.candidacy.may_take(&lease) {
            return Ok(Attempt::Beaten { holder });
        }
        lease.spec = Some(self.candidacy.spec(lease.spec.take()));
        self.put(&lease).await
    }

    async fn create(&mut self) -> Result<Attempt, kube::Error> {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            spec: Some(self.candidacy.spec(None)),
        };
        let sent = Instant::now();
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(lease) => Ok(Attempt::held(lease, sent)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(Attempt::outrun()),
            Err(error) => Err(error),
        }
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
                spec.renew_time = Some(candidacy::now());
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
                // The write may have taken effect; then the next one conflicts and is resolved there.
                Err(_) => tracing::warn!("no reply to a renewal of the lease"),
            }
        }
    }

    /// After a conflict: continues from the newer object if the Lease is still ours. It is when the reply to
    /// an earlier renewal was lost, or someone labelled the object.
    async fn reread(&mut self, lease: &mut Lease) -> Result<(), &'static str> {
        match timeout(self.times.attempt(), self.leases.get_opt(&self.name)).await {
            Ok(Ok(Some(newer))) if newer.spec.as_ref().is_some_and(|spec| self.candidacy.wrote(spec)) => {
                *lease = newer;
                Ok(())
            }
            Ok(Ok(Some(newer))) => Err(self.candidacy.lost_to(newer.spec.as_ref())),
            Ok(Ok(None)) => Err("the lease was deleted"),
            Ok(Err(_)) | Err(_) => {
                sleep(self.times.retry).await;
                Ok(())
            }
        }
    }

    /// Releases the Lease if it is ours, so that a successor need not wait for it to expire.
    async fn release(&mut self) {
        for _ in 0..RELEASE_ATTEMPTS {
            if !self.candidacy.has_written() {
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
        let Some(spec) = lease.spec.as_mut().filter(|spec| self.candidacy.wrote(spec)) else {
            return Ok(true);
        };
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(candidacy::now());
        Ok(matches!(self.put(&lease).await?, Attempt::Held(_)))
    }

    async fn put(&self, lease: &Lease) -> Result<Attempt, kube::Error> {
        let sent = Instant::now();
        let params = PostParams::default();
        match self.leases.replace(&self.name, &params, lease).await {
            Ok(lease) => Ok(Attempt::held(lease, sent)),
            // 404: it was deleted in the meantime, which another read resolves like a conflict.
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => {
                Ok(Attempt::outrun())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
