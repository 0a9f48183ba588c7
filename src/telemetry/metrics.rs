//! The metrics on `/metrics`.
//!
//! Every label value comes from a closed set, from the policies in the cluster, or (the resource of
//! an API request) from a list of limited length: a hostile object must not be able to grow the
//! registry. The names of the `controller_runtime_*` and `leader_election_*` families are those that
//! dashboards for other operators already read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, exponential_buckets,
};

/// Distinct `resource` values of [`Metrics::api_request`]; any further one is counted as `other`.
const MAX_RESOURCES: usize = 100;

/// The names of the watches of Firebreak's own kinds.
const WATCHED: [&str; 2] = ["incidents", "policies"];

/// Firebreak's own kinds.
const OWN_KINDS: [&str; 2] = ["Incident", "RemediationPolicy"];

/// Every metric of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    incidents: IntGaugeVec,
    incidents_held: IntGaugeVec,
    oldest_incident: IntGaugeVec,
    policies: IntGaugeVec,
    undecodable_objects: IntGaugeVec,
    signal: GaugeVec,
    /// Which `(signal, field)` each policy shows now, so that they can be removed later.
    signals_shown: Mutex<BTreeMap<String, BTreeSet<(String, String)>>>,
    api_requests: IntCounterVec,
    api_request_seconds: HistogramVec,
    resources_seen: Mutex<BTreeSet<String>>,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    leading: IntGaugeVec,
    configuration_valid: IntGauge,
    /// `firebreak_time_to_open_seconds`: from the rule's first reading to the Incident.
    pub time_to_open: Histogram,
    /// `firebreak_time_to_first_action_seconds`: from the Incident's opening to the first write.
    pub time_to_first_action: Histogram,
    /// `firebreak_time_to_mitigate_seconds`: from the Incident's opening to mitigation.
    pub time_to_mitigate: Histogram,
    /// `firebreak_steps_total{action,outcome}`: verified, failed, held, returned.
    pub steps: IntCounterVec,
    /// `firebreak_changes_total{work,outcome}`: what became of loans and operations.
    pub changes: IntCounterVec,
    /// `firebreak_changes_outstanding`: loans that have not ended yet.
    pub changes_outstanding: IntGauge,
    /// `firebreak_brake_engaged`: 1 while no response may write.
    pub brake_engaged: IntGauge,
    /// `firebreak_incidents_collected_total`: closed Incidents that were deleted by retention.
    pub incidents_collected: IntCounter,
    /// `firebreak_signal_errors_total{kind}`.
    pub signal_errors: IntCounterVec,
    /// `firebreak_watch_errors_total{cache}`: the watches of policies and Incidents.
    pub watch_errors: IntCounterVec,
}

/// How one pass of a controller ended, in the words of controller-runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconcileResult {
    /// Done, nothing scheduled.
    Success,
    /// Done, and due again at a known time.
    RequeueAfter,
    /// Failed, and tried again.
    Error,
}

impl ReconcileResult {
    fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::RequeueAfter => "requeue_after",
            Self::Error => "error",
        }
    }
}

impl Metrics {
    /// Creates the registry with all families.
    ///
    /// # Errors
    /// Only when two families in this file have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let all = Families { registry: Registry::new() };
        let seconds_to_days = exponential_buckets(0.01, 3.0, 14)?;
        let configuration_valid = all.register(IntGauge::new(
            "firebreak_configuration_valid",
            "Whether the configuration file is valid and active; if not, the last valid one is active.",
        )?)?;
        configuration_valid.set(1);
        let watch_errors = all.counters(
            "firebreak_watch_errors_total",
            "Interruptions of a watch of Firebreak's own kinds.",
            &["cache"],
        )?;
        let undecodable_objects = all.gauges(
            "firebreak_undecodable_objects",
            "Incidents and RemediationPolicies that Firebreak cannot read, so it does nothing for them.",
            &["kind"],
        )?;
        OWN_KINDS.iter().for_each(|kind| undecodable_objects.with_label_values(&[kind]).set(0));
        // A counter that first appears with its first error shows no increase.
        WATCHED.iter().for_each(|cache| watch_errors.with_label_values(&[cache]).reset());
        Ok(Self {
            incidents: all.gauges(
                "firebreak_incidents",
                "Incidents that are not closed.",
                &["severity", "phase"],
            )?,
            incidents_held: all.gauges(
                "firebreak_incidents_held",
                "Incidents that are not closed and that something holds, by the condition that says so and its reason.",
                &["severity", "condition", "reason"],
            )?,
            oldest_incident: all.gauges(
                "firebreak_incidents_oldest_opened_timestamp_seconds",
                "When the oldest Incident that is not closed was opened.",
                &["severity"],
            )?,
            policies: all.gauges(
                "firebreak_policies",
                "RemediationPolicies, by their mode and their condition Ready.",
                &["mode", "ready", "reason"],
            )?,
            undecodable_objects,
            signal: all.register(GaugeVec::new(
                Opts::new("firebreak_signal", "The latest known value of a policy's signal."),
                &["policy", "signal", "field"],
            )?)?,
            signals_shown: Mutex::default(),
            api_requests: all.counters(
                "firebreak_api_requests_total",
                "Requests to the Kubernetes API server.",
                &["verb", "resource", "code"],
            )?,
            api_request_seconds: all.histograms(
                "firebreak_api_request_duration_seconds",
                "Time until the Kubernetes API server has answered a request, or has started to answer a watch.",
                &exponential_buckets(0.005, 2.5, 10)?,
                &["verb"],
            )?,
            resources_seen: Mutex::default(),
            reconciles: all.counters(
                "controller_runtime_reconcile_total",
                "Reconciles of one object by a controller.",
                &["controller", "result"],
            )?,
            reconcile_seconds: all.histograms(
                "controller_runtime_reconcile_time_seconds",
                "Duration of one reconcile of an object.",
                &exponential_buckets(0.001, 2.5, 12)?,
                &["controller"],
            )?,
            leading: all.gauges(
                "leader_election_master_status",
                "1 while this process holds the lease.",
                &["name"],
            )?,
            configuration_valid,
            time_to_open: all.histogram(
                "firebreak_time_to_open_seconds",
                "Time from the first reading for which a rule holds to the open Incident.",
                &seconds_to_days,
            )?,
            time_to_first_action: all.histogram(
                "firebreak_time_to_first_action_seconds",
                "Time from the opening of an Incident to its first write to a target.",
                &seconds_to_days,
            )?,
            time_to_mitigate: all.histogram(
                "firebreak_time_to_mitigate_seconds",
                "Time from the opening of an Incident to its mitigation.",
                &seconds_to_days,
            )?,
            steps: all.counters("firebreak_steps_total", "Steps that ended.", &["action", "outcome"])?,
            changes: all.counters(
                "firebreak_changes_total",
                "Outcomes of emergency changes: loans and operations.",
                &["work", "outcome"],
            )?,
            changes_outstanding: all.register(IntGauge::new(
                "firebreak_changes_outstanding",
                "Emergency changes that are in force.",
            )?)?,
            brake_engaged: all.register(IntGauge::new(
                "firebreak_brake_engaged",
                "1 while the brake is engaged or cannot be read, so no response writes.",
            )?)?,
            incidents_collected: all.register(IntCounter::new(
                "firebreak_incidents_collected_total",
                "Closed Incidents that were deleted at the end of their retention.",
            )?)?,
            signal_errors: all.counters(
                "firebreak_signal_errors_total",
                "Readings of a signal that failed.",
                &["kind"],
            )?,
            watch_errors,
            registry: all.registry,
        })
    }

    /// Adds families whose values are read when they are asked for.
    ///
    /// # Errors
    /// When a family has the name of another one.
    pub fn add(&self, collector: impl Collector + 'static) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(collector))
    }

    /// Counts one answer, or the lack of one, of the API server.
    pub fn api_request(&self, verb: &str, resource: &str, code: &str, took: Duration) {
        let resource = self.bounded(resource);
        self.api_requests.with_label_values(&[verb, resource, code]).inc();
        self.api_request_seconds.with_label_values(&[verb]).observe(took.as_secs_f64());
    }

    /// Counts one pass of a controller.
    pub fn reconciled(&self, controller: &'static str, result: ReconcileResult, took: Duration) {
        self.reconciles.with_label_values(&[controller, result.label()]).inc();
        self.reconcile_seconds.with_label_values(&[controller]).observe(took.as_secs_f64());
    }

    /// Shows whether this process holds the lease of this name.
    pub fn leading(&self, lease: &str, leads: bool) {
        self.leading.with_label_values(&[lease]).set(i64::from(leads));
    }

    /// Shows whether the configuration file is what is in force.
    pub fn configuration_valid(&self, valid: bool) {
        self.configuration_valid.set(i64::from(valid));
    }

    /// Shows how many open Incidents have this severity and phase; a zero is not shown.
    pub fn incidents(&self, severity: &str, phase: &str, count: usize) {
        show(&self.incidents, &[severity, phase], count);
    }

    /// Shows how many open Incidents of this severity are held for this reason; a zero is not shown.
    pub fn incidents_held(&self, severity: &str, condition: &str, reason: &str, count: usize) {
        show(&self.incidents_held, &[severity, condition, reason], count);
    }

    /// Shows when the oldest open Incident of this severity was opened; none removes it.
    pub fn oldest_incident(&self, severity: &str, opened: Option<i64>) {
        match opened {
            Some(opened) => self.oldest_incident.with_label_values(&[severity]).set(opened),
            None => remove(&self.oldest_incident, &[severity]),
        }
    }

    /// Shows how many policies have this mode and this condition Ready; a zero is not shown.
    pub fn policies(&self, mode: &str, ready: &str, reason: &str, count: usize) {
        show(&self.policies, &[mode, ready, reason], count);
    }

    /// Shows how many objects of one of our kinds do not decode.
    pub fn undecodable_objects(&self, kind: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.undecodable_objects.with_label_values(&[kind]).set(count);
    }

    /// Replaces the values that one policy's signals show; an empty list removes the policy.
    pub fn signals(&self, policy: &str, values: &[(&str, &str, f64)]) {
        let mut shown = self.signals_shown.lock().unwrap_or_else(PoisonError::into_inner);
        let now: BTreeSet<(String, String)> =
            values.iter().map(|(signal, field, _)| ((*signal).to_owned(), (*field).to_owned())).collect();
        let before =
            if now.is_empty() { shown.remove(policy) } else { shown.insert(policy.to_owned(), now.clone()) };
        for (signal, field) in before.unwrap_or_default().difference(&now) {
            // It can only be missing already, and then there is nothing to remove.
            let _ = self.signal.remove_label_values(&[policy, signal, field]);
        }
        for (signal, field, value) in values {
            self.signal.with_label_values(&[policy, signal, field]).set(*value);
        }
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    fn bounded<'a>(&self, resource: &'a str) -> &'a str {
        let mut seen = self.resources_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(resource) {
            resource
        } else if seen.len() < MAX_RESOURCES {
            seen.insert(resource.to_owned());
            resource
        } else {
            "other"
        }
    }
}

/// Shows a count; a zero is not shown.
fn show(gauges: &IntGaugeVec, labels: &[&str], count: usize) {
    match count {
        0 => remove(gauges, labels),
        count => gauges.with_label_values(labels).set(i64::try_from(count).unwrap_or(i64::MAX)),
    }
}

fn remove(gauges: &IntGaugeVec, labels: &[&str]) {
    // It can only be missing already, and then there is nothing to remove.
    let _ = gauges.remove_label_values(labels);
}

/// Makes families and puts each into the registry.
struct Families {
    registry: Registry,
}

impl Families {
    fn register<C>(&self, family: C) -> Result<C, prometheus::Error>
    where
        C: Collector + Clone + 'static,
    {
        self.registry.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counters(&self, name: &str, text: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.register(IntCounterVec::new(Opts::new(name, text), labels)?)
    }

    fn gauges(&self, name: &str, text: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.register(IntGaugeVec::new(Opts::new(name, text), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        text: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(name, text).buckets(buckets.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    fn histogram(&self, name: &str, text: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
        self.register(Histogram::with_opts(HistogramOpts::new(name, text).buckets(buckets.to_vec()))?)
    }
}

#[cfg(test)]
mod tests;
