//! Performs the effects of a recorded decision.

use std::collections::BTreeMap;

use firebreak_engine::effect::{Act, Effect};
use firebreak_engine::facts::Outcome;
use firebreak_engine::id::ChangeId;
use futures::{StreamExt, stream};
use kube::Client;

use super::record::Recorded;
use crate::actuator::guarded_patch;
use crate::controller::Context;
use crate::controller::error::Error;
use crate::kubernetes::discovery::ResolveError;

/// Requests in flight; more would only queue on the API server.
const IN_FLIGHT: usize = 32;

/// Performs every effect once, as the ServiceAccount, and says what became of
/// each. The corrections of records are best effort and tell nothing.
///
/// # Errors
/// This process stopped leading: what was not sent is left to whoever leads.
pub async fn act(
    context: &Context,
    account: &Client,
    recorded: &Recorded,
) -> Result<BTreeMap<ChangeId, Outcome>, Error> {
    let outcomes: Vec<Result<(Act, ChangeId, Outcome), Error>> =
        stream::iter(recorded.decision().effects.clone())
            .map(|effect| perform(context, account, effect))
            .buffer_unordered(IN_FLIGHT)
            .collect()
            .await;
    let mut heard = BTreeMap::new();
    for outcome in outcomes {
        let (act, change, outcome) = outcome?;
        tracing::debug!(act = act.name(), %change, outcome = outcome.name(), "performed");
        if act != Act::Amend {
            heard.insert(change, outcome);
        }
    }
    Ok(heard)
}

async fn perform(
    context: &Context,
    account: &Client,
    effect: Effect,
) -> Result<(Act, ChangeId, Outcome), Error> {
    if !context.leadership.leads() {
        return Err(Error::NotLeading);
    }
    let outcome = send(context, account, &effect).await;
    Ok((effect.act, effect.change, outcome))
}

async fn send(context: &Context, account: &Client, effect: &Effect) -> Outcome {
    let target = &effect.target;
    match context.discovery.resolve(&target.api_version, &target.kind).await {
        Ok(kind) => guarded_patch::send(account, &kind, target, &effect.patch).await,
        Err(error @ (ResolveError::NotFound { .. } | ResolveError::Malformed(_))) => {
            Outcome::Refused { code: 404, why: error.to_string(), fields: Vec::new() }
        }
        // Nothing was sent, so to try again is safe.
        Err(ResolveError::Unreachable { .. }) => Outcome::Later { conflict: false, after: None },
    }
}
