//! Lists the objects that the steps of a policy may change, in quiet times, for what its condition Accepted says of them.
//!
//! # Guarantees
//! No pass waits for it: the lists are read in a loop of their own, one policy after the other, once its rights are
//! known to be complete and again when they were checked again. A list that gives no answer changes nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firebreak_engine::decide_policy::Access;
use firebreak_engine::gitops::argo::Applied;
use firebreak_engine::verdict::Verdict;
use kube::ResourceExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::RemediationPolicy;
use crate::api::condition::{Condition, ConditionType};
use crate::controller::Operator;
use crate::controller::queue::Name;
use crate::kubernetes::impersonate::ServiceAccountRef;
use crate::look::Kinds;
use crate::look::targets::{Reach, Survey, survey};

/// The minimum time between two surveys of a policy that did not change: a list of everything is not free, and who applies
/// an object seldom changes.
const SELDOM: Duration = Duration::from_secs(3600);
/// How long the lists of one policy may take, so that no other waits for ever.
const LONGEST: Duration = Duration::from_secs(60);

/// What the last survey of a policy has found.
#[derive(Clone, Debug)]
pub struct Surveyed {
    of: Version,
    at: Instant,
    applied: Applied,
}

/// The policy that was surveyed: another one of its name has another uid.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version(Option<String>, Option<i64>);

impl Version {
    fn of(policy: &RemediationPolicy) -> Self {
        Self(policy.uid(), policy.metadata.generation)
    }
}

/// What people must know about the objects that the policy may change as it is now. Before the first survey of this
/// process, that is what the one before has told. Without the permissions to list them, nothing is known.
pub fn warning(surveyed: Option<&Surveyed>, policy: &RemediationPolicy, access: &Access) -> String {
    let is_known = match access {
        Access::Complete | Access::Unknown(_) => true,
        Access::NotAsked | Access::Lacking(_) => false,
    };
    let told = || match surveyed.filter(|surveyed| surveyed.of == Version::of(policy)) {
        Some(surveyed) => surveyed.applied.warning(),
        None => told_before(policy).unwrap_or_default().to_owned(),
    };
    if is_known { told() } else { String::new() }
}

fn told_before(policy: &RemediationPolicy) -> Option<&str> {
    let conditions = &policy.status.as_ref()?.conditions;
    let is_accepted = |condition: &&Condition| {
        condition.type_ == ConditionType::Accepted.name()
            && condition.status == Verdict::True
            && condition.observed_generation == policy.metadata.generation
    };
    conditions.iter().find(is_accepted).map(|condition| condition.message.as_str())
}

/// The policies whose objects are to be listed.
#[derive(Debug, Default)]
pub struct Surveys {
    due: Mutex<BTreeSet<Name>>,
    news: Notify,
}

impl Surveys {
    /// The rights of this policy were checked and are complete.
    pub fn ask(&self, name: &Name) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        self.news.notify_one();
    }

    async fn next(&self) -> Name {
        loop {
            let next = self.due.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match next {
                Some(name) => return name,
                None => self.news.notified().await,
            }
        }
    }
}

/// Surveys one policy after the other, while this process leads.
pub async fn run(operator: &Operator) {
    let mut leadership = operator.context.leadership.clone();
    loop {
        leadership.gained().await;
        let name = operator.surveys.next().await;
        if leadership.leads() {
            consider(operator, &name).await;
        } else {
            operator.surveys.ask(&name);
        }
    }
}

async fn consider(operator: &Operator, name: &Name) {
    let Some(policy) = operator.policies.object(name) else { return };
    // In an emergency nothing is read that does not help, and the timeline warns.
    if policy.status.as_ref().is_some_and(|status| status.state.active_incident.is_some()) {
        return;
    }
    let of = Version::of(&policy);
    let before = operator.memories.policy(name).surveyed.filter(|before| before.of == of);
    if before.as_ref().is_some_and(|before| before.at.elapsed() < SELDOM) {
        return;
    }
    let at = Instant::now();
    let applied = match survey_of(operator, name, &policy).await {
        Ok(found) => known(before.as_ref(), told_before(&policy), found),
        Err(why) => return tracing::debug!(policy = %name, why, "cannot list what the steps may change"),
    };
    let Some(applied) = applied else {
        return tracing::debug!(policy = %name, "what the steps may change was not listed in time");
    };
    let is_news = before.is_none_or(|before| before.applied != applied);
    operator.memories.edit_known_policy(name, |memory| {
        memory.surveyed = Some(Surveyed { of, at, applied });
    });
    if is_news {
        operator.nudge_policy(name);
    }
}

/// What is known after a survey; none if it tells no more than was told before. A part is better than nothing, but how
/// large it is depends on the network.
fn known(before: Option<&Surveyed>, told: Option<&str>, found: Survey) -> Option<Applied> {
    match (before, told.unwrap_or_default(), found.reach) {
        (_, _, Reach::All) => Some(found.applied),
        (Some(before), _, Reach::InTime) => Some(before.applied.clone()),
        (None, "", Reach::InTime) if !found.applied.warning().is_empty() => Some(found.applied),
        (None, _, Reach::InTime) => None,
    }
}

async fn survey_of(operator: &Operator, name: &Name, policy: &RemediationPolicy) -> Result<Survey, String> {
    let parsed = operator.rules(policy);
    let rules = parsed.as_ref().as_ref().map_err(|faults| faults.join("; "))?;
    let account = ServiceAccountRef::new(&name.namespace, &rules.service_account);
    let account = account.map_err(|error| error.to_string())?;
    let client = operator.context.impersonation.client(&account).await.map_err(|error| error.to_string())?;
    let profiles = operator.profiles();
    let kinds = Kinds { discovery: &operator.context.discovery, profiles: &profiles };
    survey(kinds, &client, &name.namespace, rules, LONGEST).await
}

#[cfg(test)]
mod tests {
    use firebreak_engine::gitops::argo::{By, Tracking};
    use firebreak_engine::id::TargetId;
    use serde_json::{Value, json};

    use super::*;

    /// A policy in this generation, whose last pass has told this of its first generation.
    fn policy(generation: i64, told: &Value) -> RemediationPolicy {
        let accepted = json!({"type": "Accepted", "status": "True", "observedGeneration": 1, "reason": "Valid",
            "lastTransitionTime": "2026-03-01T10:00:00Z", "message": told});
        serde_json::from_value(json!({
            "apiVersion": "firebreak.dev/v1alpha1", "kind": "RemediationPolicy", "spec": {},
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": generation},
            "status": {"conditions": [accepted]},
        }))
        .unwrap()
    }

    /// That Argo CD applies nothing.
    fn nothing(policy: &RemediationPolicy) -> Surveyed {
        Surveyed { of: Version::of(policy), at: Instant::now(), applied: Applied::default() }
    }

    #[test]
    fn what_could_not_be_read_in_time_does_not_replace_what_is_known() {
        let nothing = nothing(&policy(1, &json!("")));
        let part = || {
            let mut applied = Applied::default();
            let text = |text: &str| text.to_owned();
            let (api_version, kind, namespace) = (text("apps/v1"), text("Deployment"), text("ns"));
            let id = TargetId { api_version, kind, namespace, name: text("chat"), uid: text("u") };
            applied.add(id, &Tracking { by: By::Annotation, application: None });
            applied
        };
        let found = |reach| Survey { applied: part(), reach };
        let told = Some("Argo CD applies 2");
        assert_eq!(known(Some(&nothing), told, found(Reach::InTime)), Some(nothing.applied.clone()));
        assert_eq!(known(None, told, found(Reach::InTime)), None, "another process has told it");
        assert_eq!(known(None, None, found(Reach::InTime)), Some(part()));
        let none = Survey { applied: Applied::default(), reach: Reach::InTime };
        assert_eq!(known(None, None, none), None, "it is asked again soon");
        assert_eq!(known(Some(&nothing), told, found(Reach::All)), Some(part()));
    }

    #[test]
    fn what_was_told_stays_until_this_process_knows_better() {
        let told = policy(1, &json!("Argo CD applies 2"));
        let said = |surveyed: Option<&Surveyed>, policy, access| warning(surveyed, policy, &access);
        assert_eq!(said(None, &told, Access::Complete), "Argo CD applies 2");
        assert_eq!(said(None, &told, Access::Unknown("no answer".to_owned())), "Argo CD applies 2");
        assert_eq!(said(None, &told, Access::Lacking("list".to_owned())), "");
        assert_eq!(said(Some(&nothing(&told)), &told, Access::Complete), "");
        let edited = policy(2, &json!("Argo CD applies 2"));
        assert_eq!(said(None, &edited, Access::Complete), "", "its steps may change other objects");
        let other = RemediationPolicy { metadata: Default::default(), ..told.clone() };
        assert_eq!(said(Some(&nothing(&other)), &told, Access::Complete), "Argo CD applies 2");
    }
}
