//! The recent responses of a policy, and how its guardrails count them.
//!
//! The list is in the policy's status and changes only in the guarded writes of its claim, so no
//! restart and no second controller resets a budget. Newer responses come after older ones; this order
//! decides which came first, not clocks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::IncidentId;
use crate::rules::Limits;

/// The maximum number of responses that a policy remembers: more than `maxIncidents.count` may ever be.
pub const REMEMBERED: usize = 64;

/// One response of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RecentResponse {
    /// The name of the Incident.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 253)))]
    pub name: String,
    /// The uid of the Incident, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 63)))]
    pub uid: Option<String>,
    /// Who opened the Incident. Incidents that a person opened do not count for `maxIncidents`.
    #[serde(default)]
    pub opened_by: OpenedBy,
    /// When the response started.
    pub at: Timestamp,
    /// When the response ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// Who opened an Incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OpenedBy {
    /// The policy: one of its rules held.
    #[default]
    Policy,
    /// A person.
    Person,
}

/// Adds a response that starts now, and forgets those that no guardrail needs any more.
pub fn begin(responses: &mut Vec<RecentResponse>, new: RecentResponse, limits: &Limits) {
    let is_recent = |one: &RecentResponse| new.at.duration_since(one.at) < limits.max_incidents_per;
    let last_end = responses.iter().filter_map(|one| one.ended_at).max();
    responses.retain(|one| {
        one.opened_by == OpenedBy::Policy && is_recent(one)
            || one.ended_at.is_some() && one.ended_at == last_end
    });
    responses.push(new);
    responses.drain(..responses.len().saturating_sub(REMEMBERED));
}

/// An Incident with the announced name exists.
pub fn identify(responses: &mut [RecentResponse], name: &str, uid: &str) {
    let announced = responses.iter_mut().rfind(|one| one.name == name && one.uid.is_none());
    if let Some(one) = announced {
        one.uid = Some(uid.to_owned());
    }
}

/// The Incident with the announced name will not be created, so there was no response.
pub fn take_back(responses: &mut Vec<RecentResponse>, name: &str) {
    responses.retain(|one| one.name != name || one.uid.is_some());
}

/// The response of this Incident has ended.
pub fn end(responses: &mut [RecentResponse], uid: &str, at: Timestamp) {
    if let Some(one) = responses.iter_mut().find(|one| is_of(one, uid)) {
        one.ended_at.get_or_insert(at);
    }
}

/// Whether it is the response of the Incident with this uid.
pub fn is_of(response: &RecentResponse, uid: &str) -> bool {
    response.uid.as_deref() == Some(uid)
}

/// The response that ended last.
pub fn last_ended(responses: &[RecentResponse]) -> Option<(&RecentResponse, Timestamp)> {
    responses.iter().filter_map(|one| Some((one, one.ended_at?))).max_by_key(|(_, ended)| *ended)
}

/// Of the responses that the policy opened, those that count together with this Incident: opened
/// before it, and no longer than `maxIncidents.per` before it. None for an Incident of a person.
///
/// The count is taken at the time when the Incident was opened, so that one that waits for a person does not start
/// hours later because other responses have become old.
pub fn counted_before<'a>(
    responses: &'a [RecentResponse],
    incident: &IncidentId,
    limits: &Limits,
) -> Option<Vec<&'a RecentResponse>> {
    // An Incident that acts before its uid is recorded is the last one of its name.
    let is_announced = |one: &RecentResponse| one.uid.is_none() && one.name == incident.name;
    let known = responses.iter().position(|one| is_of(one, &incident.uid));
    let position = known.or_else(|| responses.iter().rposition(is_announced))?;
    let own = &responses[position];
    let is_recent = |one: &&RecentResponse| own.at.duration_since(one.at) < limits.max_incidents_per;
    let automatic = |one: &&RecentResponse| one.opened_by == OpenedBy::Policy;
    (own.opened_by == OpenedBy::Policy)
        .then(|| responses[..position].iter().filter(automatic).filter(is_recent).collect())
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::policy::PolicySpec;
    use crate::rules::Rules;

    fn limits(per: i64) -> Limits {
        let mut limits = Rules::parse(&PolicySpec::default()).unwrap().limits;
        limits.max_incidents_per = SignedDuration::from_secs(per);
        limits
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn response(name: &str, second: i64, opened_by: OpenedBy) -> RecentResponse {
        RecentResponse {
            name: name.to_owned(),
            uid: Some(format!("uid-{name}")),
            opened_by,
            at: at(second),
            ended_at: Some(at(second + 5)),
        }
    }

    fn names<'a>(responses: impl IntoIterator<Item = &'a RecentResponse>) -> Vec<&'a str> {
        responses.into_iter().map(|one| one.name.as_str()).collect()
    }

    /// The responses that count together with the Incident of this name and uid.
    fn counted(all: &[RecentResponse], name: &str, uid: &str, per: i64) -> Option<Vec<String>> {
        let text = |text: &str| text.to_owned();
        let incident = IncidentId { namespace: text("ns"), name: text(name), uid: text(uid) };
        let counted = counted_before(all, &incident, &limits(per))?;
        Some(counted.into_iter().map(|one| one.name.clone()).collect())
    }

    #[test]
    fn only_automatic_ones_that_were_opened_shortly_before_count() {
        let mut all = Vec::new();
        for (name, second, by) in [
            ("old", 0, OpenedBy::Policy),
            ("a", 60, OpenedBy::Policy),
            ("hand", 70, OpenedBy::Person),
            ("b", 100, OpenedBy::Policy),
        ] {
            all.push(response(name, second, by));
        }
        let named = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(counted(&all, "b", "uid-b", 60), named(&["a"]));
        assert_eq!(counted(&all, "b", "uid-b", 3600), named(&["old", "a"]));
        assert_eq!(counted(&all, "hand", "uid-hand", 60), None);
        assert_eq!(counted(&all, "b", "uid-of-another", 60), None, "its name alone says nothing");
    }

    #[test]
    fn an_incident_whose_uid_is_not_recorded_yet_counts_by_its_name() {
        let announced = RecentResponse { uid: None, ended_at: None, ..response("b", 9, OpenedBy::Policy) };
        let all = [response("b", 0, OpenedBy::Policy), announced];
        assert_eq!(counted(&all, "b", "new", 60), Some(vec!["b".to_owned()]));
        assert_eq!(counted(&all, "b", "uid-b", 60), Some(Vec::new()), "the first of this name");
    }

    #[test]
    fn what_was_announced_and_not_created_is_no_response() {
        let mut all = vec![response("a", 0, OpenedBy::Policy)];
        let announced = RecentResponse { uid: None, ended_at: None, ..response("b", 9, OpenedBy::Policy) };
        begin(&mut all, announced.clone(), &limits(60));
        take_back(&mut all, "b");
        assert_eq!(names(&all), ["a"]);

        begin(&mut all, announced, &limits(60));
        identify(&mut all, "b", "uid-b");
        take_back(&mut all, "b");
        assert_eq!(counted(&all, "b", "uid-b", 60), Some(vec!["a".to_owned()]));
    }

    #[test]
    fn the_first_end_of_a_response_is_its_end() {
        let mut all = vec![RecentResponse { ended_at: None, ..response("a", 0, OpenedBy::Policy) }];
        end(&mut all, "uid-a", at(7));
        end(&mut all, "uid-a", at(9));
        assert_eq!(last_ended(&all).map(|(_, ended)| ended), Some(at(7)));
    }

    #[test]
    fn the_list_stays_short_and_keeps_what_the_guardrails_ask_for() {
        let mut all = Vec::new();
        begin(&mut all, response("hand", 0, OpenedBy::Person), &limits(60));
        begin(&mut all, response("early", 1, OpenedBy::Policy), &limits(60));
        begin(&mut all, response("last", 2, OpenedBy::Person), &limits(60));
        begin(&mut all, response("next", 3, OpenedBy::Policy), &limits(60));
        assert_eq!(names(&all), ["early", "last", "next"]);
        begin(&mut all, response("much-later", 1000, OpenedBy::Policy), &limits(60));
        assert_eq!(names(&all), ["next", "much-later"], "the last end is that of next");
        for number in 0..200 {
            begin(&mut all, response(&number.to_string(), 1000 + number, OpenedBy::Policy), &limits(3600));
        }
        assert_eq!((all.len(), all[REMEMBERED - 1].name.as_str()), (REMEMBERED, "199"));
    }
}
