//! Messages of Alertmanager: from the desk of the [`crate::receiver`] into the status of a policy.
//!
//! # Flow
//! A message becomes news for the signals that its alerts match, and waits in the [`Inbox`] for the next pass of its policy,
//! which takes in all that waits, decides with it, and records both in one write. Then the senders are answered.
//!
//! # Guarantees
//! Nothing is known that is not recorded or about to be: what waits belongs to one generation of the policy and one term of
//! this process, and is dropped with it. Its senders are told to send it again. That the status has a message already is no answer
//! as long as only a watch has shown that status in this term: the leader before may have recorded that the alert is over.

mod inbox;

use std::time::Duration;

use firebreak_engine::alerts::{self, Emergency, News, ReceivedAlerts};
use firebreak_engine::rules::Rules;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::time::Instant;

pub use self::inbox::Inbox;
use self::inbox::{Epoch, Full, Recording};
use super::error::Error;
use super::queue::{Key, Name};
use super::seen::Seen;
use super::urgency::NOT_KNOWN;
use super::{Operator, policy, stored};
use crate::api::RemediationPolicy;
use crate::receiver::{Answer, Deliveries, Delivery};

/// Takes messages until it is dropped.
pub(super) async fn run(operator: &Operator, mut deliveries: Deliveries) {
    while let Some(delivery) = deliveries.recv().await {
        accept(operator, delivery);
    }
    // Nobody listens, so nothing comes.
    std::future::pending().await
}

/// Puts a message into the inbox, or answers why not.
fn accept(operator: &Operator, delivery: Delivery) {
    let name = Name::new(delivery.namespace, delivery.policy);
    let (message, answer) = (delivery.message, delivery.answer);
    let put = || {
        if !operator.policies.is_primed() {
            return Err(Answer::NotLeading);
        }
        let policy = match operator.policies.get(&name) {
            Some(Seen::Object(policy)) => policy,
            Some(Seen::Undecodable { why, .. }) => {
                tracing::warn!(policy = %name, why, "alerts come for a policy that cannot be read; they must be sent again");
                return Err(Answer::Undecodable);
            }
            None => return Err(Answer::NoPolicy),
        };
        let rules = operator.rules(&policy);
        let rules = rules.as_ref().as_ref().map_err(|_| Answer::NotAccepted)?;
        let news = News::of(&message, rules);
        if news.is_empty() {
            return Err(Answer::NoSignal);
        }
        let epoch = epoch(operator, &policy).ok_or(Answer::NotLeading)?;
        Ok((epoch, news))
    };
    let refused = match put() {
        Err(why) => Some((answer, why)),
        Ok((epoch, news)) => {
            let put = operator.inbox.put(&name, epoch, news, answer);
            put.err().map(|Full(answer)| (answer, Answer::Full))
        }
    };
    match refused {
        Some((answer, why)) => {
            // The sender may have gone.
            let _ = answer.send(why);
        }
        None => {
            // Nobody knows yet which rule the alerts make true.
            let urgency = operator.worst_possible(&name).unwrap_or(NOT_KNOWN);
            operator.queue.nudge(Key::Policy(name), urgency);
        }
    }
}

/// What counts as the same policy under the same leader; none if this process does not lead.
fn epoch(operator: &Operator, policy: &RemediationPolicy) -> Option<Epoch> {
    let term = operator.context.leadership.term()?.number;
    Some(Epoch { uid: policy.uid(), generation: policy.metadata.generation, term })
}

/// What a pass knows of the alerts that were sent to its policy.
pub struct Heard {
    /// What the status will say.
    pub alerts: Vec<ReceivedAlerts>,
    /// When to look again for what still waits.
    pub again: Option<Duration>,
}

/// Takes in what waits for a policy, and tells its signals. Without rules nobody knows what matches, and nothing changes.
pub fn take_in(operator: &Operator, name: &Name, policy: &RemediationPolicy, rules: Option<&Rules>) -> Heard {
    let recorded = policy.status.as_ref().map(|status| &*status.state.alerts).unwrap_or_default();
    let Some((rules, epoch)) = rules.zip(epoch(operator, policy)) else {
        operator.inbox.forget(name);
        return Heard { alerts: recorded.to_vec(), again: None };
    };
    let (news, again) = operator.inbox.take(name, &epoch, Instant::now());
    let is_open = operator.incidents.of_policy(name).iter().any(|incident| !incident.is_closed());
    let emergency = if is_open { Emergency::Open } else { Emergency::None };
    let alerts = alerts::take_in(recorded, rules, &news, emergency, Timestamp::now());
    operator.hub.hear(&name.into(), &alerts);
    Heard { alerts, again }
}

/// Whether the status on which a pass has based its decision is as the API server has it.
pub enum Standing {
    /// It is, or nothing depends on it.
    Current,
    /// This is newer.
    Outdated(Box<RemediationPolicy>),
    /// The policy is gone.
    Gone,
}

/// Asks the API server, once for each policy and term, before senders are told that the status has nothing new.
///
/// # Errors
/// The API server gives no answer, so nothing is known.
pub async fn standing(
    operator: &Operator,
    name: &Name,
    before: &[ReceivedAlerts],
    recorded: &RemediationPolicy,
) -> Result<Standing, Error> {
    let has_news = recorded.status.as_ref().is_some_and(|status| status.state.alerts != before);
    if has_news || !operator.inbox.is_unsure(name) {
        return Ok(Standing::Current);
    }
    let Some(live) = stored::find(&policy::api(operator, recorded), &name.name).await? else {
        return Ok(Standing::Gone);
    };
    let alerts =
        |policy: &RemediationPolicy| policy.status.as_ref().map(|status| status.state.alerts.clone());
    if live.uid() == recorded.uid() && alerts(&live) == alerts(recorded) {
        operator.inbox.assure(name);
        return Ok(Standing::Current);
    }
    operator.note_policy(&live);
    Ok(Standing::Outdated(Box::new(live)))
}

/// Answers the senders of what a pass has taken in: it is recorded.
pub fn settle(operator: &Operator, name: &Name, before: &[ReceivedAlerts], recorded: &[ReceivedAlerts]) {
    let recording = if before == recorded { Recording::NothingNew } else { Recording::Written };
    operator.inbox.settle(name, recording, Instant::now());
}
