//! The hash of a step's plan, which an approval names.

use serde_json::json;

use super::plans::Plans;
use super::{Deciding, is_begun};
use crate::change::{Again, Change};
use crate::id::digest;
use crate::rules::Step;

/// The hash of a plan under the guardrails that bind it.
pub(super) struct PlanHash {
    /// As things are.
    now: String,
    /// While the detector is suspect.
    suspect: String,
    /// As the release before publishes it: without guardrails and without what is known of the detector. A plan that
    /// has such a hash keeps it, so that a person can approve during an upgrade what they have read before it.
    before_guardrails: String,
}

impl PlanHash {
    /// Whether an approval of this hash is one of the plan. Whoever has approved it although the detector was suspect has
    /// also approved it without that.
    pub(super) fn is_approved_by(&self, approved: &str) -> bool {
        [&self.now, &self.suspect, &self.before_guardrails].into_iter().any(|hash| hash == approved)
    }

    /// The hash to publish for a plan that has been published with the other one, if any.
    fn published(self, known: Option<&String>) -> String {
        if known == Some(&self.before_guardrails) { self.before_guardrails } else { self.now }
    }
}

impl Deciding<'_> {
    /// The hash of the plan of the whole step: what it has done, what waits there, and what it would do now; none if none.
    pub(super) fn plan_hash(&self, step: &Step, plans: &Plans) -> Option<PlanHash> {
        let is_of_it = |change: &&Change| change.round > 0 || change.has_no_turn_yet();
        let begun = self.next.changes_of(&step.name).filter(is_of_it);
        let is_new = |known: &&Change| !plans.changes.iter().any(|(change, _)| change.id == known.id);
        let stays_approved = self.what_stays_approved(step, &plans.changes, plans.scope);
        // Nobody has approved to change it once more: what an earlier approval says of the step counts for nothing.
        let asks_again = |change: &Change| {
            let is_once_more = change.round > 0 && change.loan().is_some();
            is_once_more && change.again() != Again::Always && !stays_approved(change)
        };
        let row_of_plan = |(change, _): &(Change, _)| match asks_again(change) {
            true => format!("{} again {}", row(change), change.round),
            false => row(change),
        };
        let planned = plans.changes.iter().map(row_of_plan);
        let mut rows: Vec<String> = begun.filter(is_new).map(row).chain(planned).collect();
        if rows.is_empty() {
            return None;
        }
        rows.sort();
        let action = serde_json::to_string(&step.definition.action).unwrap_or_default();
        let limits = self.rules.map(|rules| &rules.limits);
        let guardrails =
            limits.map(|limits| json!([limits.max_targets, limits.max_targets_percent]).to_string());
        let guardrails = guardrails.unwrap_or_default();
        let hash = |under: &[&str]| {
            let mut parts = vec![self.facts.incident.uid.as_str(), &step.name, &action];
            parts.extend(under);
            parts.extend(rows.iter().map(String::as_str));
            format!("sha256:{}", digest(&parts))
        };
        let suspect = hash(&[&guardrails, "suspect"]);
        let now = if self.suspect_detector().is_some() { suspect.clone() } else { hash(&[&guardrails, ""]) };
        Some(PlanHash { now, suspect, before_guardrails: hash(&[]) })
    }

    /// Publishes the hash of what the step would do now.
    pub(super) fn note_plan(&mut self, step: &Step, plans: &Plans) {
        if is_begun(&self.next, &step.name) || plans.new_targets() > 0 {
            let hash = self.plan_hash(step, plans);
            let status = self.step_status(&step.name);
            status.plan_hash = hash.map(|hash| hash.published(status.plan_hash.as_ref()));
        }
    }
}

/// One change as it is hashed: the object and the values, without any version.
pub(super) fn row(change: &Change) -> String {
    let fields: Vec<_> = change
        .fields()
        .iter()
        .map(|field| {
            json!([
                field.path.to_string(),
                field.before,
                field.after,
                field.before.is_some(),
                field.after.is_some()
            ])
        })
        .collect();
    let (target, operation) = (&change.target, change.as_operation());
    match operation.map(|it| (it.operation, it.delivery, &it.write)) {
        Some((does, delivery, Some(write))) => json!([target, does, delivery, write.paths]).to_string(),
        Some((does, delivery, None)) => json!([target, does, delivery]).to_string(),
        None => json!([target, fields]).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::target;
    use super::*;
    use crate::change::FieldChange;
    use crate::id::ChangeId;
    use crate::reason::Reason;

    fn planned(object: &str, after: &str) -> Change {
        let fields = vec![FieldChange {
            path: "/spec/replicas".parse().unwrap(),
            before: Some(json!("4")),
            after: Some(json!(after)),
            created: None,
            owner: None,
            ceded_to: None,
            beside: None,
        }];
        Change::planned(ChangeId::of("incident", "one", object), "one", target(object), fields)
    }

    #[test]
    fn a_row_of_the_plan_names_the_object_and_the_values_and_nothing_that_moves_by_itself() {
        let change = planned("a", "0");
        let mut later = change.clone();
        later.tries = 3;
        later.explain(Some((Reason::Conflict, "somebody else wrote it".to_owned())));
        assert_eq!(row(&change), row(&later));
        assert_ne!(row(&change), row(&planned("b", "0")));
        assert_ne!(row(&change), row(&planned("a", "1")));
    }
}
