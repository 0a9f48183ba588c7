//! The recent responses of a policy: they follow its claim, in the same guarded write.

use std::cmp::Reverse;

use firebreak_engine::response::{self, OpenedBy, REMEMBERED, RecentResponse};
use firebreak_engine::rules::Limits;
use jiff::Timestamp;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, ResourceExt};

use super::claim::had_claim;
use crate::api::{ActiveIncident, Incident, RemediationPolicy, RemediationPolicyStatus, names};
use crate::controller::Operator;
use crate::controller::error::Error;
use crate::controller::queue::Name;
use crate::kubernetes::retry;

/// Incidents of one page of a list: one may have more than a megabyte.
const PAGE: u32 = 50;

/// The claim as it was and as it is going to be.
pub struct Turn<'a> {
    /// The status that is going to be replaced.
    pub old: &'a RemediationPolicyStatus,
    /// The claim that it gets.
    pub active: Option<&'a ActiveIncident>,
    /// When the Incident closed that had the claim, if that is known.
    pub ended_at: Option<Timestamp>,
    /// The moment.
    pub now: Timestamp,
}

/// The responses after the claim has moved.
pub fn follow(turn: &Turn<'_>, limits: &Limits) -> Vec<RecentResponse> {
    let mut responses = turn.old.recent_responses.clone();
    let active = turn.active;
    if let Some(old) = &turn.old.active_incident {
        let goes_on = active.is_some_and(|new| new.name == old.name);
        match &old.uid {
            Some(uid) if active.and_then(|new| new.uid.as_ref()) != Some(uid) => {
                response::end(&mut responses, uid, turn.ended_at.unwrap_or(turn.now));
            }
            None if !goes_on => response::take_back(&mut responses, &old.name),
            Some(_) | None => {}
        }
    }
    let Some(new) = active else { return responses };
    if let Some(uid) = &new.uid {
        response::identify(&mut responses, &new.name, uid);
    }
    let is_known = responses.iter().any(|one| match &new.uid {
        Some(uid) => response::is_of(one, uid),
        None => one.uid.is_none() && one.name == new.name,
    });
    if !is_known {
        let begun = RecentResponse {
            name: new.name.clone(),
            uid: new.uid.clone(),
            opened_by: if new.nonce.is_some() { OpenedBy::Policy } else { OpenedBy::Person },
            at: turn.now,
            ended_at: None,
        };
        response::begin(&mut responses, begun, limits);
    }
    responses
}

/// The policy, and if its status is gone because it was made anew, with its responses as its Incidents
/// tell them. They are read live: what a watch has not shown yet would be missing for good.
///
/// # Errors
/// The API server gives no answer, so it is not known.
pub async fn recall(
    operator: &Operator,
    name: &Name,
    policy: &RemediationPolicy,
) -> Result<RemediationPolicy, Error> {
    let mut policy = policy.clone();
    let is_gone = policy.status.as_ref().is_none_or(|status| status.observed_generation.is_none());
    if is_gone {
        let responses = told_by(list(operator, name).await?);
        policy.status.get_or_insert_default().recent_responses = responses;
    }
    Ok(policy)
}

async fn list(operator: &Operator, policy: &Name) -> Result<Vec<Incident>, Error> {
    let resource = ApiResource::erase::<Incident>(&());
    let client = operator.context.client.clone();
    let api: Api<DynamicObject> = Api::namespaced_with(client, &policy.namespace, &resource);
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = retry::read(|| api.list(&page)).await?;
        // One that does not decode is said elsewhere, and hides no other.
        let incidents = listed.items.into_iter().filter_map(|raw| raw.try_parse::<Incident>().ok());
        found.extend(incidents.filter(|incident| incident.policy_name() == Some(&policy.name)));
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The newest responses that Incidents tell of: of those that ever had the claim, which one that was
/// announced and then given up never had.
fn told_by(incidents: Vec<Incident>) -> Vec<RecentResponse> {
    let mut told: Vec<RecentResponse> =
        incidents.iter().filter(|one| had_claim(one)).filter_map(of).collect();
    told.sort_by_key(|one| Reverse((one.at, one.name.clone())));
    told.truncate(REMEMBERED);
    told.reverse();
    told
}

fn of(incident: &Incident) -> Option<RecentResponse> {
    let is_automatic = incident.annotations().contains_key(names::NONCE);
    Some(RecentResponse {
        name: incident.name_any(),
        uid: Some(incident.uid()?),
        opened_by: if is_automatic { OpenedBy::Policy } else { OpenedBy::Person },
        at: incident.creation_timestamp()?.0,
        ended_at: incident.status.as_ref().and_then(|status| status.state.resolved_at),
    })
}

#[cfg(test)]
mod tests {
    use firebreak_engine::policy::PolicySpec;
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn claim(name: &str, nonce: Option<&str>, uid: Option<&str>) -> ActiveIncident {
        ActiveIncident { name: name.to_owned(), nonce: nonce.map(str::to_owned), uid: uid.map(str::to_owned) }
    }

    /// The status after these claims, one after the other.
    fn after(claims: &[Option<ActiveIncident>]) -> Vec<RecentResponse> {
        let mut status = RemediationPolicyStatus::default();
        for (second, active) in (0..).zip(claims) {
            let turn = Turn { old: &status, active: active.as_ref(), ended_at: None, now: at(second) };
            status.recent_responses = follow(&turn, &Limits::of(&PolicySpec::default()));
            status.active_incident.clone_from(active);
        }
        status.recent_responses
    }

    #[test]
    fn a_response_is_counted_with_its_announcement_and_ends_with_its_claim() {
        let announced = Some(claim("a", Some("n"), None));
        let counted = after(&[None, announced.clone(), announced.clone()]);
        assert_eq!((counted.len(), counted[0].at, &counted[0].uid), (1, at(1), &None));

        let open = Some(claim("a", Some("n"), Some("u")));
        let all = after(&[announced, open.clone(), open.clone(), open, None, None]);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].uid.as_deref(), all[0].opened_by), (Some("u"), OpenedBy::Policy));
        assert_eq!((all[0].at, all[0].ended_at), (at(0), Some(at(4))));
    }

    #[test]
    fn an_announcement_that_came_to_nothing_is_not_counted() {
        assert_eq!(after(&[Some(claim("a", Some("n"), None)), None]), []);
    }

    #[test]
    fn the_response_of_a_person_is_remembered_as_theirs() {
        let all = after(&[Some(claim("hand", None, Some("u"))), None]);
        assert_eq!((all[0].opened_by, all[0].ended_at), (OpenedBy::Person, Some(at(1))));
    }

    #[test]
    fn incidents_tell_of_the_responses_that_had_the_claim() {
        let incident = |name: &str, second: i64, nonce: Option<&str>, state: serde_json::Value| -> Incident {
            let annotations = nonce.map(|nonce| json!({names::NONCE: nonce}));
            serde_json::from_value(json!({
                "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
                "metadata": {"name": name, "uid": name, "creationTimestamp": at(second), "annotations": annotations},
                "spec": {"policyRef": {"name": "p"}},
                "status": state,
            }))
            .unwrap()
        };
        let had = json!({"name": "p", "uid": "p", "generation": 1, "serviceAccount": "sa"});
        let told = told_by(vec![
            incident("open", 9, Some("n"), json!({"policy": had})),
            incident("hand", 5, None, json!({"policy": had, "resolvedAt": at(7)})),
            incident("superseded", 8, Some("n"), json!({"resolvedAt": at(8)})),
            incident("first", 1, Some("n"), json!({"policy": had, "resolvedAt": at(3)})),
        ]);
        let told: Vec<_> = told.iter().map(|one| (one.name.as_str(), one.opened_by, one.ended_at)).collect();
        let expected = [
            ("first", OpenedBy::Policy, Some(at(3))),
            ("hand", OpenedBy::Person, Some(at(7))),
            ("open", OpenedBy::Policy, None),
        ];
        assert_eq!(told, expected);
    }
}
