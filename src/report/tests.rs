use firebreak_engine::change::{Change, ChangeState, FieldChange, Operation, OperationWrite};
use firebreak_engine::id::{ChangeId, ResourceVersion, TargetId};
use firebreak_engine::incident::{
    Closing, Held, IncidentState, PolicySnapshot, RuleStatus, SignalState, SignalStatus, Spared, StepState,
    StepStatus, TargetCounts, TimelineEntry,
};
use firebreak_engine::policy::Severity;
use firebreak_engine::reason::Reason;
use firebreak_engine::verdict::Verdict;

use super::*;
use crate::api::{Incident, IncidentSpec, IncidentStatus};

/// This many seconds after the fault became visible.
fn at(second: i64) -> Timestamp {
    "2026-03-01T10:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_secs(second)
}

fn view(state: &IncidentState, summary: Option<&str>) -> IncidentView {
    let spec = IncidentSpec { summary: summary.map(str::to_owned), ..IncidentSpec::default() };
    let mut incident = Incident::new("gpu-outage", spec);
    incident.metadata.namespace = Some("llm-serving".to_owned());
    incident.metadata.uid = Some("0b9c-1".to_owned());
    incident.metadata.annotations = Some([(names::NONCE.to_owned(), "n".to_owned())].into());
    incident.status = Some(IncidentStatus { state: state.clone(), ..IncidentStatus::default() });
    IncidentView::of(&incident)
}

fn report(state: &IncidentState, summary: Option<&str>, second: i64) -> String {
    let template = ReportTemplate::shipped().unwrap();
    let Report { text, problem } = markdown(&template, &view(state, summary), at(second)).unwrap();
    assert_eq!(problem, None);
    text
}

fn model(name: &str) -> TargetId {
    TargetId {
        api_version: "inference.llm-d.io/v1alpha1".into(),
        kind: "LLMDeployment".into(),
        namespace: "llm-serving".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
    }
}

fn field(path: &str, before: Option<Value>, after: Option<Value>) -> FieldChange {
    FieldChange {
        path: path.parse().unwrap(),
        before,
        after,
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    }
}

/// CPU fallback of one model, in force.
fn fallback(name: &str) -> Change {
    let mut gpu = field("/spec/resources/limits/nvidia.com~1gpu", Some(json!("4")), Some(json!("0")));
    gpu.owner = Some("flux/Apply".into());
    let precision = field("/spec/model/quantization/precision", None, Some(json!("int8")));
    let id = ChangeId::of("0b9c-1", "cpu-fallback", name);
    let mut change = Change::planned(id, "cpu-fallback", model(name), vec![gpu, precision]);
    change.intend(ResourceVersion::try_from("7".to_owned()).unwrap(), at(40));
    change.applied(at(41));
    change
}

fn entry(second: i64, type_: &str, message: &str) -> TimelineEntry {
    TimelineEntry { at: at(second), type_: type_.into(), message: message.into() }
}

/// An Incident in which two of three models run without GPU.
fn open() -> IncidentState {
    let mut skipped = fallback("pinned");
    skipped.stand(ChangeState::Skipped, Reason::PinnedToAccelerator, "placement cannot be released");
    IncidentState {
        severity: Some(Severity::P0),
        severity_reason: Some("GpuClusterFailure".into()),
        worst_severity: Some(Severity::P0),
        policy: Some(PolicySnapshot {
            name: "gpu-cluster-failure".into(),
            uid: "p".into(),
            generation: 3,
            service_account: "firebreak-responder".into(),
        }),
        detected_at: Some(at(0)),
        opened_at: Some(at(30)),
        classified_at: Some(at(30)),
        first_action_at: Some(at(40)),
        mitigated_at: Some(at(200)),
        signals: vec![SignalStatus {
            name: "gpuNodes".into(),
            state: SignalState::Known,
            summary: "total 0, expected 8, ready 0".into(),
        }],
        rules: vec![RuleStatus {
            reason: "GpuClusterFailure".into(),
            level: Severity::P0,
            truth: Verdict::True,
            known: Verdict::True,
            since: Some(at(0)),
            unknown_since: None,
            holds: true,
            evidence: "gpuNodes.ready = 0, gpuNodes.expected = 8".into(),
        }],
        steps: vec![StepStatus {
            name: "cpu-fallback".into(),
            state: StepState::Verified,
            started_at: Some(at(40)),
            targets: TargetCounts { matched: 3, applied: 2, verified: 2, ..TargetCounts::default() },
            ..StepStatus::default()
        }],
        changes: vec![fallback("chat"), fallback("search"), skipped],
        timeline: vec![
            entry(30, "Opened", "Incident opened"),
            entry(30, "Classified", "severity P0: GpuClusterFailure"),
            entry(41, "StepApplied", "cpu-fallback: 2 objects changed"),
            entry(200, "StepVerified", "cpu-fallback helped"),
        ],
        ..IncidentState::default()
    }
}

/// The same, withdrawn: one model reverted, one ceded to GitOps.
fn closed() -> IncidentState {
    let mut state = open();
    state.severity = None;
    state.severity_reason = None;
    state.closing = Some(Closing::Recovered);
    state.resolved_at = Some(at(1200));
    state.rules[0].truth = Verdict::False;
    state.rules[0].holds = false;
    state.changes[0].returned();
    state.changes[1].fields_mut()[0].ceded_to = Some("flux/Apply".into());
    state.changes[1].returned();
    state.timeline.push(entry(1200, "Resolved", "1 change reverted, 1 ceded"));
    state
}

#[test]
fn the_report_of_a_closed_incident_names_every_change_and_its_end() {
    insta::assert_snapshot!(report(&closed(), Some("GPU nodes lost in zone b"), 1201));
}

#[test]
fn the_report_of_an_open_incident_says_what_a_person_is_needed_for() {
    let mut state = open();
    state.mitigated_at = None;
    state.changes[1].stand(ChangeState::Held, Reason::OutcomeUnknown, "three answers were lost");
    state.held = Some(Held::new(Reason::OutcomeUnknown, "look at LLMDeployment llm-serving/search"));
    insta::assert_snapshot!(report(&state, None, 600));
}

#[test]
fn an_operation_is_told_with_whose_sake_it_was_done_for_and_that_it_cannot_be_undone() {
    let mut state = closed();
    let pod = TargetId::pod("llm-serving", "chat-0".into(), "p0".into());
    let owner = state.changes[0].target.clone();
    let id = ChangeId::on_behalf_of(&state.changes[0].id, &pod.uid);
    let mut deletion = Change::operation(id, "cpu-fallback", pod, Operation::delete_pod(owner.clone()));
    deletion.intend_operation(at(60));
    deletion.intend_operation(at(70));
    deletion.done(at(71));
    state.changes.push(deletion);
    let text = report(&state, None, 1201);
    let row = format!("| cpu-fallback | deletion of Pod llm-serving/chat-0 | {owner} |");
    assert!(text.contains(&row) && text.contains("(2 requests) |  | done |"), "{text}");
    assert!(text.contains("An operation cannot be undone."), "{text}");
    assert!(!report(&closed(), None, 1201).contains("### Operations"));
}

#[test]
fn only_a_restart_that_took_effect_stays_on_its_object() {
    let state = closed();
    let path = "/spec/template/metadata/annotations/restartedAt";
    let write = OperationWrite {
        value: Some("firebreak-5f2c".into()),
        ..OperationWrite::new(vec![path.parse().unwrap()])
    };
    let target = state.changes[0].target.clone();
    let id = ChangeId::on_behalf_of(&state.changes[0].id, &target.uid);
    let mut restart = Change::operation(id, "restart", target.clone(), Operation::restart(write));
    let stays = "to remove the value of a restart would restart the pods";
    let told = |restart: &Change| {
        let mut state = state.clone();
        state.changes.push(restart.clone());
        let text = report(&state, None, 1201);
        let row = format!("| restart | restart of {target} |");
        let row = text.lines().find(|line| line.starts_with(&row)).unwrap().to_owned();
        (text.contains(stays), row.split('|').nth(5).unwrap().trim().to_owned())
    };
    let value = format!("{path} = firebreak-5f2c");
    restart.intend_operation(at(60));
    restart.stand(ChangeState::Failed, Reason::Refused, "403");
    assert_eq!(told(&restart), (false, String::new()));
    restart.state = ChangeState::Unclear;
    assert_eq!(told(&restart), (true, format!("`perhaps {value}`")));
    restart.done(at(71));
    assert_eq!(told(&restart), (true, format!("`{value}`")));
}

#[test]
fn what_a_person_has_decided_is_not_put_down_to_firebreak() {
    let mut state = open();
    state.timeline.push(entry(210, "Acknowledged", "acknowledged by alice"));
    let rows = |view: &IncidentView| {
        let template = ReportTemplate::shipped().unwrap();
        let text = markdown(&template, view, at(600)).unwrap().text;
        let row = |type_: &str| {
            text.lines().find(|line| line.contains(&format!("**{type_}**"))).unwrap().to_owned()
        };
        ["Opened", "Acknowledged", "StepApplied"].map(row)
    };
    let [opened, acknowledged, applied] = rows(&view(&state, None));
    assert!(opened.ends_with("| Firebreak |") && applied.ends_with("| Firebreak |"), "{opened}\n{applied}");
    assert!(acknowledged.ends_with("acknowledged by alice | a person |"), "{acknowledged}");

    let mut by_hand = Incident::new("gpu-outage", IncidentSpec::default());
    by_hand.status = Some(IncidentStatus { state, ..IncidentStatus::default() });
    let [opened, _, applied] = rows(&IncidentView::of(&by_hand));
    assert!(opened.ends_with("| a person |") && applied.ends_with("| Firebreak |"), "{opened}\n{applied}");
}

#[test]
fn objects_with_nothing_to_do_are_among_those_that_were_not_changed() {
    let mut state = closed();
    let spared = |name: &str| Spared::new(&model(name), "it requests no accelerator");
    state.steps[0].nothing_to_do = vec![spared("cpu-a"), spared("cpu-b")];
    state.steps[0].targets.nothing_to_do = 7;
    let text = report(&state, None, 1201);
    let row = "| cpu-fallback | LLMDeployment llm-serving/cpu-b | NothingToDo: it requests no accelerator |\n\
               | cpu-fallback | 5 more | NothingToDo |\n";
    assert!(text.contains(row), "{text}");
}

#[test]
fn an_incident_about_which_nothing_is_known_has_a_report() {
    insta::assert_snapshot!(report(&IncidentState::default(), Some(""), 0));
}

#[test]
fn values_of_others_do_not_break_the_tables() {
    let mut state = closed();
    let hostile = "a | b\n## `Injected` <script>|\\|";
    state.changes[0].fields_mut()[0].before = Some(json!(hostile));
    state.changes[0].fields_mut()[0].after = Some(json!({"long": "x".repeat(10_000)}));
    state.changes[1].fields_mut()[0].ceded_to = Some(hostile.into());
    state.timeline[0].message = hostile.into();
    let report = report(&state, Some(hostile), 1201);
    assert!(!report.lines().any(|line| line.starts_with("## `Injected`")));
    for row in report.lines().filter(|line| line.starts_with("| cpu-fallback | LLMDeployment")) {
        let separators = row.replace("\\\\", "").replace("\\|", "").matches('|').count();
        assert!([4, 8].contains(&separators), "{row}");
        assert!(row.len() < 1000);
    }
}

#[test]
fn the_largest_report_fits_into_a_config_map() {
    let mut state = closed();
    let long = "|".repeat(1024);
    let mut change = state.changes[1].clone();
    change.message = Some(long.clone());
    change.set_fields(vec![change.fields()[0].clone(); 64]);
    state.changes = vec![change.clone(); 300];
    change.stand(ChangeState::Skipped, Reason::NotApplicable, long.clone());
    state.changes.extend(vec![change; 300]);
    state.timeline = vec![entry(0, "Type", &long.replace('|', "\u{1F525}")); 100];
    state.steps[0].message = Some(long.clone());
    state.steps = vec![state.steps[0].clone(); 64];
    state.rules[0].evidence = "|".repeat(512);
    state.rules = vec![state.rules[0].clone(); 16];
    state.signals[0].summary = "|".repeat(512);
    state.signals = vec![state.signals[0].clone(); 32];
    let report = report(&state, Some(&long), 1201);
    assert!(report.len() > 500_000 && report.len() <= LONGEST, "{}", report.len());
    assert!(report.contains("more rows do not fit") && report.contains("## Lessons Learned"));
}

#[test]
fn the_config_map_is_named_and_labelled_after_the_incident() {
    let state = closed();
    let map = config_map(&view(&state, None), &report(&state, None, 1201));
    assert_eq!(map["metadata"]["name"], "gpu-outage-report");
    assert_eq!(map["metadata"]["namespace"], "llm-serving");
    assert_eq!(map["metadata"]["labels"]["app.kubernetes.io/managed-by"], "firebreak");
    assert_eq!(map["metadata"]["labels"]["firebreak.dev/incident"], "0b9c-1");
    assert!(
        map["data"]["report.md"].as_str().unwrap().starts_with("# Incident Report: llm-serving/gpu-outage\n")
    );
}

#[test]
fn a_template_that_fails_on_an_incident_leaves_the_shipped_report_and_says_so() {
    // It was accepted, because only an Incident like this one leads there.
    let text = "{% if incident.name == 'gpu-outage' and incident.changes %}\n{{ incident.changes[0].nothing }}{% endif %}";
    let template = ReportTemplate::parse(text.replace(
        "gpu-outage' and",
        "gpu-outage' and incident.uid == '0b9c-1' and incident.severity is none and",
    ))
    .unwrap();
    let state = closed();
    let Report { text, problem } = markdown(&template, &view(&state, None), at(1201)).unwrap();
    assert_eq!(text, report(&state, None, 1201));
    let problem = problem.unwrap();
    assert!(problem.contains("line 2") && problem.contains("undefined"), "{problem}");
}
