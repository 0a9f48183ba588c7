//! The recent responses of a policy: they follow its claim, in the same guarded write.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::facts::IncidentFact;
use super::state::{ActiveIncident, PolicyState};
use crate::response::{self, OpenedBy, REMEMBERED, RecentResponse};
use crate::rules::Limits;

/// The responses after the claim has changed to `active`. `ended_at` is when the previous Incident closed, if that
/// is known.
pub(super) fn follow(
    before: &PolicyState,
    active: Option<&ActiveIncident>,
    ended_at: Option<Timestamp>,
    limits: &Limits,
    now: Timestamp,
) -> Vec<RecentResponse> {
    let mut responses = before.recent_responses.clone();
    if let Some(old) = &before.active_incident {
        let goes_on = active.is_some_and(|new| new.name == old.name);
        match &old.uid {
            Some(uid) if active.and_then(|new| new.uid.as_ref()) != Some(uid) => {
                response::end(&mut responses, uid, ended_at.unwrap_or(now));
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
            at: now,
            ended_at: None,
        };
        response::begin(&mut responses, begun, limits);
    }
    responses
}

/// The newest responses according to the Incidents that ever had the claim. An Incident that was announced and
/// then given up never had it.
pub(super) fn told_by(incidents: &[IncidentFact]) -> Vec<RecentResponse> {
    let told = incidents.iter().filter(|incident| incident.had_claim).map(|incident| RecentResponse {
        name: incident.name.clone(),
        uid: Some(incident.uid.clone()),
        opened_by: if incident.nonce.is_some() { OpenedBy::Policy } else { OpenedBy::Person },
        at: incident.created_at,
        ended_at: incident.resolved_at,
    });
    let mut told: Vec<RecentResponse> = told.collect();
    told.sort_by_key(|one| Reverse((one.at, one.name.clone())));
    told.truncate(REMEMBERED);
    told.reverse();
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicySpec;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn claim(name: &str, nonce: Option<&str>, uid: Option<&str>) -> ActiveIncident {
        let text = |text: &str| text.to_owned();
        ActiveIncident { name: text(name), nonce: nonce.map(text), uid: uid.map(text), revoked: false }
    }

    /// The responses after these claims, one after the other.
    fn after(claims: &[Option<ActiveIncident>]) -> Vec<RecentResponse> {
        let mut state = PolicyState::default();
        for (second, active) in (0..).zip(claims) {
            let limits = Limits::of(&PolicySpec::default());
            state.recent_responses = follow(&state, active.as_ref(), None, &limits, at(second));
            state.active_incident.clone_from(active);
        }
        state.recent_responses
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
        let announced = claim("a", Some("n"), None);
        let revoked = ActiveIncident { revoked: true, ..announced.clone() };
        assert_eq!(after(&[Some(announced), Some(revoked), None]), []);
    }

    #[test]
    fn the_response_of_a_person_is_remembered_as_theirs() {
        let all = after(&[Some(claim("hand", None, Some("u"))), None]);
        assert_eq!((all[0].opened_by, all[0].ended_at), (OpenedBy::Person, Some(at(1))));
    }

    #[test]
    fn incidents_tell_of_the_responses_that_had_the_claim() {
        let incident = |name: &str, second: i64, nonce: Option<&str>, end: Option<i64>| IncidentFact {
            name: name.to_owned(),
            uid: name.to_owned(),
            nonce: nonce.map(str::to_owned),
            created_at: at(second),
            had_claim: name != "superseded",
            knows: Some("policy".to_owned()),
            deleting: false,
            closing: None,
            resolved_at: end.map(at),
            in_force: false,
        };
        let told = told_by(&[
            incident("open", 9, Some("n"), None),
            incident("hand", 5, None, Some(7)),
            incident("superseded", 8, Some("n"), Some(8)),
            incident("first", 1, Some("n"), Some(3)),
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
