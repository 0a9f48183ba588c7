//! Who decides: nobody decides in the name of another person, and only those with the permission approve.
//! The API server rejects everything else, by the shipped admission policies.

mod approvals;
mod guardrails;

use std::{collections::BTreeMap, fmt::Debug};

use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::support::{manifest, object::Object, world::World};

const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

/// The expected answer to a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// It is accepted.
    Taken,
    /// It is rejected, with these words among others.
    Refused(&'static str),
}
use Answer::{Refused, Taken};

/// People at one Incident, and all that was answered wrongly.
struct Room {
    people: BTreeMap<&'static str, Api<DynamicObject>>,
    wrong: Vec<String>,
}

const INCIDENT: &str = "outage";

impl Room {
    /// Alice may approve, Bob may not, Flux applies manifests, and the administrator may do everything.
    async fn new(world: &World) -> Self {
        let operator = format!("system:serviceaccount:{}:firebreak", world.operator_namespace);
        let mut clients: BTreeMap<&'static str, Client> = BTreeMap::new();
        clients.insert("alice", world.person("alice", &["firebreak-approver"]).await);
        clients.insert("bob", world.person("bob", &[]).await);
        clients.insert("flux", world.person(FLUX, &[]).await);
        clients.insert("operator", world.client_of(&operator).await);
        clients.insert("administrator", world.client.clone());
        let people = clients
            .into_iter()
            .map(|(person, client)| (person, world.incidents_for(&client, &world.a)))
            .collect();
        Self { people, wrong: Vec::new() }
    }

    fn judge(&mut self, request: &dyn Debug, answer: kube::Result<DynamicObject>, expected: Answer) {
        match (answer, expected) {
            (Ok(_), Taken) => {}
            (Err(kube::Error::Api(status)), Refused(words))
                if status.message.contains(words) && !status.message.contains('\n') => {}
            (Ok(_), Refused(_)) => self.wrong.push(format!("taken: {request:?}")),
            (Err(error), _) => self.wrong.push(format!("{request:?}: not {expected:?}, but {error}")),
        }
    }

    async fn create(&mut self, person: &'static str, spec: Value, expected: Answer) {
        let incident = manifest(&spec);
        let incident = serde_json::from_value(incident).expect("an Incident");
        let answer = self.people[person].create(&PostParams::default(), &incident).await;
        self.judge(&(person, spec), answer, expected);
    }

    /// A merge patch, as `kubectl patch` and the command line send it.
    async fn patch(&mut self, person: &'static str, patch: Value, expected: Answer) {
        let merge = Patch::Merge(&patch);
        let answer = self.people[person].patch(INCIDENT, &PatchParams::default(), &merge).await;
        self.judge(&(person, &patch), answer, expected);
    }

    async fn says(&mut self, person: &'static str, spec: Value, expected: Answer) {
        self.patch(person, json!({"spec": spec}), expected).await;
    }

    /// Server-side apply, as GitOps tools send it.
    async fn applies(&mut self, person: &'static str, spec: Value, expected: Answer) {
        let incident = manifest(&spec);
        let params = PatchParams::apply(person).force();
        let answer = self.people[person].patch(INCIDENT, &params, &Patch::Apply(&incident)).await;
        self.judge(&(person, "applies", spec), answer, expected);
    }

    /// A PUT of the manifest, as `kubectl replace` sends it: fields that it does not have are removed.
    async fn replaces(&mut self, person: &'static str, spec: Value, expected: Answer) {
        let live = self.people[person].get(INCIDENT).await.expect("the Incident");
        let mut incident = manifest(&spec);
        incident["metadata"]["resourceVersion"] = json!(live.metadata.resource_version);
        let incident = serde_json::from_value(incident).expect("an Incident");
        let answer = self.people[person].replace(INCIDENT, &PostParams::default(), &incident).await;
        self.judge(&(person, "replaces", spec), answer, expected);
    }

    async fn spec(&self) -> Value {
        self.people["administrator"].get(INCIDENT).await.expect("the Incident").data["spec"].clone()
    }

    fn assert_judged_rightly(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

fn manifest(spec: &Value) -> Value {
    json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": INCIDENT}, "spec": spec,
    })
}

fn approval(plan: char, by: &str) -> Value {
    json!({"step": "cpu-fallback", "planHash": format!("sha256:{}", plan.to_string().repeat(64)), "approvedBy": by})
}

fn settlement(change: &str, outcome: &str, by: &str) -> Value {
    json!({"change": change, "outcome": outcome, "settledBy": by})
}

/// The controller of the admission policies has found no fault in their expressions.
async fn assert_well_typed(policies: &[Object]) {
    for policy in policies.iter().filter(|made| made.kind() == "ValidatingAdmissionPolicy") {
        let checked = policy
            .wait_until("its types are checked", |policy| policy.data["status"]["typeChecking"].is_object())
            .await;
        assert_eq!(checked.data["status"]["typeChecking"], json!({}), "{policy}");
    }
}

#[tokio::test]
async fn nobody_decides_in_the_name_of_another_and_only_those_approve_or_settle_who_may() {
    let world = World::new("s20-admission").await;
    world.install().await;
    let policies = world.admission().await;
    let mut room = Room::new(&world).await;
    let policy = json!({"name": "drill"});

    let alices = json!({"policyRef": policy, "acknowledgedBy": "alice"});
    room.create("bob", alices.clone(), Refused("acknowledgedBy must be your own user name: set it to bob"))
        .await;
    let planned = json!({"policyRef": policy, "approvals": [approval('a', "alice")]});
    room.create("alice", planned, Refused("omit spec.approvals")).await;
    let settled = json!({"policyRef": policy, "settlements": [settlement("a", "Happened", "alice")]});
    room.create("alice", settled, Refused("omit spec.settlements")).await;
    let paused = json!({"policyRef": policy, "response": "Paused", "responseBy": "alice"});
    room.create("bob", paused, Refused("responseBy must be your own user name: set it to bob")).await;
    room.create("alice", alices, Taken).await;

    // Alice has acknowledged, and Bob pauses, with kubectl alone or by name.
    room.says("bob", json!({"response": "Paused"}), Taken).await;
    room.says("bob", json!({"responseBy": "alice"}), Refused("set it to bob")).await;
    room.says("bob", json!({"responseBy": "bob"}), Taken).await;
    room.says("bob", json!({"acknowledgedBy": "bob", "summary": "taken over"}), Taken).await;
    room.says(
        "bob",
        json!({"acknowledgedBy": "alice"}),
        Refused("acknowledgedBy must be your own user name: set it to bob"),
    )
    .await;
    // The next decision is not attributed to Bob.
    let credit =
        Refused("would attribute this response to bob: in the same request set it to alice, or remove it");
    room.says("alice", json!({"response": "Active"}), credit).await;
    room.says("alice", json!({"response": null}), credit).await;
    room.says("alice", json!({"response": "Active", "responseBy": "alice"}), Taken).await;
    room.says("bob", json!({"response": "Paused", "responseBy": null}), Taken).await;

    // Approvals.
    let approves = |plan, by| json!({"approvals": [approval(plan, by)]});
    room.says(
        "alice",
        approves('a', "bob"),
        Refused("approvedBy must be your own user name: set it to alice"),
    )
    .await;
    room.says("bob", approves('a', "bob"), Refused("ask for the verb approve on incidents.firebreak.dev"))
        .await;
    room.says("bob", approves('a', "alice"), Refused("approvedBy must be your own user name: set it to bob"))
        .await;
    room.says("alice", approves('a', "alice"), Taken).await;
    room.says("bob", json!({"summary": "GPU nodes lost"}), Taken).await;
    room.says("bob", approves('b', "alice"), Refused("approvedBy must be your own user name: set it to bob"))
        .await;
    let other_step = json!({"approvals": [approval('a', "alice"), {
        "step": "other", "planHash": approval('a', "bob")["planHash"], "approvedBy": "bob",
    }]});
    room.says("bob", other_step, Refused("ask for the verb approve")).await;
    room.says("alice", approves('b', "alice"), Taken).await;

    // Settlements of operations, by the same rule and the same verb.
    let settles = |outcome, by| json!({"settlements": [settlement("a", outcome, by)]});
    room.says(
        "alice",
        settles("Happened", "bob"),
        Refused("settledBy must be your own user name: set it to alice"),
    )
    .await;
    room.says(
        "bob",
        settles("Happened", "bob"),
        Refused("may not settle operations: ask for the verb approve"),
    )
    .await;
    room.says(
        "bob",
        settles("Happened", "alice"),
        Refused("settledBy must be your own user name: set it to bob"),
    )
    .await;
    room.says("alice", settles("Happened", "alice"), Taken).await;
    room.says("bob", json!({"summary": "the cache was flushed"}), Taken).await;
    room.says(
        "bob",
        settles("DidNotHappen", "alice"),
        Refused("settledBy must be your own user name: set it to bob"),
    )
    .await;
    let another = json!({"settlements": [
        settlement("a", "Happened", "alice"), settlement("b", "Happened", "bob"),
    ]});
    room.says("bob", another, Refused("ask for the verb approve")).await;
    room.says("alice", settles("DidNotHappen", "alice"), Taken).await;

    // Fields that only Firebreak writes.
    let nonce = json!({"metadata": {"annotations": {"firebreak.dev/nonce": "forged"}}});
    room.patch("alice", nonce, Refused("firebreak.dev/nonce is reserved for Incidents that Firebreak opens"))
        .await;
    // Nor can an Incident that Firebreak has opened be turned into a person's.
    let nonce = |value: Value| json!({"metadata": {"annotations": {"firebreak.dev/nonce": value}}});
    room.patch("operator", nonce(json!("genuine")), Taken).await;
    for gone in [Value::Null, json!("forged")] {
        room.patch("alice", nonce(gone), Refused("do not set, change or remove it")).await;
    }
    room.patch("operator", nonce(Value::Null), Taken).await;
    let only = Refused("writes the status of Incidents and policies");
    let status = json!({"status": {"progress": "1/2"}});
    let params = PatchParams::default();
    for (person, expected) in [("administrator", only), ("operator", Taken)] {
        // The operator may replace a status, with the version that the decision was based on.
        let mut incident = room.people["administrator"].get(INCIDENT).await.expect("the Incident");
        incident.data["status"] = status["status"].clone();
        let answer = room.people[person].replace_status(INCIDENT, &PostParams::default(), &incident).await;
        room.judge(&(person, "status"), answer, expected);
    }
    let rpol = manifest::resource("firebreak.dev/v1alpha1", "RemediationPolicy");
    let rpol = manifest::api(&world.client, &rpol, Some(&world.a));
    let drill = crate::drill::policy_manifest(|_| {}).to_string();
    world.apply("flux", &drill).await;
    let answer =
        rpol.patch_status("drill", &params, &Patch::Merge(json!({"status": {"waitingFor": []}}))).await;
    room.judge(&"the status of a policy", answer, only);

    // A tool applies its manifest again, and the decisions stay, because they are not in it.
    let decided = room.spec().await;
    room.applies("flux", json!({"policyRef": policy, "summary": decided["summary"]}), Taken).await;
    assert_eq!(room.spec().await, decided, "server-side apply leaves alone what it does not say");
    // A field that a PUT does not have is removed, which is a decision: to respond as the policy says.
    room.replaces("flux", json!({"policyRef": policy}), Taken).await;
    assert_eq!(room.spec().await, json!({"policyRef": policy}));

    // A withdrawal cannot be stopped halfway, neither by another response nor by leaving it out.
    room.says("alice", json!({"response": "Withdrawn", "responseBy": "alice"}), Taken).await;
    room.applies("flux", json!({"policyRef": policy}), Taken).await;
    let half_way = Refused("after response: Withdrawn only Kept can follow: open a new Incident");
    room.replaces("flux", json!({"policyRef": policy}), half_way).await;
    room.replaces("flux", json!({"policyRef": policy, "response": "Active"}), half_way).await;
    room.applies("flux", json!({"policyRef": policy, "response": "Active"}), half_way).await;
    room.says("alice", json!({"response": "Active"}), half_way).await;
    room.says("bob", json!({"response": "Paused", "responseBy": "bob"}), half_way).await;
    room.says("bob", json!({"response": "Kept", "responseBy": "bob"}), Taken).await;
    let kept = Refused("response: Kept is final: open a new Incident");
    for response in [json!("Withdrawn"), json!("Active"), Value::Null] {
        room.says("bob", json!({"response": response}), kept).await;
    }
    let other = Refused("policyRef is immutable: open a new Incident");
    room.says("bob", json!({"policyRef": {"name": "other"}}), other).await;
    room.says("bob", json!({"policyRef": null}), other).await;
    room.assert_judged_rightly();
    assert_well_typed(&policies).await;

    // The other way round, and with the roles that every cluster has.
    room.people["administrator"]
        .delete(INCIDENT, &kube::api::DeleteParams::default())
        .await
        .expect("deleted");
    room.create("alice", json!({"summary": "of no policy yet"}), Taken).await;
    room.says("alice", json!({"policyRef": policy}), other).await;
    room.assert_judged_rightly();
    let edit = Object::new(&world.client, "rbac.authorization.k8s.io/v1", "ClusterRole", None, "edit");
    edit.wait_until("has ours", |edit| {
        let rules = edit.data["rules"].to_string();
        rules.contains("firebreak.dev") && !rules.contains("approve")
    })
    .await;
}
