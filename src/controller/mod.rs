//! The control loops: policies are watched and open Incidents; Incidents
//! respond.
//!
//! # Flow
//! Watches of our own two kinds fill the shelves and the queue; when readings
//! change, their policy becomes due. Workers take the most urgent key and run its
//! pass. Only a leader runs passes; a standby keeps its shelves warm.

mod alerts;
pub mod backlog;
pub mod brake;
mod clocks;
mod configuration;
mod definitions;
mod due;
pub mod error;
#[cfg(test)]
mod fixture;
pub mod incident;
pub mod memory;
pub mod notices;
mod passes;
pub mod policy;
pub mod queue;
pub mod refusal;
mod retention;
pub mod seen;
pub mod stored;
mod tally;
mod urgency;
pub mod watches;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use firebreak_engine::expected::Expected;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::alerts::Inbox;
use self::clocks::Clocks;
use self::error::Error;
use self::memory::{Memories, Parsed};
use self::passes::Passes;
use self::policy::survey::{self, Surveys};
use self::queue::{Key, Name, Queue};
use self::refusal::Refusal;
use self::seen::{OfIncidents, Shelf};
use self::tally::{PolicyTally, Tally};
use crate::api::{Incident, RemediationPolicy};
use crate::configuration::{EndpointsInForce, ProfilesInForce, TemplateInForce};
use crate::kubernetes::discovery::Discovery;
use crate::kubernetes::events::Events;
use crate::kubernetes::impersonate::Impersonation;
use crate::kubernetes::lease::Leadership;
use crate::look::brake::BrakeReader;
use crate::observe::{self, ErrorCounter, Hub};
use crate::receiver::Deliveries;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::{Metrics, ReconcileResult};
use crate::telemetry::traces::Traces;
use crate::workloads::Profiles;

/// The number of passes that run at once.
const WORKERS: usize = 8;

/// The input of the control loops. Everything in it is cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Acts as the operator itself.
    pub client: Client,
    /// Creates clients that act as a ServiceAccount.
    pub impersonation: Impersonation,
    /// Resolves kinds.
    pub discovery: Discovery,
    /// The profiles of the kinds.
    pub profiles: ProfilesInForce,
    /// The endpoints that signals may ask.
    pub endpoints: EndpointsInForce,
    /// The template of reports.
    pub report: TemplateInForce,
    /// The queue for Events.
    pub events: Events,
    /// To be checked right before every write.
    pub leadership: Leadership,
    /// Where to announce caches, and that they are filled.
    pub health: Health,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Where ended parts of a response are told.
    pub traces: Traces,
    /// The name of this process.
    pub identity: String,
    /// The operator's own namespace.
    pub namespace: String,
    /// The namespaces in which it watches policies and incidents; empty means all.
    pub watch_namespaces: Vec<String>,
    /// Cancelled when no new work may start.
    pub stop: CancellationToken,
    /// Why this process must not lead, if it has found out that it must not.
    pub refusal: Arc<OnceLock<Refusal>>,
    /// Cancelled when every object of ours that can be listed was seen once, and nothing forbids this process to lead.
    pub surveyed: CancellationToken,
    /// Runs writes that must finish before the Lease is released.
    pub tasks: TaskTracker,
}

impl Context {
    /// Whether this process sends nothing more: it ends, or it does not lead any more.
    pub fn sends_no_more(&self) -> bool {
        self.stop.is_cancelled() || !self.leadership.leads()
    }
}

/// What all passes share.
pub struct Operator {
    /// The input of the loops.
    pub context: Context,
    /// The watches of signals.
    pub hub: Hub,
    /// Messages about alerts that wait for the pass of their policy.
    inbox: Inbox,
    /// The work that is due.
    pub queue: Arc<Queue>,
    passes: Passes,
    /// Policies as last seen.
    pub policies: Shelf<RemediationPolicy>,
    /// Incidents as last seen.
    pub incidents: Shelf<Incident>,
    /// Notified when every object of ours that can be listed was seen once.
    all_tried: Notify,
    /// Notified when an Incident is closed and released.
    an_incident_closed: Notify,
    /// Reads the brake.
    pub brake: BrakeReader,
    /// The policies whose objects are to be listed.
    pub surveys: Surveys,
    /// What is remembered between passes.
    pub memories: Memories,
    clocks: Clocks,
}

impl Operator {
    /// The profiles of the kinds, according to the present configuration.
    pub fn profiles(&self) -> Arc<Profiles> {
        self.context.profiles.now()
    }

    /// The parsed rules of a policy, parsed once per generation.
    pub fn rules(&self, policy: &RemediationPolicy) -> Parsed {
        self.memories.rules(policy, &self.profiles())
    }

    /// Whether nobody watched for too long before this process did.
    pub fn clocks_are_broken(&self, now: Timestamp) -> bool {
        self.clocks.are_broken(&self.context.leadership.state(), now)
    }

    /// When this process began to watch in this term.
    pub fn began(&self, now: Timestamp) -> Timestamp {
        self.clocks.began(now)
    }

    /// What the policy has recorded of its signals, without the time in which nobody watched. From its first recorded pass
    /// on, the record has that itself.
    pub fn windows(&self, policy: &Name, recorded: &[Expected], now: Timestamp) -> Vec<Expected> {
        let unwatched = match self.memories.policy(policy).assessed {
            true => SignedDuration::ZERO,
            false => self.unwatched(now),
        };
        recorded.iter().map(|expected| expected.after_absence(unwatched, now)).collect()
    }

    /// How long nobody had watched before this process did.
    pub fn unwatched(&self, now: Timestamp) -> SignedDuration {
        self.clocks.unwatched(&self.context.leadership.state(), now)
    }

    /// All objects of one of our kinds that can be listed were seen.
    fn note_survey(&self) {
        if self.policies.is_tried() && self.incidents.is_tried() {
            self.all_tried.notify_one();
        }
    }

    /// Stores a policy that we wrote: it may be newer than what the watch has shown so far.
    pub fn note_policy(&self, policy: &RemediationPolicy) {
        let name = Name::new(policy.namespace().unwrap_or_default(), policy.name_any());
        if let Some(before) = self.policies.note(&name, policy.clone()) {
            self.policy_moved(&name, Some(&before), self.policies.get(&name).as_ref());
        }
    }

    /// Stores an Incident that we wrote: it may be newer than what the watch has shown so far.
    pub fn note_incident(&self, incident: &Incident) {
        let name = Name::new(incident.namespace().unwrap_or_default(), incident.name_any());
        if let Some(before) = self.incidents.note(&name, incident.clone()) {
            self.incident_moved(&name, Some(&before), self.incidents.get(&name).as_ref());
        }
    }
}

/// How a pass has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// How soon to look again although nothing moves.
    pub again: Option<Duration>,
    /// The version of the object that the pass has decided on; none if it has come to no decision.
    pub decided: Option<u64>,
}

impl Passed {
    /// Without a decision: something else will make the object due again.
    pub fn undecided() -> Self {
        Self::default()
    }

    /// Without a decision, which the next pass is to make.
    pub fn undecided_for(length: Duration) -> Self {
        Self { again: Some(length), decided: None }
    }

    /// With a decision about the object as it is in this version.
    pub fn decided(object: &impl ResourceExt, again: Option<Duration>) -> Self {
        Self { again, decided: seen::version(object.meta()) }
    }
}

/// Runs the control loops until [`Context::stop`], on the queue of [`backlog::show`]. Alerts come from `deliveries`.
///
/// # Errors
/// This process must not lead.
pub async fn run(context: Context, queue: Arc<Queue>, deliveries: Deliveries) -> Result<(), Refusal> {
    let metrics = Arc::clone(&context.metrics);
    let errors: ErrorCounter =
        Arc::new(move |kind, _| metrics.signal_errors.with_label_values(&[kind]).inc());
    let (hub, moved) =
        observe::hub(context.discovery.clone(), context.profiles.clone(), context.endpoints.clone(), errors);
    let operator = Arc::new(Operator {
        hub,
        inbox: Inbox::default(),
        queue,
        passes: Passes::default(),
        policies: Shelf::new(PolicyTally::new(Arc::clone(&context.metrics))),
        incidents: Shelf::new(OfIncidents::new(Tally::new(Arc::clone(&context.metrics)))),
        all_tried: Notify::default(),
        an_incident_closed: Notify::default(),
        brake: BrakeReader::new(
            context.client.clone(),
            &context.namespace,
            context.metrics.brake_engaged.clone(),
        ),
        surveys: Surveys::default(),
        memories: Memories::default(),
        clocks: Clocks::default(),
        context,
    });
    let stop = operator.context.stop.clone();
    let watching = watches::run(Arc::clone(&operator), moved);
    let working = futures::future::join_all((0..WORKERS).map(|_| work(Arc::clone(&operator))));
    tokio::select! {
        () = stop.cancelled() => {}
        () = watching => {}
        () = alerts::run(&operator, deliveries) => {}
        () = definitions::examine(&operator) => {}
        () = configuration::follow(&operator) => {}
        () = retention::run(&operator) => {}
        () = brake::keep_an_eye_on_it(&operator) => {}
        () = survey::run(&operator) => {}
        _ = working => {}
    }
    operator.context.refusal.get().cloned().map_or(Ok(()), Err)
}

/// One worker: runs the pass of the most urgent key, in a loop, while this process leads.
async fn work(operator: Arc<Operator>) {
    // Also without an election.
    operator.context.surveyed.cancelled().await;
    let mut leadership = operator.context.leadership.clone();
    loop {
        let term = leadership.gained().await;
        if operator.clocks.begin(&term) {
            operator.memories.forget_clocks();
            // Another leader may have recorded other alerts since.
            operator.hub.forget_alerts();
        }
        let key = operator.queue.next().await;
        if operator.context.stop.is_cancelled() {
            return;
        }
        if !leadership.leads() {
            operator.queue.nudge(key.clone(), operator.urgency(&key));
            operator.queue.done(&key);
            continue;
        }
        operator.passes.begin(&key);
        // In its own, tracked task: at shutdown a pass that has started is finished.
        let pass = operator.context.tasks.spawn(run_pass(Arc::clone(&operator), key.clone()));
        let decided = pass.await.unwrap_or_else(|_| {
            tracing::error!(?key, "a reconcile ended unexpectedly");
            let urgency = operator.urgency(&key);
            operator.queue.due_at(key.clone(), urgency, Instant::now() + Duration::from_secs(5));
            None
        });
        if operator.passes.end(&key, decided) {
            operator.nudge(&key);
        }
        operator.queue.done(&key);
    }
}

/// Runs the pass of a key. The version of the object that it has decided on, if it has.
async fn run_pass(operator: Arc<Operator>, key: Key) -> Option<u64> {
    let start = Instant::now();
    let result = match &key {
        Key::Policy(name) => policy::pass(&operator, name).await,
        Key::Incident(name) => incident::pass(&operator, name).await,
    };
    let again = |after| operator.queue.due_at(key.clone(), operator.urgency(&key), Instant::now() + after);
    let decided = result.as_ref().ok().and_then(|passed| passed.decided);
    let outcome = match result {
        Ok(passed) => {
            operator.memories.succeeded(&key);
            passed.again.into_iter().for_each(again);
            if passed.again.is_some() { ReconcileResult::RequeueAfter } else { ReconcileResult::Success }
        }
        Err(error) if error.is_gone() => {
            operator.memories.succeeded(&key);
            ReconcileResult::Success
        }
        Err(Error::Refused(refusal)) => {
            operator.context.refuse(refusal);
            ReconcileResult::Error
        }
        Err(error) => {
            let failures = operator.memories.failed(&key);
            let after = error.retry_after(failures);
            if failures > 3 {
                tracing::warn!(?key, %error, failures, "a reconcile failed; retrying");
            } else {
                tracing::debug!(?key, %error, "a reconcile failed; retrying");
            }
            again(after);
            ReconcileResult::Error
        }
    };
    operator.context.metrics.reconciled(backlog::controller(&key), outcome, start.elapsed());
    decided
}
