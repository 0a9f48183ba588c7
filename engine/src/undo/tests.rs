use serde_json::json;

use super::*;
use crate::change::Change;
use crate::id::TargetId;

const SEQS: &str = "/spec/containers/[name=vllm]/args/[flag=--max-num-seqs]";
const LENGTH: &str = "/spec/containers/[name=vllm]/args/[flag=--max-model-len]";

fn incident() -> IncidentId {
    IncidentId { namespace: "serving".into(), name: "outage".into(), uid: "i".into() }
}

fn object(args: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "chat", "namespace": "serving", "uid": "u", "resourceVersion": "1"},
        "spec": {"containers": [{"name": "vllm", "args": args, "env": [{"name": "KEY", "value": "hunter2"}]}]},
    })
}

fn change(fields: &[(&str, Option<&str>, &str)]) -> Change {
    let target = TargetId {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        namespace: "serving".into(),
        name: "chat".into(),
        uid: "u".into(),
    };
    let field = |(path, before, after): &(&str, Option<&str>, &str)| FieldChange {
        path: path.parse().unwrap(),
        before: before.map(Value::from),
        after: Some(json!(after)),
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    };
    let id = ChangeId::of("i", "step", "u");
    Change::planned(id, "step", target, fields.iter().map(field).collect())
}

/// The object after the merge patch.
fn patched(object: &Value, patch: &GuardedPatch) -> Value {
    fn merge(into: &mut Value, patch: &Value) {
        let Some(patch) = patch.as_object() else { return *into = patch.clone() };
        for (key, value) in patch {
            match value {
                Value::Null => drop(into.as_object_mut().map(|map| map.remove(key))),
                Value::Object(_) if into[key].is_object() => merge(&mut into[key], value),
                _ => into[key] = value.clone(),
            }
        }
    }
    let mut object = object.clone();
    merge(&mut object, patch.body());
    object
}

fn args(object: &Value) -> &Value {
    &object["spec"]["containers"][0]["args"]
}

#[test]
fn two_flags_of_one_list_go_back_each_for_itself() {
    let before = object(json!(["serve", "--max-num-seqs", "256", "--api-key=hunter2"]));
    let change = change(&[(SEQS, Some("256"), "16"), (LENGTH, None, "4096")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    assert_eq!(
        args(&applied),
        &json!(["serve", "--max-num-seqs", "16", "--api-key=hunter2", "--max-model-len=4096"])
    );
    let mut fields = change.fields().to_vec();
    let returned = patched(&applied, &three_way_patch(&applied, &change.id, &mut fields).unwrap());
    assert_eq!(args(&returned), args(&before));
    assert!(fields.iter().all(|field| field.ceded_to.is_none()));

    // Someone else's value of one of them stays; the other is reverted.
    let mut theirs = applied.clone();
    theirs["spec"]["containers"][0]["args"][2] = json!("64");
    let mut fields = change.fields().to_vec();
    let returned = patched(&theirs, &three_way_patch(&theirs, &change.id, &mut fields).unwrap());
    assert_eq!(args(&returned), &json!(["serve", "--max-num-seqs", "64", "--api-key=hunter2"]));
    assert_eq!(fields.iter().filter(|field| field.ceded_to.is_some()).count(), 1);

    // Another argument than ours makes no difference, nor does another form.
    let mut theirs = applied;
    theirs["spec"]["containers"][0]["args"] =
        json!(["--max-model-len", "4096", "--new", "--max-num-seqs=16"]);
    let mut fields = change.fields().to_vec();
    let returned = patched(&theirs, &three_way_patch(&theirs, &change.id, &mut fields).unwrap());
    assert_eq!(args(&returned), &json!(["--new", "--max-num-seqs=256"]));
}

#[test]
fn a_flag_that_is_not_clear_any_more_is_ceded() {
    let before = object(json!(["--max-num-seqs=256"]));
    let change = change(&[(SEQS, Some("256"), "16")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    for now in
        [json!(["--max-num-seqs=16", "--max-num-seqs=16"]), json!(["vllm --max-num-seqs=16"]), json!(null)]
    {
        let mut theirs = applied.clone();
        theirs["spec"]["containers"][0]["args"] = now.clone();
        let mut fields = change.fields().to_vec();
        let returned = patched(&theirs, &three_way_patch(&theirs, &change.id, &mut fields).unwrap());
        assert_eq!(args(&returned), &now);
        assert!(fields[0].ceded_to.is_some());
    }
}

#[test]
fn the_record_has_nothing_of_the_arguments_but_the_flag() {
    let before = object(json!(["--api-key=hunter2", "--max-num-seqs=256"]));
    let change = change(&[(SEQS, Some("256"), "16")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    let record = annotation(&applied, UNDO).unwrap();
    assert!(record.contains("256") && !record.contains("hunter2"), "{record}");
    assert!(!format!("{change:?}").contains("hunter2"));
}

/// The object with managedFields in which ours came last, and `flux` owns what we have not changed.
fn owned(mut object: Value, flux_at: &str) -> Value {
    let entry = |manager: &str, time: &str, set: Value| json!({"manager": manager, "operation": "Update", "time": time, "fieldsV1": set});
    let theirs = json!({"f:spec": {"f:selector": {"f:gpu": {}}}});
    let ours = json!({"f:spec": {"f:model": {"f:precision": {}}}});
    object["metadata"]["managedFields"] =
        json!([entry("flux", flux_at, theirs), entry(MANAGER, "2026-01-01T00:00:10Z", ours)]);
    object
}

#[test]
fn what_admission_stores_is_adopted_and_what_others_write_later_is_not() {
    let field = |path: &str, before: Option<&str>, after: Option<&str>| FieldChange {
        path: path.parse().unwrap(),
        before: before.map(Value::from),
        after: after.map(Value::from),
        created: None,
        owner: None,
        ceded_to: None,
        beside: None,
    };
    let fields = || {
        vec![
            field("/spec/selector/gpu", Some("true"), None),
            field("/spec/model/precision", None, Some("int8")),
            field("/spec/model/dropped", None, Some("yes")),
        ]
    };
    let stored = |selector: &str, at: &str| {
        owned(json!({"spec": {"selector": {"gpu": selector}, "model": {"precision": "gptq"}}}), at)
    };
    let after = |fields: &[FieldChange]| -> Vec<Option<Value>> {
        fields.iter().map(|field| field.after.clone()).collect()
    };
    let all = [Some(json!("true")), Some(json!("gptq")), None];
    // The reply to our own write.
    let mut of_reply = fields();
    assert_eq!(adopt_reply(&stored("true", "2026-01-01T00:00:20Z"), &mut of_reply).len(), 3);
    assert_eq!(after(&of_reply), all);
    // A later read, before and after flux has restored its value.
    let mut of_read = fields();
    assert_eq!(adopt_stored(&stored("true", "2026-01-01T00:00:00Z"), &mut of_read).len(), 3);
    assert_eq!(after(&of_read), all);
    for (selector, at) in [("true", "2026-01-01T00:00:20Z"), ("false", "2026-01-01T00:00:00Z")] {
        let mut of_read = fields();
        adopt_stored(&stored(selector, at), &mut of_read);
        assert_eq!(of_read[0].after, None, "{selector} {at}");
    }
}

#[test]
fn the_label_that_was_left_when_the_record_went_is_taken_off_with_the_last_traces() {
    let before = object(json!(["--max-num-seqs=256"]));
    let change = change(&[(SEQS, Some("256"), "16")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    let mut labelled = applied.clone();
    labelled["metadata"]["annotations"].as_object_mut().unwrap().remove(UNDO);
    let patch = hand_back_patch(&labelled, change.fields(), Some("i")).unwrap().expect("a label is left");
    assert_eq!(patched(&labelled, &patch)["metadata"]["labels"], json!({}));

    // The label stays as long as there is a record, and so does the label of another Incident.
    assert_eq!(hand_back_patch(&applied, change.fields(), Some("i")).unwrap(), None);
    assert_eq!(hand_back_patch(&labelled, change.fields(), Some("another")).unwrap(), None);
    assert_eq!(hand_back_patch(&labelled, change.fields(), None).unwrap(), None);
}

const SURGE: &str = "/spec/strategy/rollingUpdate/maxSurge";
const UNAVAILABLE: &str = "/spec/strategy/rollingUpdate/maxUnavailable";

/// An object with a changed flag, and with the pace of the rollout that the change needs.
fn paced() -> (Value, Change, Value) {
    let mut before = object(json!(["--max-num-seqs=256"]));
    before["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": "1", "maxUnavailable": "0"}});
    let change = change(&[(SEQS, Some("256"), "16"), (SURGE, Some("1"), "0"), (UNAVAILABLE, Some("0"), "1")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    (before, change, applied)
}

#[test]
fn the_pace_of_a_rollout_goes_back_with_a_second_patch() {
    let (before, change, applied) = paced();
    let mut fields = change.fields().to_vec();
    let half = patched(&applied, &three_way_patch(&applied, &change.id, &mut fields).unwrap());
    assert_eq!(args(&half), args(&before));
    assert_eq!(half["spec"]["strategy"], applied["spec"]["strategy"]);
    let left = loan(&half, &change.id, &incident()).unwrap();
    assert!(is_only_pace(&left) && is_half_returned(&left, &fields) && is_labelled(&half, &left));
    assert!(!is_half_returned(&loan(&applied, &change.id, &incident()).unwrap(), &fields));

    // A new template in between is its owner's, and no reason to cede anything.
    let mut newer = half.clone();
    newer["spec"]["containers"][0]["args"] = json!(["--max-num-seqs=512"]);
    for half in [half, newer] {
        let mut fields = change.fields().to_vec();
        let whole = patched(&half, &three_way_patch(&half, &change.id, &mut fields).unwrap());
        assert_eq!((&whole["spec"]["strategy"], args(&whole)), (&before["spec"]["strategy"], args(&half)));
        assert_eq!((record(&whole), label_of(&whole)), (Ok(None), None));
        assert!(fields.iter().all(|field| field.ceded_to.is_none()));
    }
}

#[test]
fn a_pace_without_a_template_goes_back_at_once() {
    let (before, change, applied) = paced();
    // Someone else has another template.
    let mut theirs = applied.clone();
    theirs["spec"]["containers"][0]["args"] = json!(["--max-num-seqs=64"]);
    let mut fields = change.fields().to_vec();
    let returned = patched(&theirs, &three_way_patch(&theirs, &change.id, &mut fields).unwrap());
    assert_eq!(returned["spec"]["strategy"], before["spec"]["strategy"]);
    assert_eq!(record(&returned), Ok(None));
    // Someone else has another pace: the pair is theirs.
    let mut theirs = applied.clone();
    theirs["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = json!("2");
    let mut fields = change.fields().to_vec();
    let returned = patched(&theirs, &three_way_patch(&theirs, &change.id, &mut fields).unwrap());
    assert_eq!((args(&returned), record(&returned)), (args(&before), Ok(None)));
    assert_eq!(
        returned["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": "2", "maxUnavailable": "1"})
    );
}

#[test]
fn flux_stays_paused_until_the_pace_is_back() {
    let (mut before, _, _) = paced();
    before["metadata"]["annotations"] = json!({"team": "serving"});
    let pause = "/metadata/annotations/kustomize.toolkit.fluxcd.io~1reconcile";
    let change = change(&[(SEQS, Some("256"), "16"), (SURGE, Some("1"), "0"), (pause, None, "disabled")]);
    let applied = patched(&before, &apply_patch(&before, &change, &incident(), &[]).unwrap());
    let is_paused = |object: &Value| annotation(object, "kustomize.toolkit.fluxcd.io/reconcile").is_some();
    let mut fields = change.fields().to_vec();
    let half = patched(&applied, &three_way_patch(&applied, &change.id, &mut fields).unwrap());
    assert!(is_paused(&half) && args(&half) == args(&before));
    let whole = patched(&half, &three_way_patch(&half, &change.id, &mut fields).unwrap());
    assert_eq!(whole["spec"], before["spec"]);
    assert!(!is_paused(&whole) && record(&whole) == Ok(None));
}

#[test]
fn a_refusal_cedes_only_what_was_sent() {
    let (_, mut change, _) = paced();
    let ceded = |change: &Change| -> Vec<String> {
        let fields = change.fields().iter().filter(|field| field.ceded_to.is_some());
        fields.map(|field| field.path.to_string()).collect()
    };
    let mut first = change.clone();
    crate::decide::cede_refused(&mut first, "no", &[]);
    assert_eq!(ceded(&first), [SEQS]);
    change.template_is_back("2026-01-01T00:00:00Z".parse().unwrap());
    crate::decide::cede_refused(&mut change, "no", &[]);
    assert_eq!(ceded(&change), [SURGE, UNAVAILABLE]);
}
