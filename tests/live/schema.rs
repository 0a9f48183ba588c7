//! What the API server itself rejects and prints, by the shipped definitions.

use serde_json::{Value, json};

use crate::{
    drill::{Drill, policy_manifest, targets},
    support::testbed::repository,
};

/// An edit of the drill's policy, and what the server must say about it.
type Case = (&'static str, fn(&mut Value), &'static str);

const REFUSED: &[Case] = &[
    ("two kinds of signal", |spec| spec["signals"][0]["nodes"] = json!({}), "exactly one kind of signal"),
    (
        "no kind of signal",
        |spec| {
            spec["signals"][0].as_object_mut().expect("a map").remove("objects");
        },
        "exactly one kind of signal",
    ),
    ("no action", |spec| spec["steps"][0]["action"] = json!({}), "exactly one action"),
    ("no check", |spec| spec["steps"][0]["verify"]["checks"] = json!([{}]), "exactly one"),
    (
        "two checks in one",
        |spec| spec["steps"][0]["verify"]["checks"] = json!([{"rollout": {}, "cel": {"expression": "true"}}]),
        "exactly one",
    ),
    ("no namespaces", |spec| targets(spec)["namespaces"] = json!({}), "exactly one of all: true and names"),
    (
        "all and some namespaces",
        |spec| targets(spec)["namespaces"] = json!({"all": true, "names": ["a"]}),
        "exactly one of all: true and names",
    ),
    ("unknown mode", |spec| spec["mode"] = json!("Attack"), "spec.mode"),
    ("unknown level", |spec| spec["severity"][0]["level"] = json!("P9"), "spec.severity[0].level"),
    ("no name", |spec| spec["steps"][0]["name"] = json!(""), "spec.steps[0].name"),
    ("a name that is none", |spec| spec["signals"][0]["name"] = json!("a-b"), "spec.signals[0].name"),
    ("too many targets", |spec| spec["guardrails"] = json!({"maxTargets": 301}), "maxTargets"),
    (
        "too many incidents",
        |spec| spec["guardrails"] = json!({"maxIncidents": {"count": 51, "per": "1h"}}),
        "spec.guardrails.maxIncidents.count",
    ),
    ("a negative number", |spec| spec["signals"][0]["expect"] = json!(-1), "expect"),
    ("many retries", |spec| spec["steps"][0]["retries"] = json!(11), "retries"),
    ("no wave", |spec| spec["recovery"]["maxAtOnce"] = json!(0), "maxAtOnce"),
    (
        "two reductions",
        |spec| {
            let targets = targets(spec).clone();
            let reduce = json!({"targets": targets, "percent": 50, "batchSize": 1});
            spec["steps"][0]["action"] = json!({"reduceBatch": reduce});
        },
        "either percent or at least one",
    ),
    (
        "no ceiling",
        |spec| {
            let targets = targets(spec).clone();
            spec["steps"][0]["action"] = json!({"raiseAutoscalerLimit": {"targets": targets}});
        },
        "ceiling",
    ),
    // A field that would be ignored is rejected.
    (
        "an approval that is none",
        |spec| spec["steps"][0]["approval"] = json!("Maybe"),
        "spec.steps[0].approval",
    ),
    ("a further action", |spec| spec["steps"][0]["action"]["scale"] = json!({}), "scale"),
    (
        "a window without a time of day",
        |spec| spec["guardrails"] = json!({"windows": [{"zone": "UTC", "from": "8:00", "to": "18:00"}]}),
        "spec.guardrails.windows[0].from",
    ),
    (
        "a window without a length",
        |spec| spec["guardrails"] = json!({"windows": [{"zone": "UTC", "from": "08:00", "to": "08:00"}]}),
        "from and to must differ",
    ),
    (
        "a window on no day of the week",
        |spec| {
            let window = json!({"zone": "UTC", "days": ["Monday"], "from": "08:00", "to": "18:00"});
            spec["guardrails"] = json!({"windows": [window]});
        },
        "spec.guardrails.windows[0].days[0]",
    ),
    ("a guardrail of zero", |spec| spec["guardrails"] = json!({"maxTargetsPercent": 0}), "maxTargetsPercent"),
    (
        "more than all",
        |spec| spec["guardrails"] = json!({"suspectDetectorAbovePercent": 101}),
        "suspectDetectorAbovePercent",
    ),
    ("escalation", |spec| spec["escalationPolicyRef"] = json!({"name": "sre"}), "escalationPolicyRef"),
];

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_the_server_with_the_field() {
    let drill = Drill::new("schema").await;
    let mut wrong = Vec::new();
    for (name, edit, words) in REFUSED {
        match drill.world.try_apply("alice", &policy_manifest(edit).to_string()).await {
            Ok(_) => wrong.push(format!("{name}: taken")),
            Err(error) if error.to_string().contains(words) => {}
            Err(error) => wrong.push(format!("{name}: no {words:?} in {error}")),
        }
    }
    let mut long = policy_manifest(|_| {});
    long["metadata"]["name"] = json!("a".repeat(41));
    match drill.world.try_apply("alice", &long.to_string()).await {
        Err(error) if error.to_string().contains("40 characters") => {}
        answer => wrong.push(format!("a long name: {answer:?}")),
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    drill
        .world
        .try_apply("alice", &policy_manifest(|_| {}).to_string())
        .await
        .expect("the policy itself is good");
}

fn incident(name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "firebreak.dev/v1alpha1", "kind": "Incident",
        "metadata": {"name": name, "namespace": "${a}"}, "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn an_incident_keeps_its_policy_and_takes_no_decision_that_cannot_be_meant() {
    let drill = Drill::new("schema-inc").await;
    let world = &drill.world;
    world.apply("alice", &incident("one", &json!({"policyRef": {"name": "drill"}}))).await;
    let refused = [
        (
            "another policy",
            incident("one", &json!({"policyRef": {"name": "other"}})),
            "policyRef is immutable",
        ),
        ("no policy any more", incident("one", &json!({"summary": "of none"})), "policyRef is immutable"),
        ("no response", incident("two", &json!({"response": "Stop"})), "spec.response"),
        ("nobody", incident("two", &json!({"acknowledgedBy": ""})), "spec.acknowledgedBy"),
        (
            "no plan",
            incident("two", &json!({"approvals": [{"step": "a", "planHash": "b", "approvedBy": "c"}]})),
            "spec.approvals[0].planHash",
        ),
        ("no level", incident("two", &json!({"policyRef": {"name": "drill"}, "severity": "P9"})), "severity"),
        ("a long name", incident(&"a".repeat(64), &json!({"policyRef": {"name": "drill"}})), "63 characters"),
        (
            "a long text",
            incident("two", &json!({"policyRef": {"name": "drill"}, "summary": "a".repeat(1025)})),
            "spec.summary",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, manifest, words) in refused {
        match world.try_apply("alice", &manifest).await {
            Ok(_) => wrong.push(format!("{name}: taken")),
            Err(error) if error.to_string().contains(words) => {}
            Err(error) => wrong.push(format!("{name}: no {words:?} in {error}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The columns of a table of kubectl, and its first row.
fn table(text: &str) -> (Vec<&str>, Vec<&str>) {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
}

#[tokio::test]
async fn kubectl_prints_policies_and_incidents_under_their_short_names() {
    let drill = Drill::new("columns").await;
    let _models = drill.models(2).await;
    let _operator = drill.world.operator().start().await;
    let policy = drill.policy().await;
    let incident = drill.respond(&policy).await;
    let get = async |arguments: &[&str]| {
        drill.world.kubectl(&[&["get", "-n", &drill.world.a], arguments].concat()).await
    };
    let text = get(&["rpol"]).await;
    let (heading, row) = table(&text);
    assert_eq!(heading, ["NAME", "MODE", "READY", "INCIDENT", "AGE"]);
    assert_eq!(row[..4], ["drill", "Enforce", "True", incident.name()], "{text}");
    let text = get(&["inc"]).await;
    let (heading, row) = table(&text);
    assert_eq!(heading, ["NAME", "SEVERITY", "PHASE", "STEPS", "CHANGES", "POLICY", "AGE"]);
    assert_eq!(row[..6], [incident.name(), "P0", "Monitoring", "1/1", "2", "drill"], "{text}");
    let text = get(&["inc", "-o", "wide"]).await;
    let (heading, row) = table(&text);
    assert_eq!(heading[7..], ["REASON", "ACKNOWLEDGED", "MESSAGE"], "{text}");
    let digits =
        |text: &str| text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>();
    assert_eq!(digits(incident.name()), "drill-00000000-000000");
    assert_eq!(row[7], "AlarmRings", "{text}");
    // kstatus, as GitOps tools read it.
    for object in [policy.get().await, incident.get().await] {
        let generation = json!(object.metadata.generation);
        assert_eq!(object.data["status"]["observedGeneration"], generation);
        for type_ in ["Ready", "Reconciling", "Stalled"] {
            let conditions = object.data["status"]["conditions"].as_array().expect("conditions");
            let found = conditions.iter().find(|condition| condition["type"] == type_);
            assert_eq!(found.map(|found| &found["observedGeneration"]), Some(&generation), "{type_}");
        }
    }
}

/// As the README says, and without `--server-side` as well.
#[tokio::test]
async fn the_shipped_kustomizations_are_taken_by_the_server() {
    let drill = Drill::new("install").await;
    let crds = repository().join("deploy/crds").display().to_string();
    let operator = repository().join("deploy").display().to_string();
    let made = drill.world.kubectl(&["apply", "--dry-run=server", "-k", &crds]).await;
    for policy in ["decisions", "status"] {
        for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
            let line = format!("{kind}.admissionregistration.k8s.io/{policy}.firebreak.dev created");
            assert!(made.contains(&line), "no {line} in\n{made}");
        }
    }
    // Its namespace must exist for a dry run of its contents.
    let namespace = repository().join("deploy/namespace.yaml").display().to_string();
    drill.world.kubectl(&["apply", "-f", &namespace]).await;
    let made = drill.world.kubectl(&["apply", "--dry-run=server", "-k", &operator]).await;
    for kind in
        ["namespace", "serviceaccount", "clusterrole.", "clusterrolebinding.", "role.", "rolebinding."]
    {
        assert!(made.lines().any(|line| line.starts_with(kind)), "no {kind} in\n{made}");
    }
    for object in ["deployment.apps/firebreak", "service/firebreak-metrics"] {
        assert!(made.contains(object), "no {object} in\n{made}");
    }
    assert!(!made.contains("customresourcedefinition"), "CRDs go with the operator:\n{made}");
    let printed = drill.world.firebreak(&["crds"]).await;
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    for document in drill.world.documents(&printed) {
        // Those are installed for a world alone: tests/support/admission.rs.
        if document["kind"] != "CustomResourceDefinition" {
            continue;
        }
        let file = drill.world.files().join("crd.json");
        std::fs::write(&file, document.to_string()).expect("a file");
        let file = file.display().to_string();
        let same = drill.world.kubectl(&["diff", "--server-side", "--force-conflicts", "-f", &file]).await;
        assert_eq!(same, "", "what `firebreak crds` prints is not what is installed");
    }
}
