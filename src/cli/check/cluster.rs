//! `firebreak check --cluster`: whether Argo CD would restore what the steps of a policy change.
//!
//! # Flow
//! The objects in the scope of every step, whatever `where` says now, read as the user; the fields that the step would
//! change in each, and those that are changed now; the Application of each object that Argo CD applies; what it lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::action::Plan;
use firebreak_engine::change::FieldChange;
use firebreak_engine::facts::{ListingRead, Target};
use firebreak_engine::gitops::argo::{ApplicationId, Tracking};
use firebreak_engine::id::TargetId;
use firebreak_engine::rules::{Rules, Step};
use firebreak_engine::undo;
use futures::{StreamExt, stream};
use serde_json::Value;

use crate::cli::connection::Connection;
use crate::look::Kinds;
use crate::look::applications::{Found, find};
use crate::look::targets::list_to_judge;
use crate::workloads::Profiles;

/// Applications that are read at once.
const IN_FLIGHT: usize = 8;

/// What the cluster says about a policy.
#[derive(Default)]
pub(super) struct Findings {
    /// How many steps have their objects listed.
    pub listed: usize,
    /// Steps whose objects cannot be listed, and why.
    pub unread: Vec<(String, String)>,
    /// The objects that Argo CD applies, or may apply.
    pub objects: Vec<Watched>,
    /// Their Applications, those that were needed.
    pub applications: BTreeMap<ApplicationId, Found>,
}

/// An object that Argo CD applies, or may apply.
pub(super) struct Watched {
    /// Which object.
    pub id: TargetId,
    /// As it is now.
    pub object: Arc<Value>,
    /// How it is known that Argo CD applies it.
    pub tracking: Tracking,
    /// The fields that steps change in it.
    pub fields: Vec<FieldChange>,
    /// Why no step would change it now, if none would.
    pub unchanged: Option<String>,
}

/// Reads what matters to a policy of this namespace.
pub(super) async fn read(
    connection: &Connection,
    profiles: &Profiles,
    namespace: &str,
    rules: &Rules,
) -> Findings {
    let rules = rules.for_all();
    let kinds = Kinds { discovery: &connection.discovery, profiles };
    let mut listings = list_to_judge(kinds, &connection.client, namespace, &rules).await;
    let mut findings = Findings::default();
    let mut seen = BTreeMap::new();
    for step in &rules.steps {
        match listings.remove(&step.name) {
            Some(ListingRead::Listed(listing)) => {
                findings.listed += 1;
                listing.targets.into_iter().for_each(|target| take_in(&mut seen, step, target));
            }
            Some(ListingRead::Refused { why } | ListingRead::Failed { why }) => {
                findings.unread.push((step.name.clone(), why));
            }
            None => {}
        }
    }
    findings.objects = seen.into_values().collect();
    findings.objects.sort_by(|one, other| one.id.cmp(&other.id));
    let needed = findings.objects.iter().filter(|watched| !watched.fields.is_empty());
    let needed: BTreeSet<ApplicationId> =
        needed.filter_map(|watched| watched.tracking.application.clone()).collect();
    let read = |id: ApplicationId| async move {
        let found = find(&connection.client, &connection.discovery, &id).await;
        (id, found)
    };
    findings.applications = stream::iter(needed).map(read).buffer_unordered(IN_FLIGHT).collect().await;
    findings
}

/// Adds what a step changes in an object, by its uid. Objects that are never changed, or that Argo CD does not apply,
/// are left out.
fn take_in(seen: &mut BTreeMap<String, Watched>, step: &Step, target: Target) {
    if target.exempt || target.owned_by.is_some() {
        return;
    }
    let Some(tracking) = Tracking::of(&target.object) else { return };
    let plan = step.action.plan(&target, None);
    let watched = seen.entry(target.id.uid.clone()).or_insert_with(|| Watched {
        tracking,
        fields: lent(&target.object),
        unchanged: None,
        object: target.object,
        id: target.id,
    });
    match plan {
        Plan::Change(fields) => fields.into_iter().for_each(|field| watched.add(field)),
        Plan::NothingToDo(why) | Plan::Refused { message: why, .. } => {
            watched.unchanged.get_or_insert(why);
        }
        Plan::Operate(_) => {}
    }
}

impl Watched {
    fn add(&mut self, field: FieldChange) {
        if !self.fields.iter().any(|known| known.path == field.path) {
            self.fields.push(field);
        }
    }
}

/// The fields that an Incident has changed and that are not reverted yet: no step would change them now.
fn lent(object: &Value) -> Vec<FieldChange> {
    let loans = undo::record(object).ok().flatten().into_iter().flat_map(|record| record.loans);
    let loans = loans.filter(|loan| undo::is_labelled(object, loan));
    loans.flat_map(|loan| loan.fields).filter(|field| field.ceded_to.is_none()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_changed_now_is_judged_though_no_step_would_change_it_again() {
        let field = |path: &str| json!({"path": path, "before": 1, "after": 3});
        let mut ceded = field("/spec/minReadySeconds");
        ceded["cededTo"] = json!("alice");
        let loan = json!({"id": "c", "incident": "ns/i/of-incident", "step": "s", "uid": "u", "apiVersion": "apps/v1",
            "fields": [field("/spec/replicas"), ceded]});
        let record = json!({"v": 1, "loans": [loan]}).to_string();
        let mut object = json!({"metadata": {"uid": "u", "labels": {"firebreak.dev/incident": "of-incident"},
            "annotations": {"firebreak.dev/undo": record}}});
        let paths = |object: &Value| -> Vec<String> {
            lent(object).iter().map(|field| field.path.to_string()).collect()
        };
        assert_eq!(paths(&object), ["/spec/replicas"]);
        object["metadata"]["labels"] = json!({});
        assert_eq!(paths(&object), Vec::<String>::new(), "a leftover says nothing about the values");
    }
}
