//! `firebreak expect`: a person says how many objects of a signal are expected from now on.
//!
//! The number stands in an annotation of the policy, so it takes the right to edit the policy and leaves its spec to
//! GitOps. The operator counts it once, and then the window of the signal goes on from there.

use std::cmp::Ordering;
use std::time::Duration;

use firebreak_engine::expected::ExpectRequest;
use firebreak_engine::period::after;
use firebreak_engine::rules::Rules;
use jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

use super::connection::Connection;
use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::api::{RemediationPolicy, names};
use crate::kubernetes::retry;
use crate::settings::ExpectArgs;

/// The controller may write the status between our read and our write.
const TRIES: u32 = 20;
/// A running operator takes the number in at once; a new leader needs a little longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the status is read meanwhile.
const EVERY: Duration = Duration::from_millis(500);

/// Writes the number, and waits until the status of the policy has it.
pub async fn run(screen: &Screen, connection: &Connection, args: &ExpectArgs) -> Result<Answer, Error> {
    let namespace = connection.namespace(&args.namespace);
    let expecting = Expecting { connection, namespace, args };
    let asked = expecting.write().await?;
    let policy = expecting.wait(asked.at).await?;
    let line = Line::of(format!("policy {}/{}: signal {} ", expecting.namespace, args.policy, args.signal));
    let wanted = args.number;
    let there = last_number(&args.signal, &policy).unwrap_or(wanted);
    let (line, answer) = match there.cmp(&wanted) {
        Ordering::Equal | Ordering::Less => {
            let line = line.add(Style::Good, format!("expects {wanted} from now on")).and(
                ". What is not there within expectWithin is not expected any longer; to expect a fixed number, set expect \
                 in the policy",
            );
            (line, Answer::Yes)
        }
        Ordering::Greater => {
            let line = line.add(Style::Bad, format!("expects {there}, not {wanted}")).and(format!(
                ": {there} are there now, and what is there is expected for as long as expectWithin after it is gone. \
                 Remove the others first, and then run this command again"
            ));
            (line, Answer::No)
        }
    };
    screen.lines(&[line])?;
    Ok(answer)
}

/// How many objects of a signal were there last.
fn last_number(signal: &str, policy: &RemediationPolicy) -> Option<i64> {
    let mut expected = policy.status.iter().flat_map(|status| &status.state.expected);
    let window = expected.find(|expected| expected.signal == signal)?;
    window.peaks.last().map(|present| present.value)
}

/// The time of a request: later than the policy and all requests before, whatever the clocks of their writers say.
fn time_of_request(policy: &RemediationPolicy, now: Timestamp) -> Timestamp {
    let counted = policy.status.as_ref().and_then(|status| status.state.expect_requested_at);
    let created = policy.creation_timestamp().map(|time| time.0);
    let written = policy.asked().into_values().map(|asked| asked.at).max();
    let last = [counted, created, written].into_iter().flatten().max();
    last.map_or(now, |last| now.max(after(last, SignedDuration::from_millis(1))))
}

/// A number that a person expects of a signal.
struct Expecting<'a> {
    connection: &'a Connection,
    namespace: String,
    args: &'a ExpectArgs,
}

impl Expecting<'_> {
    /// Adds the number to the annotation of the policy. Returns what was written.
    async fn write(&self) -> Result<ExpectRequest, Error> {
        let api: Api<RemediationPolicy> = Api::namespaced(self.connection.client.clone(), &self.namespace);
        let params = PatchParams { field_manager: Some(names::MANAGER.to_owned()), ..PatchParams::default() };
        let mut tried = 0;
        loop {
            let policy = self.policy().await?;
            self.check(&policy)?;
            let at = time_of_request(&policy, Timestamp::now());
            let asked = ExpectRequest { value: self.args.number, at };
            let patch = json!({"metadata": {
                "resourceVersion": policy.resource_version(),
                "annotations": {names::EXPECT: policy.asking(&self.args.signal, &asked)},
            }});
            let Err(error) = api.patch(&self.args.policy, &params, &Patch::Merge(&patch)).await else {
                return Ok(asked);
            };
            tried += 1;
            let is_conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            // Writing the same twice is harmless, so a lost answer is no obstacle either.
            if tried >= TRIES || !(is_conflict || retry::is_transient(&error)) {
                return Err(Error::request(self.what(), &error));
            }
            let wait = Duration::from_millis(20 * u64::from(tried)).max(retry::asked_to_wait(&error));
            tokio::time::sleep(wait).await;
        }
    }

    /// Whether the policy has such a signal, and does not set the number itself.
    fn check(&self, policy: &RemediationPolicy) -> Result<(), Error> {
        let signals = &policy.spec.policy.signals;
        let Some(signal) = signals.iter().find(|signal| signal.name == self.args.signal) else {
            let names: Vec<&str> = signals.iter().map(|signal| signal.name.as_str()).collect();
            let next = format!("its signals are {}", names.join(", "));
            return Err(Error::failed(self.what(), "the policy has no such signal", next));
        };
        if let Some(expect) = signal.expect {
            let why = format!("the policy sets expect: {expect} for it");
            return Err(Error::failed(self.what(), why, "edit the policy instead, or remove expect from it"));
        }
        let counts = Rules::parse(&policy.spec.policy)
            .is_ok_and(|rules| rules.shapes().get(&signal.name).is_some_and(|shape| shape.expects_objects()));
        if !counts {
            let why = "the signal has no `expected`, or the policy is not Accepted";
            return Err(Error::failed(
                self.what(),
                why,
                "`kubectl describe rpol` says what is wrong with it",
            ));
        }
        Ok(())
    }

    /// Waits until the operator has counted the request of this time. Returns the policy then.
    async fn wait(&self, asked_at: Timestamp) -> Result<RemediationPolicy, Error> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let policy = self.policy().await?;
                let counted = policy.status.as_ref().and_then(|status| status.state.expect_requested_at);
                if counted >= Some(asked_at) {
                    return Ok(policy);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        match waited.await {
            Ok(found) => found,
            Err(_) => Err(self.unseen().await),
        }
    }

    /// That no operator has counted the request in time.
    async fn unseen(&self) -> Error {
        let absence = self.connection.operator.absence_after().await;
        let (namespace, policy) = (&self.namespace, &self.args.policy);
        Error::failed(
            format!("policy {namespace}/{policy}: the number is recorded, but no operator acts on it"),
            format!("waited {} s until the status has it{absence}", PATIENCE.as_secs()),
            "check that the operator runs and holds its lease; it takes the number in when it does",
        )
    }

    async fn policy(&self) -> Result<RemediationPolicy, Error> {
        self.connection.policy(&self.namespace, &self.args.policy, "expect a number of objects").await
    }

    fn what(&self) -> String {
        let ExpectArgs { policy, signal, number, .. } = self.args;
        format!("cannot expect {number} of signal {signal} of policy {}/{policy}", self.namespace)
    }
}
