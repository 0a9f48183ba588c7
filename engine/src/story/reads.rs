//! The live reads of a simulated world: what a decision sees of it when it asks.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::pods;
use super::scope::describes;
use super::world::World;
use crate::action::Autoscalers;
use crate::change::in_revision;
use crate::decide::ladder;
use crate::facts::{
    Demand, Holder, Listing, ListingRead, Look, Looked, NamespaceRead, ObjectRead, OwnLook, Purpose,
    Revision, ScaleDown, Stage, Target, Wanted,
};
use crate::id::TargetId;
use crate::incident::IncidentState;
use crate::placement::Nodes;
use crate::rules::Step;
use crate::verdict::Verdict;

impl World {
    /// Performs a live read.
    pub fn look(&self, look: Look, state: &IncidentState, looked: &mut Looked) {
        match look {
            Look::Step(name) => {
                let read = self.read_listing(&name, state);
                looked.listings.insert(name, read);
            }
            Look::Object(target) => {
                let read = self.read_object(&target, state);
                looked.objects.insert(target, read);
            }
            Look::Own(OwnLook::Holder(incident)) => {
                let known = || self.holders.get(&incident).cloned().unwrap_or(Holder::Open);
                let holder = self.unreadable.clone().map_or_else(known, Holder::Unknown);
                looked.holders.insert(incident, holder);
            }
            Look::Own(OwnLook::Brake) => looked.brake = Some(self.brake.clone()),
            Look::Own(OwnLook::Namespace) => {
                looked.namespace = Some(match self.terminating {
                    true => NamespaceRead::Terminating,
                    false => NamespaceRead::Stays,
                });
            }
        }
    }

    fn read_listing(&self, name: &str, state: &IncidentState) -> ListingRead {
        if let Some(why) = &self.unreadable {
            return ListingRead::Refused { why: why.clone() };
        }
        match ladder(state, self.rules.as_ref()).iter().find(|step| step.name == name) {
            Some(step) => ListingRead::Listed(self.list(step, state)),
            None => ListingRead::Failed { why: format!("there is no step {name} any more") },
        }
    }

    fn read_object(&self, target: &TargetId, state: &IncidentState) -> ObjectRead {
        if let Some(why) = &self.unreadable {
            return ObjectRead::Refused { why: why.clone() };
        }
        match self.live(target) {
            Some(object) => {
                let mut found = pods::of((self.translate)(object, None));
                let has_changed =
                    |step: &&Step| state.changes_of(&step.name).any(|c| c.target.uid == target.uid);
                if let Some(step) = ladder(state, self.rules.as_ref()).iter().find(has_changed) {
                    (self.runs)(&mut found, step, &self.all());
                }
                found.revision = self.revision(&found, state);
                ObjectRead::Found(Box::new(found))
            }
            None => ObjectRead::Gone,
        }
    }

    /// What the revisions of the object say about an open restart: other objects of the story that it owns.
    fn revision(&self, target: &Target, state: &IncidentState) -> Revision {
        let asked = state.asks_for_revisions(target);
        if asked.is_empty() {
            return Revision::NotAsked;
        }
        let is_its =
            |object: &&Arc<Value>| object["metadata"]["ownerReferences"][0]["name"] == target.id.name;
        let revisions = self.server.objects.values().filter(is_its);
        Revision::Has(revisions.flat_map(|revision| in_revision(&asked, revision)).collect())
    }

    fn all(&self) -> Vec<Arc<Value>> {
        self.server.objects.values().cloned().collect()
    }

    fn list(&self, step: &Step, state: &IncidentState) -> Listing {
        let targets = step.targets();
        let scope = &targets.scope;
        let selected = |object: &&Arc<Value>| {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            describes(scope, object, self.namespace.as_deref())
                || state.changes_of(&step.name).any(|c| c.target.uid == uid)
        };
        let (nodes, all) = (self.nodes(), self.all());
        let objects = self.server.objects.values().filter(selected);
        let targets: Vec<Target> = objects
            .map(|object| {
                let mut target = pods::of((self.translate)(object, Some(&targets.where_)));
                (self.runs)(&mut target, step, &all);
                target.purpose = state.purpose(&step.name, &target.id.uid);
                if target.purpose == Purpose::Change {
                    target.exempt |= self.exempt.contains(&target.id.namespace);
                }
                if step.action.descriptor().autoscalers == Autoscalers::Demand {
                    target.demand = demand(object);
                }
                if step.action.kind().asks_for_nodes(&target) {
                    target.nodes = nodes.clone();
                }
                target
            })
            .filter(|target| self.stage_of(step, &target.id) == Stage::Targets)
            .collect();
        let scope = targets.iter().filter(|target| target.is_in_scope()).count();
        let before = self.server.objects.values().map(|object| (self.translate)(object, None));
        let before = before.filter_map(|target| match self.stage_of(step, &target.id) {
            Stage::Targets => None,
            stage @ Stage::Before(_) => Some(Target { stage, matched: Verdict::True, ..target }),
        });
        Listing { scope, targets: before.chain(targets).collect(), absent: self.absent(step) }
    }

    /// The names among the targets of a step that no object has.
    fn absent(&self, step: &Step) -> Vec<String> {
        let scope = &step.targets().scope;
        let selected = self.server.objects.values();
        let selected = selected.filter(|object| describes(scope, object, self.namespace.as_deref()));
        let found: BTreeSet<&str> =
            selected.filter_map(|object| object["metadata"]["name"].as_str()).collect();
        let names: BTreeSet<&str> = scope.names.iter().map(String::as_str).collect();
        names.difference(&found).map(|name| (*name).to_owned()).collect()
    }

    /// The nodes of the story. Without one, they are not looked at.
    fn nodes(&self) -> Nodes {
        let nodes = self.server.objects.values().filter(|object| object["kind"] == "Node");
        let nodes: Vec<_> = nodes.filter_map(|node| (self.translate)(node, None).slots.node).collect();
        if nodes.is_empty() { Nodes::NotAsked } else { Nodes::Known(Arc::new(nodes)) }
    }

    fn stage_of(&self, step: &Step, target: &TargetId) -> Stage {
        step.action.stage_of(target, self.namespace.as_deref().unwrap_or(&target.namespace))
    }

    /// The live object with this uid.
    pub fn live(&self, target: &TargetId) -> Option<&Arc<Value>> {
        let found = self.server.objects.get(&target.name);
        found.filter(|object| object["metadata"]["uid"] == target.uid.as_str())
    }
}

/// What an autoscaler wants, as a story says it: in its status.
fn demand(object: &Value) -> Demand {
    match object.pointer("/status/desiredReplicas").and_then(Value::as_i64) {
        Some(replicas) => {
            Demand::Wants(vec![Wanted { replicas, limit: None, scale_down: ScaleDown::of(object) }])
        }
        None => Demand::Unknown("the story does not say".to_owned()),
    }
}
