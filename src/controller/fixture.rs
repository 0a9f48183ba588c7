//! An operator for the tests of its parts.

use std::sync::Arc;

use kube::Client;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::alerts::Inbox;
use super::clocks::Clocks;
use super::memory::Memories;
use super::passes::Passes;
use super::policy::survey::Surveys;
use super::seen::{OfIncidents, Shelf};
use super::tally::{PolicyTally, Tally};
use super::{Context, Operator};
use crate::configuration::{EndpointsInForce, ProfilesInForce, TemplateInForce};
use crate::endpoints::Endpoints;
use crate::kubernetes::discovery::Discovery;
use crate::kubernetes::events::Events;
use crate::kubernetes::impersonate::Impersonation;
use crate::kubernetes::lease::Leadership;
use crate::look::brake::BrakeReader;
use crate::observe;
use crate::report::ReportTemplate;
use crate::telemetry::health::Health;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;
use crate::workloads::Profiles;

/// An operator with this client, which runs no pass.
pub fn operator(client: Client, traces: Traces) -> Operator {
    let metrics = Arc::new(Metrics::new().unwrap());
    let discovery = Discovery::new(client.clone());
    let profiles = ProfilesInForce::from(Arc::new(Profiles::built_in().unwrap()));
    let endpoints = EndpointsInForce::from(Arc::<Endpoints>::default());
    let (hub, _) = observe::hub(discovery.clone(), profiles.clone(), endpoints.clone(), Arc::new(|_, _| {}));
    let leadership = Leadership::without_election();
    Operator {
        hub,
        inbox: Inbox::default(),
        queue: Arc::default(),
        passes: Passes::default(),
        policies: Shelf::new(PolicyTally::new(Arc::clone(&metrics))),
        incidents: Shelf::new(OfIncidents::new(Tally::new(Arc::clone(&metrics)))),
        all_tried: Notify::default(),
        an_incident_closed: Notify::default(),
        brake: BrakeReader::new(client.clone(), "firebreak-system", metrics.brake_engaged.clone()),
        surveys: Surveys::default(),
        memories: Memories::default(),
        clocks: Clocks::default(),
        context: Context {
            impersonation: Impersonation::new(client.clone()),
            discovery,
            profiles,
            endpoints,
            report: TemplateInForce::from(Arc::new(ReportTemplate::shipped().unwrap())),
            events: Events::new(client.clone(), "test".to_owned()).0,
            health: Health::new(leadership.clone()),
            leadership,
            metrics,
            traces,
            identity: "test".to_owned(),
            namespace: "firebreak-system".to_owned(),
            watch_namespaces: Vec::new(),
            stop: CancellationToken::new(),
            refusal: Arc::default(),
            surveyed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            client,
        },
    }
}
