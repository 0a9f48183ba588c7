//! One Incident: translate → decide (look, decide again) → record → act.

pub mod act;
pub mod choose;
pub mod learned;
pub mod record;
pub mod report;
mod situation;
pub mod translate;
mod untold;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use firebreak_engine::decide::{Decision, as_closed};
use firebreak_engine::facts::{Facts, Looked, Outcome, PolicyFact};
use firebreak_engine::rules::Rules;
use futures::future::OptionFuture;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt};
use tokio::time::Instant;

use self::learned::{Learned, read_again, record_last_words};
use self::situation::{Found, Situation, View, confirm, observe_policy};
use self::untold::{keep_untold, last_told, tell_traces};
use super::error::Error;
use super::queue::Name;
use super::seen::Seen;
use super::stored::find;
use super::{Operator, Passed, notices};
use crate::api::{Incident, IncidentStatus};
use crate::kubernetes::impersonate::ServiceAccountRef;
use crate::look::holder::Holders;
use crate::look::own::OwnReads;
use crate::look::{self, Account, Kinds};

/// Decisions in one pass; after that other Incidents get their turn.
const ROUNDS: usize = 30;

/// How soon to check again whether the claim is bound.
const UNTIL_BOUND: Duration = Duration::from_millis(200);
/// How soon to continue with a decision that needs more live reads than one pass makes.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What this process remembers of an Incident between two passes. Nothing in it
/// is needed for correctness.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// When the targets of each of its steps were last listed.
    listed: BTreeMap<String, Instant>,
    /// How long the last live reads took.
    reads_took: Duration,
    /// Whether its clocks were assessed in this process.
    assessed: bool,
    /// The uid of the policy whose claim announces it, as a live read has shown.
    confirmed_by: Option<String>,
    /// Its status before a write that had no answer, which is not told to traces yet.
    pub(super) untold: Option<Arc<IncidentStatus>>,
}

/// Looks at one Incident and does what is to be done.
///
/// # Errors
/// The pass could not be completed; repeating it loses nothing.
pub async fn pass(operator: &Operator, name: &Name) -> Result<Passed, Error> {
    let api: Api<Incident> = Api::namespaced(operator.context.client.clone(), &name.namespace);
    let seen = operator.incidents.get(name);
    let created = seen.as_ref().and_then(Seen::object).filter(|incident| incident.status.is_none());
    let mut incident = match created {
        // Just created: the state from the watch is sufficient, because every decision about it is
        // recorded, guarded by the version that was seen, before anything is done.
        Some(created) => created.as_ref().clone(),
        None => match find(&api, &name.name).await? {
            Some(incident) => incident,
            None => {
                seen.iter().for_each(|seen| forget(operator, name, seen));
                return Ok(Passed::undecided());
            }
        },
    };
    if is_edited_after_its_end(&incident) {
        incident = record::seen(&api, incident, Timestamp::now()).await?;
        operator.note_incident(&incident);
        notices::closed(operator, &incident);
    }
    if let Some(policy) = choose::choose(operator, &incident).await? {
        incident = record::chosen(&api, incident, policy, Timestamp::now()).await?;
        // The write with which the policy claims it makes it due again.
        operator.note_incident(&incident);
        policy_of(&incident).iter().for_each(|policy| operator.nudge_policy(policy));
    }
    let uid = incident.uid().unwrap_or_default();
    let mut learned = operator.memories.take_learned(&uid);
    let result = rounds(operator, &api, incident, &mut learned).await;
    if !result.as_ref().is_err_and(Error::is_gone) {
        operator.memories.keep_learned(&uid, learned);
    }
    result
}

/// Decides and acts until there is nothing to do now.
async fn rounds(
    operator: &Operator,
    api: &Api<Incident>,
    mut incident: Incident,
    learned: &mut Learned,
) -> Result<Passed, Error> {
    let (name, uid) = (incident.name_any(), incident.uid().unwrap_or_default());
    let mut view = View::Seen;
    for _ in 0..ROUNDS {
        if operator.context.sends_no_more() {
            if !learned.is_empty() {
                record_last_words(operator, api, incident, learned).await?;
            }
            return Ok(Passed::undecided_for(Duration::ZERO));
        }
        let situation = match observe_policy(operator, &incident, view).await? {
            Found::Situation(situation) => situation,
            Found::ToAwait(policy) => {
                incident = record::waiting(api, incident, policy, Timestamp::now()).await?;
                // The policy decides once it sees that.
                operator.note_incident(&incident);
                continue;
            }
            Found::Revoked => return Ok(until_bound(operator, &incident)),
            Found::Undecided => return Ok(Passed::undecided()),
        };
        let now = Timestamp::now();
        let mut facts = facts(operator, &incident, &situation, now);
        learned.tell(&mut facts);
        let account = account(operator, &incident, situation.rules.as_deref()).await;
        let (decision, has_claim) = tokio::join!(
            decide_and_remember(operator, &account, &incident, &situation, &mut facts),
            confirm(operator, &incident, &situation),
        );
        if !has_claim? {
            view = View::Live;
            continue;
        }
        let Some(decision) = decision else { return Ok(Passed::undecided_for(READ_AGAIN)) };
        if decision.next.resolved_at.is_some() && !incident.is_closed() && !situation.may_close() {
            return Ok(until_bound(operator, &incident));
        }
        if operator.context.sends_no_more() && !decision.effects.is_empty() {
            continue; // an intent is not recorded that this process would not send
        }
        let happened = decision.happened.clone();
        let before = incident.state();
        let told = last_told(operator, &incident);
        let is_for_the_brake = act::is_for_the_brake(&decision);
        let brake = OptionFuture::from(is_for_the_brake.then(|| operator.brake.read_fresh()));
        let (recorded, brake) = tokio::join!(record::record(api, incident, decision, now), brake);
        let recorded = match recorded {
            Err(Error::Conflict) if !learned.is_empty() => {
                keep_untold(operator, &uid, told, &Error::Conflict);
                let again = read_again(api, &name, &uid).await?;
                let Some(again) = again else {
                    learned.clear();
                    return Ok(Passed::undecided_for(Duration::ZERO));
                };
                incident = again;
                continue;
            }
            Err(error) => {
                keep_untold(operator, &uid, told, &error);
                return Err(error);
            }
            Ok(recorded) => recorded,
        };
        learned.clear();
        notices::recorded(operator, recorded.incident(), &before, &happened);
        tell_traces(operator, recorded.incident(), told, now);
        let acts = !recorded.decision().effects.is_empty() && account.is_ok();
        if acts && let Ok(client) = &account {
            learned.outcomes = act::act(operator, client, &recorded, brake).await;
            if learned.outcomes.values().any(|outcome| matches!(outcome, Outcome::Refused { code: 403, .. }))
            {
                policy_of(recorded.incident()).iter().for_each(|policy| operator.doubt_rights(policy));
            }
        }
        let reports = recorded.decision().report;
        if reports && situation.may_close() {
            let told = as_closed(&recorded.decision().next, now);
            learned.report = Some(report::write(operator, &account, recorded.incident(), &told, now).await);
        }
        let (decision, recorded_incident) = recorded.into_parts();
        incident = recorded_incident;
        // A new decision follows about what the brake has stopped.
        if !acts && learned.report.is_none() {
            if reports {
                return Ok(until_bound(operator, &incident));
            }
            record::release(api, &incident, &decision.next).await?;
            operator.note_incident(&incident);
            let again = decision.wake_at.map(|at| until(at, Timestamp::now()));
            return Ok(Passed::decided(&incident, again));
        }
    }
    Ok(Passed::undecided_for(Duration::ZERO))
}

/// The policy has not recorded the uid of the Incident yet, which does not take long.
fn until_bound(operator: &Operator, incident: &Incident) -> Passed {
    policy_of(incident).iter().for_each(|policy| operator.nudge_policy(policy));
    Passed::undecided_for(UNTIL_BOUND)
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    // A moment later, so that the clock is certainly past it.
    Duration::try_from(at.duration_since(now)).unwrap_or_default() + Duration::from_millis(5)
}

fn facts(operator: &Operator, incident: &Incident, situation: &Situation, now: Timestamp) -> Facts {
    let memory = operator.memories.incident(&incident.uid().unwrap_or_default());
    let policy = policy_of(incident);
    let age = |at: &Instant| SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
    let status = situation.policy.as_ref().and_then(|policy| policy.status.as_ref());
    let state = incident.state();
    // The clocks of a new Incident are its policy's, which this process may have kept from the start.
    let policy_kept = || policy.as_ref().is_some_and(|policy| operator.memories.policy(policy).assessed);
    let kept_clocks = memory.assessed || state.rules.is_empty() && policy_kept();
    Facts {
        incident: incident.identity(),
        state,
        intent: translate::intent(incident),
        policy: situation.fact.clone(),
        signals: situation
            .rules
            .as_ref()
            .zip(policy.as_ref())
            .map(|(rules, policy)| operator.hub.readings(&policy.into(), rules))
            .unwrap_or_default(),
        censuses: policy.as_ref().map(|policy| operator.hub.censuses(&policy.into())).unwrap_or_default(),
        expected: policy
            .as_ref()
            .zip(status)
            .map(|(policy, status)| operator.windows(policy, &status.state.expected, now))
            .unwrap_or_default(),
        began: Some(operator.began(now)),
        policy_rules: status.map(|status| status.state.rules.clone()).unwrap_or_default(),
        clocks_broken: !kept_clocks && operator.clocks_are_broken(now),
        reads_took: SignedDuration::try_from(memory.reads_took).unwrap_or(SignedDuration::MAX),
        listing_age: memory.listed.iter().map(|(step, at)| (step.clone(), age(at))).collect(),
        looked: Looked::default(),
        outcomes: BTreeMap::new(),
        report: None,
    }
}

/// Decides, and remembers what the decision has read. None if it needs more live reads than one pass makes.
async fn decide_and_remember(
    operator: &Operator,
    account: &Account,
    incident: &Incident,
    situation: &Situation,
    facts: &mut Facts,
) -> Option<Decision> {
    let rules = match facts.policy {
        PolicyFact::Usable { .. } => situation.rules.as_deref(),
        PolicyFact::Unavailable { .. } | PolicyFact::NotChosen { .. } | PolicyFact::Claimed { .. } => None,
    };
    let profiles = operator.profiles();
    let kinds = Kinds { discovery: &operator.context.discovery, profiles: &profiles };
    let context = &operator.context;
    let namespace = incident.namespace().unwrap_or_default();
    let own = OwnReads {
        holders: Holders { client: &context.client, namespaces: &context.watch_namespaces },
        brake: Some(&operator.brake),
        namespace: &namespace,
    };
    let looked = look::decide(kinds, account, own, rules, facts).await;
    operator.memories.edit_incident(&incident.uid().unwrap_or_default(), |memory| {
        memory.assessed |= looked.is_complete;
        memory.listed.extend(looked.listed);
        memory.reads_took = looked.reads_took.unwrap_or(memory.reads_took);
    });
    looked.is_complete.then_some(looked.decision)
}

/// The client of the ServiceAccount, which is pinned once something was changed.
async fn account(operator: &Operator, incident: &Incident, rules: Option<&Rules>) -> Account {
    let state = incident.status.as_ref().map(|status| &status.state);
    let pinned =
        state.filter(|state| state.first_action_at.is_some()).and_then(|state| state.policy.as_ref());
    let recorded = state.and_then(|state| state.policy.as_ref()).map(|policy| policy.service_account.clone());
    let recorded = recorded.filter(|name| !name.is_empty());
    let name = pinned
        .map(|policy| policy.service_account.clone())
        .or_else(|| rules.map(|rules| rules.service_account.clone()))
        .or(recorded)
        .ok_or_else(|| "neither the policy nor its ServiceAccount is known".to_owned())?;
    let account = ServiceAccountRef::new(&incident.namespace().unwrap_or_default(), &name);
    let account = account.map_err(|error| error.to_string())?;
    operator.context.impersonation.client(&account).await.map_err(|error| error.to_string())
}

/// An Incident was deleted.
fn forget(operator: &Operator, name: &Name, seen: &Seen<Incident>) {
    // Meanwhile the watch may have shown another one of this name.
    if let Some(uid) = &seen.metadata().uid {
        operator.incidents.remove_exactly(name, uid);
        operator.memories.forget_incident(uid);
    }
}

/// Whether it may need a pass: it is open, has outstanding changes, or was edited after it was closed.
pub fn is_of_interest(incident: &Incident) -> bool {
    !incident.is_closed() || record::has_finalizer(incident) || is_edited_after_its_end(incident)
}

/// Whether its spec was changed after it was closed, and nobody was told yet.
fn is_edited_after_its_end(incident: &Incident) -> bool {
    let seen = incident.status.as_ref().and_then(|status| status.observed_generation);
    incident.is_closed()
        && !record::has_finalizer(incident)
        && incident.metadata.deletion_timestamp.is_none()
        && seen != incident.metadata.generation
}

/// The policy of an Incident; none while it has not chosen one.
pub fn policy_of(incident: &Incident) -> Option<Name> {
    Some(Name::new(incident.namespace().unwrap_or_default(), incident.policy_name()?.to_owned()))
}
