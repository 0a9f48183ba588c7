//! What Firebreak sees, decides and does, printed as it happens, from what Firebreak writes
//! into the status of the policy and of the Incident.

use std::collections::BTreeMap;

use firebreak::api::{Incident, IncidentStatus, RemediationPolicy, RemediationPolicyStatus};
use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::incident::{RuleStatus, SignalStatus, TimelineEntry};
use firebreak_engine::period::Period;
use firebreak_engine::phase::Phase;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::verdict::Verdict;
use futures::stream::{BoxStream, StreamExt, select};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use crate::narrator::Narrator;
use crate::{NAMESPACE, PATIENCE, Result};

/// The numbers of a signal that the demo prints.
const TELLING: [&str; 4] = ["expected", "ready", "healthy", "unhealthy"];

/// Follows a policy and its Incident.
pub struct Follower<'a> {
    client: Client,
    tell: &'a Narrator,
    news: BoxStream<'static, watcher::Result<News>>,
    spec: PolicySpec,
    policy: RemediationPolicyStatus,
    name: String,
    incident: IncidentStatus,
    /// The state of each change that was printed last.
    told: BTreeMap<String, ChangeState>,
}

enum News {
    Policy(Box<RemediationPolicy>),
    Incident(Box<Incident>),
}

impl<'a> Follower<'a> {
    pub fn new(client: &Client, tell: &'a Narrator) -> Self {
        let policies: Api<RemediationPolicy> = Api::namespaced(client.clone(), NAMESPACE);
        let incidents: Api<Incident> = Api::namespaced(client.clone(), NAMESPACE);
        let everything = watcher::Config::default;
        let policies = watcher(policies, everything()).default_backoff().applied_objects();
        let incidents = watcher(incidents, everything()).default_backoff().applied_objects();
        let news = select(
            policies.map(|policy| policy.map(|policy| News::Policy(Box::new(policy)))),
            incidents.map(|incident| incident.map(|incident| News::Incident(Box::new(incident)))),
        );
        Self {
            client: client.clone(),
            tell,
            news: news.boxed(),
            spec: PolicySpec::default(),
            policy: RemediationPolicyStatus::default(),
            name: String::new(),
            incident: IncidentStatus::default(),
            told: BTreeMap::new(),
        }
    }

    /// Until the signals of the policy are read and its permissions suffice.
    pub async fn until_ready(&mut self) -> Result<()> {
        let is_ready = |follower: &Self| {
            let ready = |of: &&firebreak::api::Condition| of.type_ == "Ready" && of.status == Verdict::True;
            follower.policy.conditions.iter().any(|condition| ready(&condition))
        };
        self.until("watching", is_ready).await?;
        self.tell.firebreak("sees", &in_short(&self.policy.state.signals));
        Ok(())
    }

    /// Until the Incident is in this phase.
    pub async fn until_phase(&mut self, phase: Phase) -> Result<()> {
        self.until(phase.name(), |follower| follower.incident.phase == Some(phase)).await
    }

    async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !done(self) {
            let Ok(news) = tokio::time::timeout_at(deadline, self.news.next()).await else {
                return Err(format!("not {what} within {PATIENCE:?}; {}", self.standing()).into());
            };
            match news {
                Some(Ok(News::Policy(policy))) => {
                    self.spec = policy.spec.policy;
                    self.hear_policy(policy.status.unwrap_or_default());
                }
                Some(Ok(News::Incident(incident))) => {
                    self.name = incident.name_any();
                    self.hear_incident(incident.status.unwrap_or_default());
                }
                // The watch reconnects after a pause, and the deadline counts.
                Some(Err(_)) => {}
                None => return Err("the watches ended".into()),
            }
            if self.incident.phase == Some(Phase::Held) {
                return Err(format!("Firebreak asks for a person; {}", self.standing()).into());
            }
        }
        Ok(())
    }

    /// The messages of the conditions, for a failure.
    fn standing(&self) -> String {
        let conditions = self.policy.conditions.iter().chain(&self.incident.conditions);
        let said = conditions.map(|condition| {
            let firebreak::api::Condition { type_, status, reason, message, .. } = condition;
            format!("\n  {type_}={status} {reason} {message}")
        });
        format!("the conditions of policy and Incident:{}", said.collect::<String>())
    }

    fn hear_policy(&mut self, status: RemediationPolicyStatus) {
        let truth = |reason: &str| {
            let rule = self.policy.state.rules.iter().find(|rule| rule.reason == reason);
            rule.map_or(Verdict::False, |rule| rule.truth)
        };
        for rule in &status.state.rules {
            if truth(&rule.reason) == Verdict::False && rule.truth == Verdict::True {
                let spec = self.spec.severity.iter().find(|spec| spec.reason == rule.reason);
                let wait = spec.and_then(|spec| spec.for_).unwrap_or(Period::seconds(0));
                let RuleStatus { reason, level, .. } = rule;
                let text = format!("rule {reason} is true: severity {level} if it stays so for {wait}");
                self.tell.firebreak("sees", &text);
            }
        }
        self.policy = status;
    }

    fn hear_incident(&mut self, status: IncidentStatus) {
        for entry in status.state.timeline.iter().skip(self.incident.state.timeline.len()) {
            self.tell_entry(entry, &status.state.signals);
        }
        for change in &status.state.changes {
            self.tell_change(change);
        }
        self.incident = status;
    }

    fn tell_entry(&self, entry: &TimelineEntry, signals: &[SignalStatus]) {
        let TimelineEntry { type_, message, at: _ } = entry;
        match type_.as_str() {
            "Opened" => {
                self.tell.firebreak("sees", &in_short(signals));
                self.tell.firebreak("decides", &format!("Incident {}", self.name));
            }
            "SeverityCleared" => {
                let wait = self.spec.recovery.for_.unwrap_or(Period::seconds(0));
                self.tell.firebreak("sees", &in_short(signals));
                self.tell.firebreak("decides", &format!("{message}: reverts if it stays so for {wait}"));
            }
            "StepVerified" => self.tell.firebreak("verifies", message),
            "Resolved" => self.tell.firebreak("closes", message),
            _ => self.tell.firebreak("decides", message),
        }
    }

    fn tell_change(&mut self, change: &Change) {
        let (Change { target, state, .. }, fields) = (change, change.fields());
        let before = self.told.insert(change.id.to_string(), *state);
        if before == Some(*state) {
            return;
        }
        match state {
            ChangeState::Applied => {
                self.tell.firebreak("changed", &target.to_string());
                for field in fields {
                    self.tell.field(field);
                }
            }
            ChangeState::Reverted => {
                self.tell.firebreak("reverts", &format!("{target}, {} fields", fields.len()));
            }
            ChangeState::Intended | ChangeState::Verified | ChangeState::Reverting => {}
            ChangeState::Planned
            | ChangeState::Unclear
            | ChangeState::Ceded
            | ChangeState::Kept
            | ChangeState::Done
            | ChangeState::Skipped
            | ChangeState::Failed
            | ChangeState::Held => {
                let why = change.message.as_deref().unwrap_or_default();
                self.tell.firebreak("notes", &format!("{target} is {state:?}: {why}"));
            }
        }
    }

    /// The report of the Incident, in Markdown.
    pub async fn report(&self) -> Result<String> {
        let reports: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = self.incident.state.report.as_ref().map(|report| report.name.clone());
        let report = reports.get(&name.ok_or("the Incident names no report")?).await?;
        let text = report.data.and_then(|mut data| data.remove("report.md"));
        Ok(text.ok_or("the report has no report.md")?)
    }
}

/// The signals with their most important numbers.
fn in_short(signals: &[SignalStatus]) -> String {
    let is_telling = |part: &&str| part.split(' ').next().is_some_and(|name| TELLING.contains(&name));
    let short = signals.iter().map(|SignalStatus { name, summary, .. }| {
        let numbers: Vec<&str> = summary.split(", ").filter(is_telling).collect();
        format!("{name}: {}", numbers.join(", "))
    });
    short.collect::<Vec<_>>().join("; ")
}
