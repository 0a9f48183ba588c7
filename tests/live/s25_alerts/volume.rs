//! Many alerts cost few writes and little memory, and too many are Unknown.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{Case, fingerprints, signal};
use crate::{
    drill::message_of,
    support::alertmanager::{alert, message},
};

/// Messages at once.
const AT_ONCE: usize = 16;

fn writes(case: &Case) -> usize {
    let calls = case.operator.proxy.calls();
    calls.iter().filter(|exchange| exchange.call.writes("remediationpolicies")).count()
}

/// Sends all of these, several at once, each until it is recorded.
async fn send(case: &Case, messages: impl Iterator<Item = Value>) {
    let deliver = |message: Value| async move { case.alertmanager.deliver(&case.operator, &message).await };
    stream::iter(messages).map(deliver).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn ten_thousand_alerts_are_folded_into_a_write_a_second_and_leave_the_signal_unknown() {
    let case = Case::begin("s25-many").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    case.alertmanager.deliver(&case.operator, &message([])).await;
    policy.wait_for_condition("Ready", "True").await;
    let memory = async || case.operator.metric("process_resident_memory_bytes").await.expect("memory");
    let (before, so_far, start) = (memory().await, writes(&case), Instant::now());
    let group = |first: usize| message((first..first + 50).map(|number| alert(number, "firing", "warning")));
    send(&case, (0..10_000).step_by(50).map(group)).await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(60), "it took {took:?}");
    let most = usize::try_from(took.as_secs()).expect("a number") + 3;
    let written = writes(&case) - so_far;
    assert!(written <= most, "{written} writes in {took:?}");
    let grown = memory().await - before;
    assert!(grown < 24e6, "the memory has grown by {grown} bytes");

    let is_told = |policy: &DynamicObject| {
        signal(policy).starts_with("Unknown TooManyAlerts")
            && message_of(policy, "Ready").contains("TooManyAlerts")
    };
    let told = policy.wait_until("there are too many", is_told).await;
    assert_eq!(fingerprints(&told).len(), 256);
    assert!(case.drill.incidents().await.is_empty(), "an Incident was opened");
    // The end of those that are known says nothing about the others.
    let known = fingerprints(&told).into_iter();
    let ends = known.map(|fingerprint| {
        let mut end = alert(0, "resolved", "warning");
        end["fingerprint"] = json!(fingerprint);
        end
    });
    case.alertmanager.deliver(&case.operator, &message(ends)).await;
    let left = policy.wait_until("none is known", |policy| fingerprints(policy).is_empty()).await;
    assert!(signal(&left).starts_with("Unknown TooManyAlerts"), "{}", signal(&left));
}

#[tokio::test]
async fn a_message_that_alertmanager_has_cut_leaves_the_signal_unknown() {
    let case = Case::begin("s25-cut").await;
    let policy = case.policy(|spec| spec["steps"] = json!([])).await;
    let mut cut = message([alert(1, "firing", "critical")]);
    cut["truncatedAlerts"] = json!(3);
    case.alertmanager.deliver(&case.operator, &cut).await;
    let is_told = |policy: &DynamicObject| message_of(policy, "Ready").contains("TruncatedAlerts");
    policy.wait_until("some are not known", is_told).await;
    assert!(case.drill.incidents().await.is_empty(), "an Incident was opened");
}
