//! The facts from which the tests of single parts of a decision start, in few words. Whole emergencies are in
//! `engine/tests/stories`.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::Deciding;
use crate::change::{Change, ChangeState, FieldChange};
use crate::facts::{
    Demand, Facts, Listing, ListingRead, PolicyFact, Purpose, Revision, ScaledBy, Slots, Stage, Target,
};
use crate::id::{ChangeId, IncidentId, ResourceVersion, TargetId};
use crate::incident::StepStatus;
use crate::placement::Nodes;
use crate::pods::Pods;
use crate::policy::Severity;
use crate::rules::Rules;
use crate::verdict::Verdict;

/// The moment of the decision.
pub(super) const NOW: i64 = 1000;

/// So many seconds after the beginning.
pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Facts, and the rules of the policy.
pub(super) struct Fixture {
    pub facts: Facts,
    pub rules: Rules,
    policy: Value,
}

impl Fixture {
    /// An Incident that a person has pinned to P0, of a policy with the steps `one` and `two`.
    pub(super) fn pinned() -> Self {
        let given = Self::quiet();
        given.with(|facts| {
            facts.intent.pinned = Some(Severity::P0);
            facts.state.severity = Some(Severity::P0);
            facts.state.classified_at = Some(at(0));
        })
    }

    /// The same, of which no rule holds and no severity is pinned.
    pub(super) fn quiet() -> Self {
        let targets = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
        let step = |name: &str| {
            json!({
                "name": name, "timeout": "2m", "action": {"cpuFallback": {"targets": targets}},
                "verify": {"within": "1m", "checks": [{"rollout": {}}]},
            })
        };
        let policy = json!({
            "mode": "Enforce",
            "signals": [{"name": "nodes", "nodes": {}}],
            "severity": [{"level": "P0", "reason": "Outage", "when": "signals.nodes.ready == 0"}],
            "recovery": {"for": "5m", "relapses": 2},
            "steps": [step("one"), step("two")],
        });
        let incident = IncidentId {
            namespace: "serving".to_owned(),
            name: "outage".to_owned(),
            uid: "incident".to_owned(),
        };
        let usable = PolicyFact::Usable {
            uid: "policy".to_owned(),
            name: "policy".to_owned(),
            generation: 1,
            service_account: "firebreak-responder".to_owned(),
            responses: Vec::new(),
        };
        let mut facts = Facts::new(incident, usable);
        facts.state.opened_at = Some(at(0));
        Self { facts, rules: parse(&policy), policy }
    }

    /// The same with other facts.
    pub(super) fn with(mut self, edit: impl FnOnce(&mut Facts)) -> Self {
        edit(&mut self.facts);
        self
    }

    /// The same with another policy.
    pub(super) fn policy(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.policy);
        self.rules = parse(&self.policy);
        self
    }

    /// The same with a change of this step, which has begun.
    pub(super) fn change(self, step: &str, object: &str, state: ChangeState) -> Self {
        self.change_with(step, object, state, |_| {})
    }

    /// The same, with more to say about the change.
    pub(super) fn change_with(
        mut self,
        step: &str,
        object: &str,
        state: ChangeState,
        edit: impl FnOnce(&mut Change),
    ) -> Self {
        if self.facts.state.step(step).is_none() {
            let definition = self.rules.steps.iter().find(|known| known.name == step).unwrap();
            self.facts.state.steps.push(StepStatus {
                name: step.to_owned(),
                started_at: Some(at(0)),
                definition: Some(definition.definition.clone()),
                ..StepStatus::default()
            });
        }
        let target = target(object);
        let id = ChangeId::of("incident", step, &target.uid);
        let mut change = Change::planned(id, step, target, Vec::new());
        change.intend(ResourceVersion::try_from("1".to_owned()).unwrap(), at(0));
        change.state = state;
        edit(&mut change);
        self.facts.state.changes.push(change);
        self
    }

    /// The same with what a listing of this step shows.
    pub(super) fn listed(self, step: &str, targets: Vec<Target>) -> Self {
        self.with(|facts| {
            let listing = Listing { scope: targets.len(), targets, ..Listing::default() };
            facts.looked.listings.insert(step.to_owned(), ListingRead::Listed(listing));
            facts.listing_age.insert(step.to_owned(), SignedDuration::ZERO);
        })
    }

    /// The decision in the making, before any part has looked at it.
    pub(super) fn deciding(&self) -> Deciding<'_> {
        Deciding::new(&self.facts, Some(&self.rules), at(NOW))
    }
}

/// A Deployment of this name.
pub(super) fn target(name: &str) -> TargetId {
    TargetId {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "serving".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

/// A live Deployment of this name, healthy and rolled out.
pub(super) fn live(name: &str) -> Target {
    Target {
        id: target(name),
        version: ResourceVersion::try_from("1".to_owned()).unwrap(),
        object: Arc::new(
            json!({"metadata": {"name": name, "uid": format!("uid-{name}"), "resourceVersion": "1"}}),
        ),
        matched: Verdict::True,
        match_problem: None,
        purpose: Purpose::Change,
        exempt: false,
        owned_by: None,
        resolved_from: Vec::new(),
        stage: Stage::Targets,
        idle: None,
        rollout_paused: None,
        slots: Slots::default(),
        rollout: (Verdict::True, String::new()),
        healthy: Verdict::True,
        unhealthy_since: None,
        demand: Demand::None,
        scaled_by: ScaledBy::Nobody,
        revision: Revision::NotAsked,
        nodes: Nodes::NotAsked,
        pods: Pods::Free,
    }
}

/// A field of this value before and after the change.
pub(super) fn field(path: &str, before: &Value, after: &Value) -> FieldChange {
    FieldChange {
        path: path.parse().unwrap(),
        before: Some(before.clone()).filter(|value| !value.is_null()),
        after: Some(after.clone()).filter(|value| !value.is_null()),
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    }
}

fn parse(policy: &Value) -> Rules {
    Rules::parse(&serde_json::from_value(policy.clone()).unwrap()).unwrap()
}
