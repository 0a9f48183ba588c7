//! Objects that others control: the topmost owner is changed instead.
//!
//! The controller of an object keeps restoring it from its owner, so a change below the top lasts for
//! seconds. The owners are read live, level by level, each once however many objects it owns. The topmost
//! owner is the target if its kind has a profile. If not, or if an owner in between may not be read, the
//! object stays a target that is rejected with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use firebreak_engine::change::Change;
use firebreak_engine::facts::{OwnedBy, Target};
use firebreak_engine::id::TargetId;
use firebreak_engine::rules::Step;
use firebreak_engine::verdict::Verdict;
use futures::{StreamExt, stream};
use serde_json::Value;

use super::{IN_FLIGHT, Reader, Unread};
use crate::kubernetes::names::is_name;
use crate::workloads::{Owner, controlling_owner};

/// How many owners above an object are followed: enough for a Pod, its ReplicaSet, its Deployment and
/// two operators.
const LEVELS: usize = 4;

/// Owners by their uid.
pub(super) type Owners = BTreeMap<String, Seen>;

/// The result of reading an owner.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Seen {
    /// It exists.
    Found(Arc<Value>),
    /// It no longer exists.
    Gone,
    /// The request was rejected.
    Refused(String),
    /// There was no answer that says anything.
    Failed(String),
}

impl Reader<'_> {
    /// The targets, replaced by their owners. An owner is selected if one of the objects that it
    /// owns is, or if the step has changed it already (`known`).
    pub(super) async fn through_owners(
        &self,
        step: &Step,
        listed: Vec<Target>,
        known: &BTreeSet<&str>,
    ) -> Result<Vec<Target>, Unread> {
        let (mut targets, owned): (Vec<Target>, Vec<Target>) =
            listed.into_iter().partition(|target| target.owned_by.is_none());
        let owners = self.owners(owned.iter().filter_map(|target| owner_of(&target.object)).collect()).await;
        let mut places: BTreeMap<String, usize> =
            targets.iter().enumerate().map(|(at, target)| (target.id.uid.clone(), at)).collect();
        for mut child in owned {
            // A change from before it had an owner is still handled on the object itself.
            let is_lent = |change: &Change| change.target.uid == child.id.uid && change.is_outstanding();
            let owner = controlling_owner(&child.object);
            let Some(owner) = owner.filter(|_| !self.state.changes_of(&step.name).any(is_lent)) else {
                targets.push(child);
                continue;
            };
            let place = top(&owner, &owners, LEVELS).and_then(|owner| match places.get(uid(owner)) {
                Some(at) => Ok(*at),
                None => {
                    let owner = self.owner(step, owner)?;
                    places.insert(owner.id.uid.clone(), targets.len());
                    targets.push(owner);
                    Ok(targets.len() - 1)
                }
            });
            match place {
                Ok(at) => stand_for(&mut targets[at], &child),
                Err(owned_by) => {
                    child.owned_by = Some(owned_by);
                    targets.push(child);
                }
            }
        }
        targets.retain(|target| target.matched != Verdict::False || known.contains(target.id.uid.as_str()));
        Ok(targets)
    }

    /// These owners by their uid, and their owners, level by level. An owner that cannot be read blocks only its own
    /// objects.
    pub(super) async fn owners(&self, mut next: BTreeMap<String, TargetId>) -> Owners {
        let mut owners = Owners::new();
        for _ in 0..LEVELS {
            let level: Vec<(String, Seen)> = stream::iter(next)
                .map(|(uid, id)| async move {
                    // Anyone who may write an object can set its owner, and the name becomes part of a URL.
                    if !is_name(&id.name) {
                        return (uid, Seen::Refused("its owner reference has an invalid name".to_owned()));
                    }
                    match self.live(&id).await {
                        Ok(Some(owner)) => (uid, Seen::Found(owner)),
                        Ok(None) => (uid, Seen::Gone),
                        Err(Unread::Refused(why)) => (uid, Seen::Refused(why)),
                        Err(Unread::Failed(why)) => (uid, Seen::Failed(why)),
                    }
                })
                .buffer_unordered(IN_FLIGHT)
                .collect()
                .await;
            next = level
                .iter()
                .filter_map(|(_, seen)| match seen {
                    Seen::Found(owner) => owner_of(owner),
                    Seen::Gone | Seen::Refused(_) | Seen::Failed(_) => None,
                })
                .filter(|(uid, _)| !owners.contains_key(uid))
                .collect();
            owners.extend(level);
        }
        owners
    }

    /// The owner as a target that is not selected yet.
    fn owner(&self, step: &Step, object: &Arc<Value>) -> Result<Target, OwnedBy> {
        let text = |key: &str| object.pointer(key).and_then(Value::as_str).unwrap_or_default();
        let lost =
            |why: String| OwnedBy { owner: format!("{}/{}", text("/kind"), text("/metadata/name")), why };
        if self.profile(object).is_none() {
            return Err(lost(
                "it would overwrite the change, and Firebreak does not know the fields of its kind; change \
                    it by hand"
                    .to_owned(),
            ));
        }
        let owner = self.target(Arc::clone(object), Some(step)).map_err(lost)?;
        Ok(Target { matched: Verdict::False, match_problem: None, ..owner })
    }
}

/// The topmost object, at most this many levels above this owner.
fn top<'a>(owner: &Owner, owners: &'a Owners, levels: usize) -> Result<&'a Arc<Value>, OwnedBy> {
    let lost = |why: String| Err(OwnedBy { owner: owner.to_string(), why });
    if levels == 0 {
        return lost(format!("it would overwrite the change, and Firebreak follows at most {LEVELS} owners"));
    }
    match owners.get(&owner.uid) {
        Some(Seen::Found(found)) => match controlling_owner(found) {
            Some(above) => top(&above, owners, levels - 1),
            None => Ok(found),
        },
        Some(Seen::Gone) | None => lost(
            "it does not exist any more, so the objects that it owned are about \
            to be deleted"
                .to_owned(),
        ),
        Some(Seen::Refused(why) | Seen::Failed(why)) => {
            lost(format!("it would overwrite the change, and it cannot be read: {why}"))
        }
    }
}

/// The topmost owner of an object; none if it has none, or if one of its owners may not be read or is gone.
pub(super) fn topmost<'a>(object: &Value, owners: &'a Owners) -> Option<&'a Arc<Value>> {
    top(&controlling_owner(object)?, owners, LEVELS).ok()
}

/// Why some of these owners could not be read, if there was no conclusive answer.
pub(super) fn failure(owners: &Owners) -> Option<&str> {
    owners.values().find_map(|seen| match seen {
        Seen::Failed(why) => Some(why.as_str()),
        Seen::Found(_) | Seen::Gone | Seen::Refused(_) => None,
    })
}

/// The owner of an object by its uid, and what it is called.
pub(super) fn owner_of(object: &Value) -> Option<(String, TargetId)> {
    let owner = controlling_owner(object)?;
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
    let Owner { api_version, kind, name, uid } = owner;
    Some((uid.clone(), TargetId { api_version, kind, namespace: namespace.to_owned(), name, uid }))
}

fn uid(object: &Value) -> &str {
    object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default()
}

/// Lets an owner represent one of the objects that it owns: it is selected if one of them is, otherwise it is
/// Unknown if one of them is, and it must not be changed if one of them excludes it.
fn stand_for(owner: &mut Target, child: &Target) {
    owner.matched = owner.matched.or(child.matched);
    let problem = owner.match_problem.take().or_else(|| child.match_problem.clone());
    owner.match_problem = problem.filter(|_| owner.matched == Verdict::Unknown);
    if child.matched != Verdict::False {
        owner.exempt |= child.exempt;
        owner.resolved_from.push(child.id.clone());
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::expression::{ObjectCondition, ObjectScope};
    use serde_json::json;

    use super::*;
    use crate::workloads::{self, Profiles};

    fn object(kind: &str, owner: Option<&str>) -> Arc<Value> {
        let owners = owner.map(|kind| json!([reference(kind)]));
        Arc::new(json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": kind.to_lowercase(),
            "namespace": "serving", "uid": kind, "resourceVersion": "1", "ownerReferences": owners}}))
    }

    fn reference(kind: &str) -> Value {
        json!({"apiVersion": "x/v1", "kind": kind, "name": kind.to_lowercase(), "uid": kind, "controller": true})
    }

    fn owners(chain: &[(&str, Option<&str>)]) -> Owners {
        chain.iter().map(|(kind, owner)| ((*kind).to_owned(), Seen::Found(object(kind, *owner)))).collect()
    }

    /// The kind of the topmost owner of an object of kind Child, or why there is none.
    fn top_of(first: &str, owners: &Owners) -> Result<String, String> {
        let child = object("Child", Some(first));
        let top = top(&controlling_owner(&child).unwrap(), owners, LEVELS);
        top.map(|top| uid(top).to_owned()).map_err(|lost| lost.to_string())
    }

    #[test]
    fn the_object_at_the_top_is_found_through_all_between() {
        let chain = [("A", Some("B")), ("B", Some("C")), ("C", Some("D")), ("D", None)];
        assert_eq!(top_of("A", &owners(&chain)), Ok("D".to_owned()));
        assert_eq!(top_of("D", &owners(&chain)), Ok("D".to_owned()));
    }

    #[test]
    fn more_owners_than_are_followed_and_owners_in_a_ring_are_no_top() {
        let long = [("A", Some("B")), ("B", Some("C")), ("C", Some("D")), ("D", Some("E")), ("E", None)];
        assert!(top_of("A", &owners(&long)).unwrap_err().starts_with("E/e controls it: "));
        assert!(top_of("A", &owners(&[("A", Some("B")), ("B", Some("A"))])).is_err());
    }

    #[test]
    fn an_owner_that_cannot_be_read_or_is_gone_is_named_with_the_reason() {
        let mut owners = owners(&[("A", Some("B"))]);
        owners.insert("B".to_owned(), Seen::Refused("you cannot get bs".to_owned()));
        let refused = top_of("A", &owners).unwrap_err();
        assert!(
            refused.starts_with("B/b controls it") && refused.ends_with("you cannot get bs"),
            "{refused}"
        );
        owners.insert("B".to_owned(), Seen::Gone);
        let gone = top_of("A", &owners).unwrap_err();
        assert!(gone.contains("B/b") && gone.contains("does not exist any more"), "{gone}");
    }

    #[test]
    fn an_owner_is_read_where_its_object_is_and_by_its_uid() {
        let (uid, id) = owner_of(&object("Child", Some("A"))).unwrap();
        assert_eq!((uid.as_str(), id.to_string().as_str()), ("A", "A serving/a"));
        assert_eq!(owner_of(&object("A", None)), None);
    }

    /// A target with this value of `where`.
    fn target(name: &str, matched: Verdict) -> Target {
        let profiles = Profiles::built_in().unwrap();
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name,
            "namespace": "serving", "uid": name, "resourceVersion": "1"}});
        let condition = match matched {
            Verdict::True => "true",
            Verdict::False => "false",
            Verdict::Unknown => "object.spec.nothing == 1",
        };
        let condition = ObjectCondition::parse(condition, ObjectScope::ObjectAndHealthy).unwrap();
        let profile = profiles.find("apps/v1", "Deployment").map(Arc::as_ref);
        workloads::target(profile, Arc::new(object), Some(&condition), None, &BTreeSet::new()).unwrap()
    }

    #[test]
    fn an_owner_is_wanted_if_one_of_its_objects_is_and_unknown_if_that_is_the_most_that_is_known() {
        use Verdict::{False, True, Unknown};
        let table = [
            (vec![False, True, Unknown], True, 2),
            (vec![Unknown, False], Unknown, 1),
            (vec![False, False], False, 0),
        ];
        for (children, matched, of) in table {
            let mut owner = target("owner", False);
            for (number, verdict) in children.into_iter().enumerate() {
                stand_for(&mut owner, &target(&format!("child-{number}"), verdict));
            }
            assert_eq!((owner.matched, owner.resolved_from.len()), (matched, of));
            assert_eq!(owner.match_problem.is_some(), matched == Unknown, "{:?}", owner.match_problem);
        }
    }

    #[test]
    fn an_owner_is_exempt_if_one_of_its_objects_is() {
        let mut owner = target("owner", Verdict::False);
        stand_for(&mut owner, &target("free", Verdict::True));
        assert!(!owner.exempt);
        stand_for(&mut owner, &Target { exempt: true, ..target("kept-out", Verdict::True) });
        assert!(owner.exempt);
    }
}
