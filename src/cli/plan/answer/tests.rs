use firebreak_engine::change::{Delivery, Operation};
use firebreak_engine::id::ChangeId;
use firebreak_engine::incident::IncidentState;
use serde_json::{Value, json};

use super::*;

fn target(name: &str) -> TargetId {
    TargetId {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: "llm-serving".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
    }
}

fn decision() -> Decision {
    let field = |path: &str, before: Value, after: Option<Value>| FieldChange {
        path: path.parse().unwrap(),
        before: Some(before),
        after,
        created: None,
        owner: Some("flux/Apply".to_owned()),
        ceded_to: None,
        beside: None,
    };
    let id = ChangeId::of("i", "cpu-fallback", "uid-chat");
    let fields = vec![
        field("/spec/replicas", json!("4"), Some(json!("0"))),
        field("/spec/template/spec/runtimeClassName", json!("nvidia"), None),
    ];
    let why = |step: &str, target: Option<TargetId>, reason: &str, message: &str| WhyNot {
        step: step.to_owned(),
        target,
        reason: reason.into(),
        message: message.to_owned(),
    };
    let mut next = IncidentState {
        severity: Some(Severity::P0),
        severity_reason: Some("GpuClusterFailure".to_owned()),
        changes: vec![Change::planned(id, "cpu-fallback", target("chat"), fields)],
        ..IncidentState::default()
    };
    for name in ["cpu-fallback", "later"] {
        next.steps.push(StepStatus { name: name.to_owned(), ..StepStatus::default() });
    }
    next.steps[0].targets.matched = 2;
    next.steps[0].targets.nothing_to_do = 1;
    next.signals.push(SignalStatus {
        name: "gpuNodes".to_owned(),
        state: SignalState::Known,
        summary: "ready 0, total 4".to_owned(),
    });
    Decision {
        next,
        why: vec![
            why("cpu-fallback", Some(target("web")), "NothingToDo", "it requests no accelerator"),
            why("cpu-fallback", None, "Observe", "this is the plan"),
            why("later", None, "OtherSeverity", "it is not for P0"),
        ],
        ..Decision::default()
    }
}

fn about() -> About {
    About {
        namespace: "llm-serving".to_owned(),
        name: "gpu-cluster-failure".to_owned(),
        mode: Mode::Enforce,
        suspend: true,
        read_as: "ServiceAccount llm-serving/firebreak-responder".to_owned(),
        open_incident: Some("gpu-outage".to_owned()),
        problem: None,
        brake: None,
    }
}

fn rules() -> Rules {
    let spec = json!({"steps": [{
        "name": "cpu-fallback",
        "action": {"cpuFallback": {"targets": {"apiVersion": "apps/v1", "kind": "Deployment"}}},
    }]});
    Rules::parse(&serde_json::from_value(spec).unwrap()).unwrap()
}

fn hints() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[test]
fn a_plan_says_what_will_not_work() {
    let about = About {
        problem: Some("policy x is not Ready".to_owned()),
        brake: Some("the brake is engaged, so no response writes".to_owned()),
        ..about()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let absent = BTreeMap::from([
        ("cpu-fallback".to_owned(), names(&["a", "b"])),
        ("later".to_owned(), names(&["c"])),
    ]);
    let listed = Listed { absent, ..Listed::default() };
    let hints = BTreeMap::from([("gpuNodes".to_owned(), "it counts nothing".to_owned())]);
    let mut planned = decision();
    planned.why[2].reason = Reason::NoTargets;
    planned.why[2].message = "no object in scope is named c".to_owned();
    let plan = Plan::new(about, &rules(), &decision(), &planned, &listed, &hints, None);
    let text = crate::cli::screen::plain(&plan.lines());
    for line in [
        "\n  policy x is not Ready\n",
        "  gpuNodes  Known  ready 0, total 4\n    it counts nothing\n",
        "1 with nothing to do\n  no object in scope is named a, b\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(text.matches("is named c").count(), 1, "{text}");
    let data = serde_json::to_value(&plan).unwrap();
    assert_eq!(data["policy"]["problem"], "policy x is not Ready");
    assert_eq!(data["signals"][0]["hint"], "it counts nothing");
    assert_eq!(data["signals"][0]["name"], "gpuNodes");
    assert_eq!(data["steps"][0]["absent"], json!(["a", "b"]));
}

#[test]
fn a_plan_names_every_field_and_every_reason() {
    let plan = Plan::new(about(), &rules(), &decision(), &decision(), &Listed::default(), &hints(), None);
    insta::assert_snapshot!(crate::cli::screen::plain(&plan.lines()));
}

#[test]
fn a_plan_says_which_objects_are_changed_through_their_owner() {
    let of = |owner: &str, owned: &[&str]| {
        let owned = owned.iter().map(|name| TargetId { kind: "ReplicaSet".to_owned(), ..target(name) });
        (("cpu-fallback".to_owned(), format!("uid-{owner}")), owned.collect())
    };
    let resolved = BTreeMap::from([of("chat", &["a"]), of("web", &["b", "c", "d"])]);
    let listed = Listed { resolved, ..Listed::default() };
    let plan = Plan::new(about(), &rules(), &decision(), &decision(), &listed, &hints(), None);
    let text = crate::cli::screen::plain(&plan.lines());
    for line in [
        "  Deployment llm-serving/chat, instead of ReplicaSet llm-serving/a, which it owns\n",
        "  Deployment llm-serving/web, instead of ReplicaSet llm-serving/b and 2 more, which it owns  left \
         alone",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let data = serde_json::to_value(&plan).unwrap();
    assert_eq!(data["steps"][0]["changes"][0]["inPlaceOf"][0]["name"], "a");
}

#[test]
fn a_plan_is_data_too() {
    let assumption = Some("no rule holds".to_owned());
    let plan =
        Plan::new(about(), &rules(), &decision(), &decision(), &Listed::default(), &hints(), assumption);
    let data = serde_json::to_value(&plan).unwrap();
    assert_eq!(data["policy"]["openIncident"], "gpu-outage");
    assert_eq!(data["steps"][0]["changes"][0]["fields"][0]["after"], "0");
    assert_eq!(data["steps"][0]["notDone"][0]["reason"], "NothingToDo");
    assert_eq!(data["steps"][1]["notDone"][0]["target"], Value::Null);
    assert_eq!(data["assumption"], "no rule holds");
}

#[test]
fn a_planned_operation_says_that_it_cannot_be_undone() {
    let mut planned = decision();
    let deletion = Operation::new(OperationType::DeletePod, Delivery::Guarded, None);
    let id = ChangeId::of("i", "cpu-fallback", "uid-web");
    planned.next.changes.push(Change::operation(id, "cpu-fallback", target("web"), deletion));
    let plan = Plan::new(about(), &rules(), &planned, &planned, &Listed::default(), &hints(), None);
    let text = crate::cli::screen::plain(&plan.lines());
    assert!(text.contains("  Deployment llm-serving/web\n    deletion  cannot be undone\n"), "{text}");
    let data = serde_json::to_value(&plan).unwrap();
    assert_eq!(data["steps"][0]["changes"][1]["operation"], "DeletePod");
}
