//! Keeps the watches of a policy, and knows what its ServiceAccount may do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use firebreak_engine::change::cut;
use firebreak_engine::decide_policy::Access;
use firebreak_engine::facts::Reading;
use firebreak_engine::rules::{Rules, Signal};
use kube::{Client, ResourceExt};
use tokio::time::Instant;

use super::survey;
use crate::acceptance::{Presence, known_rights, rights, used};
use crate::api::RemediationPolicy;
use crate::controller::Operator;
use crate::controller::queue::Name;
use crate::kubernetes::access::{Right, lacking};
use crate::kubernetes::discovery::ResolveError;
use crate::kubernetes::impersonate::{ImpersonateError, ServiceAccountRef};
use crate::kubernetes::retry;

/// How often permissions are checked when nothing suggests a change.
const EVERY: Duration = Duration::from_secs(600);
/// The minimum time between checks while a permission is missing.
const SOON: Duration = Duration::from_secs(10);
/// Access reviews take at most this fraction of the time: a policy may need thousands of permissions, and
/// lack one for weeks.
const SHARE: u32 = 10;

/// How to grant what a ServiceAccount lacks. One that does not exist can be impersonated like any other, so the operator
/// cannot tell whether it does.
const GRANTS: &str = "`firebreak check -f FILE` prints the manifests that grant all of this, and create the \
                      ServiceAccount if it does not exist";

/// The result of the last check of the permissions of a policy's ServiceAccount.
#[derive(Clone, Debug)]
pub struct Checked {
    generation: i64,
    at: Instant,
    took: Duration,
    access: Access,
}

impl Checked {
    /// How long this result counts, depending on whether a request was rejected since.
    fn patience(&self, doubted: bool) -> Duration {
        let is_settled = self.access == Access::Complete && !doubted;
        if is_settled { EVERY } else { (self.took * SHARE).clamp(SOON, EVERY) }
    }
}

/// What keeps a policy from reading its signals.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// What is wrong with the policy; empty if it is Accepted.
    pub faults: Vec<String>,
    /// What its ServiceAccount may do.
    pub access: Access,
    /// What people must know about the objects that its steps may change.
    pub warning: String,
    /// Objects that signals cannot read, as `signal: what`.
    pub uncounted: Vec<String>,
    /// Objects that signals count and cannot judge, by signal.
    pub unjudged: BTreeMap<String, String>,
    /// When to check again.
    pub check_again: Option<Duration>,
}

impl Subscription {
    /// For a policy with faults, which has no permissions to check.
    pub fn refused(faults: Vec<String>) -> Self {
        Self { faults, ..Self::default() }
    }
}

/// Subscribes to the policy's signals, and checks what its ServiceAccount may do.
pub async fn subscribe(
    operator: &Operator,
    name: &Name,
    policy: &RemediationPolicy,
    rules: &Rules,
) -> Subscription {
    let account = match ServiceAccountRef::new(&name.namespace, &rules.service_account) {
        Ok(account) => account,
        Err(error) => return Subscription::refused(vec![format!("spec.serviceAccountName: {error}")]),
    };
    let client = match operator.context.impersonation.client(&account).await {
        Ok(client) => client,
        Err(error) => {
            operator.hub.unsubscribe(&name.into());
            // They wait for the same answer.
            operator.nudge_incidents_of(name);
            let access = match error {
                // A missing answer says nothing about permissions.
                ImpersonateError::Unproven { .. } => Access::Unknown(error.to_string()),
                ImpersonateError::NotAllowed { .. }
                | ImpersonateError::SomebodyElse { .. }
                | ImpersonateError::Header { .. } => Access::Lacking(error.to_string()),
            };
            let surveyed = operator.memories.policy(name).surveyed;
            let warning = survey::warning(surveyed.as_ref(), policy, &access);
            return Subscription { access, warning, check_again: Some(SOON), ..Subscription::default() };
        }
    };
    operator.hub.subscribe(&name.into(), &account.user(), &client, &rules.signals);
    let generation = policy.metadata.generation.unwrap_or_default();
    let memory = operator.memories.policy(name);
    let doubted = memory.rights_doubted || is_forbidden(operator, name, rules);
    let known = memory.access.filter(|checked| {
        checked.generation == generation && checked.at.elapsed() < checked.patience(doubted)
    });
    let checked = match known {
        Some(checked) => checked,
        None => {
            let asked = Instant::now();
            let access = ask(operator, &client, rules, &account, &policy.name_any()).await;
            let checked = Checked { generation, at: Instant::now(), took: asked.elapsed(), access };
            operator.memories.edit_policy(name, |memory| {
                memory.access = Some(checked.clone());
                memory.rights_doubted = false;
            });
            // A request that was rejected before may be allowed now.
            operator.nudge_incidents_of(name);
            if checked.access == Access::Complete {
                operator.surveys.ask(name);
            }
            checked
        }
    };
    let check_again =
        Some(checked.patience(doubted).saturating_sub(checked.at.elapsed()) + Duration::from_millis(50));
    let (mut uncounted, mut unjudged) = (Vec::new(), BTreeMap::new());
    for Signal { name: signal, .. } in &rules.signals {
        let doubts = operator.hub.doubts(&name.into(), signal);
        uncounted.extend(doubts.uncounted.map(|what| cut(&format!("{signal}: {what}"), 512)));
        unjudged.extend(doubts.unjudged.map(|what| (signal.clone(), cut(&what, 512))));
    }
    let warning = survey::warning(memory.surveyed.as_ref(), policy, &checked.access);
    Subscription { access: checked.access, warning, uncounted, unjudged, check_again, faults: Vec::new() }
}

/// Whether the server rejects a signal, whatever the last check of permissions said.
fn is_forbidden(operator: &Operator, name: &Name, rules: &Rules) -> bool {
    operator
        .hub
        .readings(&name.into(), rules)
        .values()
        .any(|reading| matches!(reading, Reading::Unknown { reason, .. } if reason == "Forbidden"))
}

async fn ask(
    operator: &Operator,
    client: &Client,
    rules: &Rules,
    account: &ServiceAccountRef,
    policy: &str,
) -> Access {
    let mut needed: Vec<Right> = known_rights(rules, account.namespace()).into_iter().collect();
    // Several signals and steps may name the same kind.
    let mut absent = BTreeSet::new();
    let used = used(rules, account.namespace(), &operator.profiles());
    for used in used.into_iter().filter(|used| !matches!(used.presence, Presence::Helpful(_))) {
        match operator.context.discovery.resolve(&used.api_version, &used.kind).await {
            Ok(kind) => needed.extend(rights(&used, &kind.resource.group, &kind.resource.plural)),
            Err(ResolveError::NotFound { .. }) if used.presence == Presence::Optional => {}
            Err(error @ (ResolveError::NotFound { .. } | ResolveError::Malformed(_))) => {
                absent.insert(error.to_string());
            }
            Err(error @ ResolveError::Unreachable { .. }) => return Access::Unknown(error.to_string()),
        }
    }
    let all_needed = needed.iter().collect::<BTreeSet<_>>().len();
    match lacking(client, needed).await {
        Ok(missing) if missing.is_empty() && absent.is_empty() => Access::Complete,
        Ok(missing) if missing.is_empty() => Access::Lacking(Vec::from_iter(absent).join("; ")),
        Ok(missing) => {
            tracing::debug!(policy, missing = missing.len(), "permissions are missing");
            let has_none = missing.len() == all_needed;
            let nothing = has_none.then(|| has_no_rights(account));
            let lacks = missing.iter().map(|right| format!("ServiceAccount {account} may not {right}"));
            let all = nothing.into_iter().chain(absent).chain(lacks).chain([GRANTS.to_owned()]);
            Access::Lacking(all.collect::<Vec<_>>().join("; "))
        }
        Err(error) => Access::Unknown(retry::explain(&error)),
    }
}

/// That an account lacks every permission. The API server lets the operator impersonate one that does not exist, and does not
/// say so.
fn has_no_rights(account: &ServiceAccountRef) -> String {
    format!("ServiceAccount {account} does not exist or has none of the permissions that the policy needs")
}
