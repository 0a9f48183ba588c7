//! What happens in a moment of a story: what is read, what people do, and what becomes of objects.

use std::sync::Arc;

use serde_json::Value;

use super::{CREATOR, SOMEBODY, Stage};
use crate::change::Change;
use crate::common::{Alike, Census};
use crate::expected::ExpectRequest;
use crate::facts::Reading;
use crate::intent::{Approval, Settlement};
use crate::period::after;
use crate::rules::Rules;
use crate::story::server::merge;
use crate::story::world::Controller;
use crate::story::{Labelled, Moment, sense};

impl Stage {
    /// The signals are read.
    pub(super) fn read(&mut self, moment: &Moment) -> Result<(), String> {
        let shapes = self.world.rules.as_ref().map(Rules::shapes);
        for (name, value) in &moment.signals {
            let mut reading = sense::reading(name, value, shapes.as_ref())?;
            let mut signals = self.world.rules.iter().flat_map(|rules| &rules.signals);
            if let Reading::Known { values } = &mut reading
                && let Some(signal) = signals.find(|signal| signal.name == *name)
            {
                signal.kind.kind().complete(values);
            }
            self.world.signals.insert(name.clone(), reading);
        }
        for (signal, labelled) in &moment.labels {
            sense::is_signal(signal, shapes.as_ref())?;
            self.world.censuses.insert(signal.clone(), census(labelled));
        }
        Ok(())
    }

    /// A person says how many objects are expected.
    pub(super) fn expect(&mut self, moment: &Moment) {
        for (signal, value) in &moment.person_expects {
            self.asked.insert(signal.clone(), ExpectRequest { value: *value, at: self.world.now });
        }
    }

    /// No operator runs for a while, and then another one starts.
    pub(super) fn go_away(&mut self, moment: &Moment) {
        let Some(away) = moment.away else { return };
        self.world.now = after(self.world.now, away.length());
        self.world.began = Some(self.world.now);
        (self.world.away, self.unwatched) = (away.length(), away.length());
        self.controller = Controller::default();
    }

    pub(super) fn approve(&mut self, moment: &Moment) -> Result<(), String> {
        if let Some(approvals) = &moment.approvals {
            self.world.intent.approvals.clone_from(approvals);
        }
        for (step, by) in &moment.approve {
            let hash = self.world.state().step(step).and_then(|status| status.plan_hash.clone());
            let plan_hash = hash.ok_or(format!("step {step} has no plan to approve"))?;
            self.world.intent.approvals.retain(|other| other.step != *step);
            let approval = Approval { step: step.clone(), plan_hash, approved_by: by.clone() };
            self.world.intent.approvals.push(approval);
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, moment: &Moment) -> Result<(), String> {
        for (object, outcome) in &moment.settle_operations {
            let is_open = |change: &&Change| change.target.name == *object && change.needs_settlement();
            let change = self.world.state().changes.iter().find(is_open);
            let change = change.ok_or(format!("no operation of {object} is to be settled"))?.id.to_string();
            let settlement = Settlement { change, outcome: *outcome, settled_by: "alice".to_owned() };
            self.world.intent.settlements.push(settlement);
        }
        Ok(())
    }

    pub(super) fn object(&mut self, name: &str, value: &Value) -> Result<(), String> {
        if value.is_null() {
            self.world.server.delete(name);
            return Ok(());
        }
        let old = self.world.server.objects.get(name).cloned();
        let mut object = old.as_deref().unwrap_or(&self.object).clone();
        merge(&mut object, value);
        sense::object(name, &object, old.as_deref())?;
        if old.is_some() {
            self.world.server.edit(name, SOMEBODY, |stored| *stored = object);
        } else {
            object["metadata"]["name"] = name.into();
            self.world.server.create(object, CREATOR);
        }
        Ok(())
    }
}

fn census(labelled: &[Labelled]) -> Census {
    let mut census = Census::default();
    for Labelled { labels, sick, healthy, gone } in labelled {
        let labels = Arc::new(labels.clone());
        census.gone.extend(std::iter::repeat_n(Arc::clone(&labels), *gone));
        census.present.push(Alike { labels, sick: *sick, healthy: *healthy });
    }
    census
}
