//! The signals of a policy, read from the command line as the operator reads them.
//!
//! Alerts that are sent to the operator are read from the status of the policy. Endpoints are asked only with the
//! configuration of the operator.

mod account;
mod unasked;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firebreak_engine::alerts::{Emergency, take_in};
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::Client;

pub use self::account::reader;
pub use self::unasked::NOT_ASKED;
use self::unasked::{Written, say_unasked};
use super::connection::Connection;
use crate::api::RemediationPolicy;
use crate::endpoints::Endpoints;
use crate::observe::{self, Changes, Hub, PolicyKey};
use crate::workloads::Profiles;

/// How long the first readings may take; a signal without a reading by then is Unknown.
const FIRST: Duration = Duration::from_secs(15);

/// What reads the signals.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    /// The cluster.
    pub connection: &'a Connection,
    /// The profiles of the kinds.
    pub profiles: &'a Profiles,
    /// The endpoints that signals may ask; none if the operator's configuration was not given.
    pub endpoints: Option<&'a Arc<Endpoints>>,
    /// Reads as the account.
    pub client: &'a Client,
    /// Its name.
    pub read_as: &'a str,
}

/// The signals of one policy, read until this is dropped.
pub struct Readings {
    hub: Hub,
    moved: Changes,
    policy: PolicyKey,
    asks_endpoints: bool,
}

impl Readings {
    /// Starts to read the signals of the policy.
    pub fn of(reader: &Reader<'_>, key: PolicyKey, rules: &Rules, policy: &RemediationPolicy) -> Self {
        let profiles = Arc::new(reader.profiles.clone());
        let discovery = reader.connection.discovery.clone();
        let endpoints = reader.endpoints.cloned().unwrap_or_default();
        let (hub, moved) = observe::hub(discovery, profiles, endpoints, Arc::new(|_, _| {}));
        let readings = Self { hub, moved, policy: key, asks_endpoints: reader.endpoints.is_some() };
        readings.read(reader, rules, policy);
        readings
    }

    /// Reads the signals of these rules from now on. What is read already stays known.
    pub fn read(&self, reader: &Reader<'_>, rules: &Rules, policy: &RemediationPolicy) {
        self.hub.subscribe(&self.policy, reader.read_as, reader.client, &rules.signals);
        self.hear(rules, policy);
    }

    /// Takes the alerts that the operator has recorded in the status of the policy.
    pub fn hear(&self, rules: &Rules, policy: &RemediationPolicy) {
        let recorded = policy.status.as_ref().map(|status| &*status.state.alerts).unwrap_or_default();
        let alerts = take_in(recorded, rules, &BTreeMap::new(), Emergency::None, Timestamp::now());
        self.hub.hear(&self.policy, &alerts);
    }

    /// The readings as soon as every signal was read, or after some seconds: a missing reading is an answer too, and says
    /// itself what is wrong.
    pub async fn first(&mut self, rules: &Rules, policy: &RemediationPolicy) -> BTreeMap<String, Reading> {
        let all_read = async {
            while self.hub.readings(&self.policy, rules).values().any(Reading::is_not_read_yet) {
                self.moved.next().await;
            }
        };
        let _ = tokio::time::timeout(FIRST, all_read).await;
        self.now(rules, policy)
    }

    /// The present readings; of an endpoint that is not asked from here, what the operator has written.
    pub fn now(&self, rules: &Rules, policy: &RemediationPolicy) -> BTreeMap<String, Reading> {
        let mut readings = self.hub.readings(&self.policy, rules);
        if !self.asks_endpoints {
            let status = policy.status.as_ref();
            let signals = status.map(|status| &*status.state.signals).unwrap_or_default();
            say_unasked(&mut readings, Written { signals, at: policy.status_written_at() }, Timestamp::now());
        }
        readings
    }
}
