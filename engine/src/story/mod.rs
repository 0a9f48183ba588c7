//! Stories: what is observed and what must be decided, as text that people
//! read and write. They run the real `detect` and `decide` against a server in
//! memory. No rule has a second implementation.
//!
//! ```yaml
//! story: A third of the nodes is lost, and nothing happens
//! from: outage.yaml                  # optional: policy and object to start from; this file is merged over it
//! policy: {steps: []}                # the spec of a RemediationPolicy
//! namespace: ops                     # where the policy is; without it, anywhere
//! object: {kind: Deployment}         # what every object looks like unless said otherwise
//! then:
//! - at: 30s
//!   signals: {nodes: {total: 8, ready: 5}, models: Unknown}
//!   objects: {chat: {status: {phase: Failed}}, search: null}     # created, changed by someone else, deleted
//!   expect: {phase: None, nothing: true}
//! ```
//!
//! Before each moment the controllers settle as of just before it. Then the moment
//! is applied, they settle again, and the expectations are
//! compared. What a moment does not name stays as it was.
//!
//! `firebreak test` plays the same files with the real profiles, and has one
//! more key: `policyFrom` takes the policy from a manifest. See `docs/stories.md`.

mod check;
mod expect;
mod fault;
mod means;
mod pods;
mod reads;
mod run;
mod scope;
mod sense;
pub mod server;
pub mod world;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

pub use check::{check_effects_are_recorded, traces};
pub use expect::Expect;
pub use fault::{Fault, Mishap};
pub use means::{Accept, Means};
pub use run::{play, play_with};

use crate::common::Labels;
use crate::intent::{Approval, SettlementOutcome};
use crate::period::Period;
use crate::policy::{PolicySpec, Severity};

/// How many stories may be based on each other.
const BASES: usize = 4;

/// One story.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Story {
    /// What it shows, as a sentence.
    pub story: String,
    /// The policy.
    pub policy: PolicySpec,
    /// The namespace of the policy, and of targets that name none. Without it,
    /// any namespace of the story.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Defaults for every object.
    #[serde(default)]
    pub object: Value,
    /// What happens, in order.
    pub then: Vec<Moment>,
}

/// Objects of a signal that have the same labels.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// The labels that say where they are.
    pub labels: Labels,
    /// How many of them are sick.
    #[serde(default)]
    pub sick: usize,
    /// How many of them are healthy.
    #[serde(default)]
    pub healthy: usize,
    /// How many of them are gone.
    #[serde(default)]
    pub gone: usize,
}

/// One moment of a story.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Moment {
    /// The time since the start.
    pub at: Period,
    /// Readings: the fields of the signal's kind without `expected`, `missing` and `known`, or `Unknown`.
    #[serde(default)]
    pub signals: BTreeMap<String, Value>,
    /// The objects of signals by their labels; each list replaces the previous one.
    #[serde(default)]
    pub labels: BTreeMap<String, Vec<Labelled>>,
    /// Objects by name: null deletes; anything else is merged into the object, as by someone else.
    #[serde(default)]
    pub objects: BTreeMap<String, Value>,
    /// The namespaces that are annotated as exempt, from now on exactly these.
    #[serde(default)]
    pub exempt_namespaces: Option<Vec<String>>,
    /// Merged into the policy; its generation rises. Null deletes the policy.
    #[serde(default, deserialize_with = "present")]
    pub policy: Option<Value>,
    /// The Incident that has the policy's claim instead of this one. Empty text: no longer.
    #[serde(default)]
    pub claimed_by: Option<String>,
    /// The severity that a person pins from now on, also for Incidents that they open.
    #[serde(default)]
    pub pinned: Option<Severity>,
    /// What a person does.
    #[serde(default)]
    pub person: Vec<Deed>,
    /// The faults of the next writes. They replace faults that have not occurred yet.
    #[serde(default)]
    pub faults: Option<Vec<Fault>>,
    /// Who approves the plan of which step, as the status shows it now.
    #[serde(default)]
    pub approve: BTreeMap<String, String>,
    /// The outcome of an operation of a step on an object, as `alice` settles it, by object.
    #[serde(default)]
    pub settle_operations: BTreeMap<String, SettlementOutcome>,
    /// From now on exactly these approvals, whatever plan they are for.
    #[serde(default)]
    pub approvals: Option<Vec<Approval>>,
    /// Why the brake is engaged from now on; empty text: it is off.
    #[serde(default)]
    pub brake: Option<String>,
    /// From now on the namespace of the Incident is being deleted.
    #[serde(default)]
    pub terminating: Option<bool>,
    /// The states of other Incidents, by `namespace/name/uid`: `Open`, `Gone` or `Closed`. Those that are
    /// not named are open.
    #[serde(default)]
    pub incidents: BTreeMap<String, Fate>,
    /// From now on the status that an object gets as soon as Firebreak has changed its spec, with the
    /// generation observed; null: none.
    #[serde(default, deserialize_with = "present")]
    pub settle: Option<Value>,
    /// Why the targets cannot be read from now on; empty text: they can be read.
    #[serde(default)]
    pub unreadable: Option<String>,
    /// How many objects of a signal a person expects from now on, as with `firebreak expect`.
    #[serde(default)]
    pub person_expects: BTreeMap<String, i64>,
    /// From this moment on, no operator runs for so long. Then the expectations are compared.
    #[serde(default)]
    pub away: Option<Period>,
    /// What must be true.
    #[serde(default)]
    pub expect: Expect,
}

/// The state of another Incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Fate {
    /// It is open.
    Open,
    /// It does not exist any more.
    Gone,
    /// It is closed and left its loans behind.
    Closed,
}

fn present<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(input).map(Some)
}

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// Opens an Incident.
    Open,
    /// Sets `response: Paused`.
    Pause,
    /// Sets `response: Active`.
    Resume,
    /// Sets `response: Withdrawn`.
    Withdraw,
    /// Sets `response: Kept`.
    Keep,
    /// Acknowledges it, as `alice`.
    Acknowledge,
    /// Deletes the Incident.
    Delete,
    /// Annotates it with `firebreak.dev/abandon: "true"`.
    Abandon,
    /// Kills the controller, and it starts again.
    Restart,
}

impl Story {
    /// A story from its parsed text, merged over the one that it starts `from`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn new(mut text: Value, from: impl Fn(&str) -> Result<Value, String>) -> Result<Self, String> {
        for _ in 0..BASES {
            let base = text.as_object_mut().and_then(|text| text.remove("from"));
            let Some(name) = base.as_ref().and_then(Value::as_str) else { break };
            let mut whole = from(name)?;
            server::merge(&mut whole, &text);
            text = whole;
        }
        serde_json::from_value(text).map_err(|error| error.to_string())
    }
}
