//! One emergency with the admission policies in force, from the plan that waits for approval to the
//! deletion of the Incident: the policies accept the operator's writes, and people decide in their own names.

use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    drill::{Drill, is_stalled, message_of},
    support::object::{Object, condition},
};

/// An Incident, and the people who decide about it.
struct Decisions<'d> {
    drill: &'d Drill,
    incident: Object,
    alice: &'d Api<DynamicObject>,
    bob: &'d Api<DynamicObject>,
}

impl Decisions<'_> {
    async fn says(&self, person: &Api<DynamicObject>, spec: Value) -> kube::Result<DynamicObject> {
        let patch = json!({"spec": spec});
        person.patch(self.incident.name(), &PatchParams::default(), &Patch::Merge(patch)).await
    }

    async fn approve(&self, plan: &str) {
        let approval = json!({"step": "cpu-fallback", "planHash": plan, "approvedBy": "alice"});
        self.says(self.alice, json!({"approvals": [approval]})).await.expect("Alice may approve");
    }

    /// Alice removes her approval, and the status has seen it.
    async fn take_back(&self) {
        self.says(self.alice, json!({"approvals": null})).await.expect("anybody may take one back");
        self.incident.wait_until("no approval", |incident| step(incident)["approval"].is_null()).await;
    }

    /// The plan that waits for approval.
    async fn plan(&self) -> String {
        let asks = |incident: &DynamicObject| {
            is_stalled(incident, "ApprovalRequired")
                && incident.data["status"]["phase"] == "AwaitingApproval"
                && step(incident)["state"] == "AwaitingApproval"
        };
        let asking = self.incident.wait_until("asks for approval", asks).await;
        let message = message_of(&asking, "Stalled");
        assert!(message.contains("firebreak approve"), "{}: {message:?}", self.incident);
        step(&asking)["planHash"].as_str().expect("a plan").to_owned()
    }

    /// The status has the approval of this plan in this state.
    async fn stands(&self, plan: &str, state: &str) -> DynamicObject {
        let stands = |incident: &DynamicObject| {
            let approval = &step(incident)["approval"];
            approval["planHash"] == plan && approval["state"] == state && approval["approvedBy"] == "alice"
        };
        self.incident.wait_until(&format!("the approval is {state}"), stands).await
    }

    /// The step of the drill's policy, which requires approval that is valid for this long.
    async fn approvals_count(&self, period: &str) {
        let spec = json!({"spec": {"guardrails": {"approvalValidFor": period}}});
        self.drill.world.policy("drill").merge("flux", spec).await;
    }
}

fn step(incident: &DynamicObject) -> &Value {
    &incident.data["status"]["steps"][0]
}

#[tokio::test]
async fn a_step_begins_with_the_approval_of_its_own_plan_by_somebody_who_may_and_with_no_other() {
    let drill = Drill::new("s20-approvals").await;
    let world = &drill.world;
    world.admission().await;
    let models = drill.models(2).await;
    let _operator = world.operator().start().await;
    let alice = world.incidents_for(&world.person("alice", &["firebreak-approver"]).await, &world.a);
    let bob = world.incidents_for(&world.person("bob", &[]).await, &world.a);
    let policy = drill.policy_with(|spec| spec["steps"][0]["approval"] = json!("Required")).await;
    let decisions = async |incident| Decisions { drill: &drill, incident, alice: &alice, bob: &bob };

    // An emergency that ends before anyone approves.
    drill.ring().await;
    let first = decisions(world.incident_of(&policy).await).await;
    let first_plan = first.plan().await;
    drill.recover(&first.incident).await;
    policy.wait_until("no Incident", |policy| policy.data["status"]["activeIncident"].is_null()).await;

    // The next one. An approval of another Incident's plan does not count, although the plans are alike.
    drill.ring().await;
    let second = decisions(world.incident_of(&policy).await).await;
    let plan = second.plan().await;
    assert_ne!(plan, first_plan, "{}: a plan belongs to its Incident", second.incident);
    second.approve(&first_plan).await;
    second.stands(&first_plan, "Void").await;
    assert_eq!(second.plan().await, plan);

    // Alice acknowledges, and Bob pauses.
    second.says(second.alice, json!({"acknowledgedBy": "alice"})).await.expect("Alice acknowledges");
    second.incident.wait_for_condition("Acknowledged", "True").await;
    let pause = json!({"response": "Paused", "responseBy": "bob"});
    second.says(second.bob, pause).await.expect("Bob pauses");
    let paused = second.incident.wait_until("paused", |incident| is_stalled(incident, "Paused")).await;
    assert_eq!(condition(&paused, "Acknowledged"), Some("True"), "{}", second.incident);
    let words = message_of(&paused, "Stalled");
    assert!(words.contains("bob"), "{}: who paused it? {words:?}", second.incident);

    // While nothing may start, an approval expires.
    second.approvals_count("1s").await;
    second.take_back().await;
    second.approve(&plan).await;
    second.stands(&plan, "Expired").await;

    // An approval was for the policy as it was.
    second.approvals_count("1h").await;
    second.take_back().await;
    second.approve(&plan).await;
    second.stands(&plan, "Valid").await;
    policy.merge("flux", json!({"spec": {"recovery": {"for": "2s"}}})).await;
    second.stands(&plan, "Void").await;
    let resume = json!({"response": "Active", "responseBy": "bob"});
    second.says(second.bob, resume).await.expect("Bob resumes");
    assert_eq!(second.plan().await, plan);
    for number in 0..models.objects.len() {
        models.assert_untouched(number).await;
    }

    // Only Alice's new approval of this plan lets the step start; with the command line, which knows
    // that the old one must be removed first.
    let approve = async |person: &str| {
        let kubeconfig = world.kubeconfig_of(person);
        let to = ["approve", second.incident.name(), "cpu-fallback", "-n", &world.a];
        world.firebreak(&[&["--kubeconfig", &kubeconfig], &to[..]].concat()).await
    };
    let refused = approve("bob").await;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("bob may not approve plans: ask for the verb approve"), "{words}");
    let taken = approve("alice").await;
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    second.incident.wait_for_condition("Mitigated", "True").await;
    second.stands(&plan, "Used").await;
    models.wait_until_fallen().await;
    drill.recover(&second.incident).await;
    models.assert_reverted().await;

    // The operator removes its finalizer from an object with other people's names.
    second.incident.delete().await;
    second.incident.wait_until_gone().await;
}
