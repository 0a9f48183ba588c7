//! The node of the leader dies in the middle of its work, and later comes back: the other replica leads and finishes
//! the work, and the old leader writes nothing when it wakes with its old requests.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kube::{ResourceExt, api::DynamicObject};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{assert_once, returns_a_loan, takes_a_loan};
use crate::{
    drill::{Drill, Models, heartbeats, is_heartbeat, times},
    support::{
        object::Object,
        operator::{Operator, Plan},
        proxy::{Call, Exchange, Fault, Rule},
    },
};

const MODELS: usize = 5;
/// Long enough that a busy machine takes the lease from nobody who is alive.
const HEART: [&str; 2] = ["--lease-duration", "9s"];
const LEADS: &str = "leader_election_master_status{name=\"firebreak\"}";

/// Two replicas, of which the first one leads.
struct Pair {
    drill: Drill,
    models: Models,
    policy: Object,
    first: Operator,
    second: Operator,
}

fn with_heart(plan: Plan<'_>) -> Plan<'_> {
    HEART.into_iter().fold(plan, |plan, flag| plan.flag(flag))
}

/// What the leader was about to do when its node died.
struct Work {
    which: fn(&Call) -> bool,
    /// Its node dies.
    dies: Arc<Notify>,
    /// What it had sent last arrives.
    arrives: CancellationToken,
}

impl Pair {
    async fn new(name: &str) -> Self {
        let drill = Drill::new(name).await;
        let models = drill.models(MODELS).await;
        let first = with_heart(drill.world.operator()).start().await;
        let policy = drill.policy().await;
        let plan = drill.world.operator().named("firebreak-1");
        let second = with_heart(plan).start().await;
        Self { drill, models, policy, first, second }
    }

    /// Of the next requests of this type, the first one is answered. The second one is done, and nobody reads its answer. The
    /// others are on their way for as long as the node is gone.
    fn interrupt(&self, which: fn(&Call) -> bool) -> Work {
        let work = Work { which, dies: Arc::default(), arrives: CancellationToken::new() };
        let (dies, arrives) = (Arc::clone(&work.dies), work.arrives.clone());
        let (freeze, count) = (Arc::new(self.first.freezer()), AtomicUsize::new(0));
        self.first.proxy.on(Rule::each(
            which,
            Fault::first(move |_| {
                let nth = count.fetch_add(1, Ordering::SeqCst);
                let (dies, arrives, freeze) = (Arc::clone(&dies), arrives.clone(), Arc::clone(&freeze));
                async move {
                    match nth {
                        0 => {}
                        1 => {
                            dies.notified().await;
                            freeze();
                        }
                        _ => arrives.cancelled().await,
                    }
                }
            }),
        ));
        work
    }

    /// The node dies as soon as all requests are sent, and the other replica leads.
    async fn lose_the_node(&self, work: &Work) {
        let Work { which, dies, .. } = work;
        let is_sent = |each: &Exchange| which(&each.call) && each.fault.is_some();
        self.first.proxy.wait_for_nth(MODELS, "all requests are sent", is_sent).await;
        self.first
            .proxy
            .wait_for("one of them is answered", |each| is_sent(each) && each.client.is_some())
            .await;
        dies.notify_one();
        self.first
            .proxy
            .wait_for_nth(2, "another one is done", |each| is_sent(each) && each.was_applied())
            .await;
        self.lease().wait_until("is held by the other replica", |lease| holder(lease) == "firebreak-1").await;
    }

    /// The node comes back. The old leader finds that it does not lead, and nothing that it sends has an effect.
    async fn bring_the_node_back(&self, work: &Work) {
        let before = self.first.proxy.calls().len();
        self.first.thaw();
        work.arrives.cancel();
        let is_late = |each: &Exchange| (work.which)(&each.call) && each.server == Some(409);
        let late = MODELS - 2;
        self.first.proxy.wait_for_nth(late, "the late requests have arrived in vain", is_late).await;
        self.first.wait_for_metric(LEADS, 0.0).await;
        heartbeats(&self.second, 5).await;
        let written: Vec<String> = self.first.proxy.calls()[before..]
            .iter()
            .filter(|each| each.call.is_write() || is_heartbeat(&each.call))
            .filter(|each| each.server.is_none_or(|code| code < 400))
            .map(ToString::to_string)
            .collect();
        assert!(written.is_empty(), "written by the old leader:\n{}", written.join("\n"));
        let log = self.first.log();
        assert!(log.contains("no longer leading"), "{log}");
        self.assert_that_the_second_leads().await;
    }

    async fn assert_that_the_second_leads(&self) {
        let lease = self.lease().get().await;
        assert_eq!(holder(&lease), "firebreak-1");
        assert_eq!(lease.data["spec"]["leaseTransitions"], 1, "one change of the leader: {:#}", lease.data);
        self.second.wait_for_metric(LEADS, 1.0).await;
        let renewals = |operator: &Operator| {
            operator
                .proxy
                .calls()
                .iter()
                .filter(|each| is_heartbeat(&each.call) && each.was_applied())
                .count()
        };
        assert!(renewals(&self.second) > 0 && renewals(&self.first) > 0, "both have led");
    }

    /// Each model has the record of this Incident, and was written once.
    async fn assert_in_force_once(&self, incident: &Object) {
        for (model, before) in self.models.objects.iter().zip(&self.models.before) {
            let now = model.snapshot().await;
            assert_eq!(now.generation, before.generation + 1, "{model}: changed once");
            let record = now.annotations.get("firebreak.dev/undo").expect("a record");
            assert_eq!(record.matches(incident.name()).count(), 1, "{model}: {record}");
        }
    }

    /// Events of what it did before may be late, and nobody has told the same.
    async fn assert_told_once(&self) {
        let incident = self.drill.assert_one_resolved_incident().await;
        for entry in ["Opened", "StepStarted", "StepVerified", "WithdrawalStarted", "Resolved"] {
            assert_eq!(times(&incident, entry), 1, "{entry}: {:#}", incident.data["status"]["timeline"]);
        }
        let incident = self.drill.world.incident(&incident.name_any());
        for object in self.models.objects.iter().chain([&incident]) {
            let events = object.events().await;
            let reasons: Vec<&str> = events.iter().filter_map(|event| event.split(':').next()).collect();
            for reason in ["Opened", "StepStarted", "FirebreakApplied", "FirebreakReverted", "Resolved"] {
                let told = reasons.iter().filter(|each| **each == reason).count();
                assert!(told <= 1, "{object}: {reason}: {events:#?}");
            }
        }
        assert_once(&self.drill, &self.models, &[&self.first, &self.second]).await;
    }

    fn lease(&self) -> Object {
        let namespace = &self.drill.world.operator_namespace;
        self.drill.world.object("coordination.k8s.io/v1", "Lease", namespace, "firebreak")
    }
}

fn holder(lease: &DynamicObject) -> &str {
    lease.data["spec"]["holderIdentity"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_step_that_the_leader_has_half_applied_is_finished_by_the_other_replica() {
    let pair = Pair::new("s5-node-apply").await;
    let work = pair.interrupt(takes_a_loan);
    pair.drill.ring().await;
    pair.lose_the_node(&work).await;
    let incident = pair.drill.world.incident_of(&pair.policy).await;
    incident.wait_for_condition("Mitigated", "True").await;
    pair.models.wait_until_fallen().await;
    pair.assert_in_force_once(&incident).await;

    pair.bring_the_node_back(&work).await;
    pair.assert_in_force_once(&incident).await;
    pair.drill.recover(&incident).await;
    pair.assert_told_once().await;
}

#[tokio::test]
async fn a_step_that_the_leader_has_half_reverted_is_reverted_by_the_other_replica() {
    let pair = Pair::new("s5-node-return").await;
    let incident = pair.drill.respond(&pair.policy).await;
    let work = pair.interrupt(returns_a_loan);
    pair.drill.hush().await;
    pair.lose_the_node(&work).await;
    incident.wait_for_condition("Resolved", "True").await;
    pair.models.assert_reverted().await;

    pair.bring_the_node_back(&work).await;
    pair.models.assert_reverted().await;
    pair.assert_told_once().await;
}
