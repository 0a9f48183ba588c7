use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::facts::{Absent, Demand, Obstacle, Purpose, Revision, Role, ScaledBy, Slot, Slots};
use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::placement::Nodes;
use crate::pods::Pods;
use crate::policy::PolicySpec;
use crate::rules::Rules;
use crate::verdict::Verdict;

const REPLICAS: &str = "/spec/replicas";
const LIMIT: &str = "/spec/maxReplicas";
const BATCH: &str = "/spec/serving/batchSize";
const CONCURRENCY: &str = "/spec/serving/maxConcurrency";
const FLAG: &str = "/spec/containers/[name=vllm]/args/[flag=--max-num-seqs]";
const SCHEDULERS: [&str; 2] = ["/spec/scheduling/scheduler", "/spec/schedulerName"];

/// The action of a policy, as it is written there without its targets.
fn action(name: &str, fields: Value) -> Action {
    let mut fields = fields;
    fields["targets"] = json!({"apiVersion": "v1", "kind": "Model", "namespaces": {"all": true}});
    let spec: PolicySpec =
        serde_json::from_value(json!({"steps": [{"name": "step", "action": {name: fields}}]})).unwrap();
    Rules::parse(&spec).unwrap().steps.remove(0).action
}

/// An object in which these fields can be changed.
fn target(object: Value, fields: &[(Role, &str)]) -> Target {
    let slot = |(role, path): &(Role, &str)| Slot {
        role: role.clone(),
        path: path.parse().unwrap(),
        out_of_bounds: None,
        absent: Some(Absent::Unlimited),
    };
    Target {
        id: TargetId {
            api_version: "v1".into(),
            kind: "Model".into(),
            namespace: "serving".into(),
            name: "llama".into(),
            uid: "u".into(),
        },
        version: ResourceVersion::try_from("1".to_owned()).unwrap(),
        object: Arc::new(object),
        matched: Verdict::True,
        match_problem: None,
        purpose: Purpose::Change,
        exempt: false,
        owned_by: None,
        resolved_from: Vec::new(),
        stage: Stage::Targets,
        idle: None,
        rollout_paused: None,
        slots: Slots { fields: fields.iter().map(slot).collect(), ..Slots::default() },
        rollout: (Verdict::True, String::new()),
        healthy: Verdict::True,
        unhealthy_since: None,
        demand: Demand::None,
        scaled_by: ScaledBy::Nobody,
        revision: Revision::NotAsked,
        nodes: Nodes::NotAsked,
        pods: Pods::Free,
    }
}

/// The fields that change, as `path: before → after`.
fn changed(plan: Plan) -> Vec<String> {
    let Plan::Change(fields) = plan else { panic!("{plan:?}") };
    let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
    let line =
        |field: &FieldChange| format!("{}: {} → {}", field.path, text(&field.before), text(&field.after));
    fields.iter().map(line).collect()
}

fn reason(plan: Plan) -> String {
    match plan {
        Plan::Refused { reason, .. } => reason.to_string(),
        Plan::NothingToDo(_) => "nothing to do".to_owned(),
        Plan::Change(_) => "a change".to_owned(),
        Plan::Operate(_) => "an operation".to_owned(),
    }
}

/// The entry of the object in the journal after these fields were applied.
fn journal(target: &Target, fields: Vec<FieldChange>) -> Change {
    let mut change =
        Change::planned(ChangeId::of("incident", "step", &target.id.uid), "step", target.id.clone(), fields);
    change.fix_ceiling();
    change
}

fn scaler(limit: Value) -> Target {
    target(json!({"spec": {"maxReplicas": limit}}), &[(Role::AutoscalerLimit, LIMIT)])
}

fn raise(factor: i64, ceiling: i64) -> Action {
    action("raiseAutoscalerLimit", json!({"factor": factor, "ceiling": ceiling}))
}

#[test]
fn a_limit_is_multiplied_up_to_the_ceiling_and_never_lowered() {
    let table = [(4, 2, 20, 8), (4, 3, 20, 12), (8, 3, 20, 20), (19, 2, 20, 20)];
    for (before, factor, ceiling, after) in table {
        let plan = raise(factor, ceiling).plan(&scaler(json!(before)), None);
        assert_eq!(changed(plan), [format!("{LIMIT}: {before} → {after}")]);
    }
    for (before, ceiling) in [(20, 20), (50, 20)] {
        assert_eq!(reason(raise(2, ceiling).plan(&scaler(json!(before)), None)), "nothing to do");
    }
    for no_limit in [json!(null), json!(0), json!(-1)] {
        assert_eq!(reason(raise(2, 20).plan(&scaler(no_limit), None)), "nothing to do");
    }
    assert_eq!(reason(raise(2, 20).plan(&scaler(json!("many")), None)), "NotANumber");
    assert_eq!(changed(raise(2, 20).plan(&scaler(json!("4")), None)), [format!("{LIMIT}: \"4\" → \"8\"")]);
}

#[test]
fn the_first_ceiling_binds_however_often_a_limit_is_raised_again() {
    let target = scaler(json!(4));
    let Plan::Change(fields) = raise(2, 20).plan(&target, None) else { panic!("no change") };
    let known = journal(&target, fields);
    assert_eq!(known.loan().and_then(|loan| loan.ceiling), Some(8));
    // Someone raised it in the meantime, or it is applied again after it was reverted.
    assert_eq!(reason(raise(2, 20).plan(&scaler(json!(8)), Some(&known))), "nothing to do");
    assert_eq!(changed(raise(2, 20).plan(&scaler(json!(6)), Some(&known))), [format!("{LIMIT}: 6 → 8")]);
    assert_eq!(changed(raise(10, 90).plan(&scaler(json!(4)), Some(&known))), [format!("{LIMIT}: 4 → 8")]);
}

fn scheduled(names: [&str; 2]) -> Target {
    let object = json!({"spec": {"scheduling": {"scheduler": names[0]}, "schedulerName": names[1]}});
    target(object, &SCHEDULERS.map(|path| (Role::Scheduler, path)))
}

#[test]
fn only_what_uses_the_broken_scheduler_is_moved() {
    let fallback = action("schedulerFallback", json!({"from": "ml-scheduler"}));
    let both = changed(fallback.plan(&scheduled(["ml-scheduler", "ml-scheduler"]), None));
    assert_eq!(both, SCHEDULERS.map(|path| format!("{path}: \"ml-scheduler\" → \"default-scheduler\"")));
    let one = changed(fallback.plan(&scheduled(["volcano", "ml-scheduler"]), None));
    assert_eq!(one, [format!("{}: \"ml-scheduler\" → \"default-scheduler\"", SCHEDULERS[1])]);
    for other in [["volcano", "volcano"], ["default-scheduler", ""]] {
        assert_eq!(reason(fallback.plan(&scheduled(other), None)), "nothing to do");
    }
    let none = target(json!({"spec": {}}), &SCHEDULERS.map(|path| (Role::Scheduler, path)));
    assert_eq!(reason(fallback.plan(&none, None)), "nothing to do");
    let default =
        action("schedulerFallback", json!({"from": "default-scheduler", "schedulerName": "volcano"}));
    for absent in
        [json!({"spec": {}}), json!({"spec": {"schedulerName": null, "scheduling": {"scheduler": null}}})]
    {
        let absent = target(absent, &SCHEDULERS.map(|path| (Role::Scheduler, path)));
        assert_eq!(
            changed(default.plan(&absent, None)),
            SCHEDULERS.map(|path| format!("{path}: - → \"volcano\""))
        );
    }
    let empty = changed(default.plan(&scheduled(["volcano", ""]), None));
    assert_eq!(empty, [format!("{}: \"\" → \"volcano\"", SCHEDULERS[1])]);
    let odd = target(json!({"spec": {"schedulerName": 3}}), &[(Role::Scheduler, SCHEDULERS[1])]);
    assert_eq!(reason(default.plan(&odd, None)), "nothing to do");
    let named = action("schedulerFallback", json!({"from": "ml-scheduler", "schedulerName": "volcano"}));
    assert!(changed(named.plan(&scheduled(["ml-scheduler", ""]), None))[0].ends_with("\"volcano\""));
}

#[test]
fn what_requests_other_devices_is_not_said_to_request_none() {
    let why = |other_devices: Vec<String>| {
        let mut target = target(json!({"spec": {}}), &[]);
        target.slots.other_devices = other_devices;
        match action("cpuFallback", json!({})).plan(&target, None) {
            Plan::NothingToDo(why) => why,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(why(Vec::new()), "it requests no accelerator");
    let devices = vec!["a.io/x of container main".to_owned(), "b.io/y of container main".to_owned()];
    assert_eq!(
        why(devices),
        "it requests no accelerator that Firebreak knows, but a.io/x of container main, b.io/y of container main; if that \
         is one, change it by hand"
    );
}

fn model(batch_size: Value, concurrency: Value) -> Target {
    let object = json!({"spec": {"serving": {"batchSize": batch_size, "maxConcurrency": concurrency}}});
    target(object, &[(Role::BatchSize, BATCH), (Role::MaxConcurrency, CONCURRENCY)])
}

fn reduce(fields: Value) -> Action {
    action("reduceBatch", fields)
}

#[test]
fn a_batch_goes_down_to_the_given_number_and_a_lower_one_stays() {
    let to = |batch: i64| reduce(json!({"batchSize": batch}));
    assert_eq!(changed(to(16).plan(&model(json!(32), json!(9)), None)), [format!("{BATCH}: 32 → 16")]);
    assert_eq!(
        changed(to(16).plan(&model(json!("32"), json!(9)), None)),
        [format!("{BATCH}: \"32\" → \"16\"")]
    );
    for lower in [16, 8, 1] {
        assert_eq!(reason(to(16).plan(&model(json!(lower), json!(9)), None)), "nothing to do");
    }
    let both = reduce(json!({"batchSize": 16, "maxConcurrency": 4}));
    assert_eq!(
        changed(both.plan(&model(json!(8), json!(100)), None)),
        [format!("{CONCURRENCY}: 100 → 4")],
        "each for itself"
    );
    // Without a value, or with a value that means no limit, it works on as many requests as arrive.
    assert_eq!(changed(to(16).plan(&model(json!(null), json!(null)), None)), [format!("{BATCH}: - → 16")]);
    assert_eq!(changed(to(16).plan(&model(json!(0), json!(null)), None)), [format!("{BATCH}: 0 → 16")]);
    assert_eq!(reason(to(16).plan(&model(json!("x"), json!(null)), None)), "NotANumber");
}

#[test]
fn a_batch_whose_default_may_be_lower_is_not_enlarged() {
    let planned = |absent: Option<Absent>, fields: Value| {
        let mut model = model(json!(null), json!(null));
        model.slots.fields[0].absent = absent;
        reduce(fields).plan(&model, None)
    };
    let to = |absent: Option<Absent>, batch: i64| planned(absent, json!({"batchSize": batch}));
    let set = |batch: i64| [format!("{BATCH}: - → {batch}")];
    for batch in [1, 128] {
        assert_eq!(changed(to(Some(Absent::AtLeast(128)), batch)), set(batch));
    }
    assert_eq!(reason(to(Some(Absent::AtLeast(128)), 129)), "NotApplicable");
    assert_eq!(changed(to(Some(Absent::Is(32)), 31)), set(31));
    assert_eq!(reason(to(Some(Absent::Is(32)), 32)), "nothing to do");
    assert_eq!(reason(to(Some(Absent::Is(32)), 64)), "nothing to do");
    assert_eq!(changed(to(None, 1)), set(1));
    let Plan::Refused { message, .. } = to(None, 8) else { panic!("8 may be more than the default") };
    assert!(message.contains("at least 1,") && message.contains("set a number"), "{message}");
    assert_eq!(changed(planned(Some(Absent::Is(32)), json!({"percent": 50}))), set(16));
    assert_eq!(reason(planned(Some(Absent::AtLeast(128)), json!({"percent": 50}))), "NoValue");
    let beside = json!({"batchSize": 8, "maxConcurrency": 4});
    assert_eq!(changed(planned(None, beside)), [format!("{CONCURRENCY}: - → 4")]);
}

#[test]
fn hundredths_are_taken_once_however_often_the_step_is_planned() {
    let half = reduce(json!({"percent": 50}));
    let first = half.plan(&model(json!(33), json!(100)), None);
    assert_eq!(changed(first.clone()), [format!("{BATCH}: 33 → 16"), format!("{CONCURRENCY}: 100 → 50")]);
    let Plan::Change(fields) = first else { unreachable!() };
    let known = journal(&model(json!(33), json!(100)), fields);
    assert_eq!(reason(half.plan(&model(json!(16), json!(50)), Some(&known))), "nothing to do");
    let again = half.plan(&model(json!(33), json!(60)), Some(&known));
    assert_eq!(changed(again), [format!("{BATCH}: 33 → 16"), format!("{CONCURRENCY}: 60 → 50")]);
    assert_eq!(
        changed(reduce(json!({"percent": 1})).plan(&model(json!(5), json!(1)), None)),
        [format!("{BATCH}: 5 → 1")]
    );
}

#[test]
fn hundredths_of_nothing_are_refused_unless_the_other_value_is_there() {
    let half = reduce(json!({"percent": 50}));
    assert_eq!(reason(half.plan(&model(json!(null), json!(null)), None)), "NoValue");
    assert_eq!(changed(half.plan(&model(json!(null), json!(10)), None)), [format!("{CONCURRENCY}: 10 → 5")]);
}

fn server(args: Value) -> Target {
    let object = json!({"spec": {"containers": [{"name": "vllm", "args": args}]}});
    target(object, &[(Role::BatchSize, FLAG)])
}

#[test]
fn a_batch_size_in_a_flag_is_a_text_also_where_it_is_new() {
    let to = reduce(json!({"batchSize": 16}));
    for args in [json!(["--max-num-seqs=256"]), json!(["--max-num-seqs", "256"])] {
        assert_eq!(changed(to.plan(&server(args), None)), [format!("{FLAG}: \"256\" → \"16\"")]);
    }
    let new = to.plan(&server(json!(["serve", "m"])), None);
    assert_eq!(changed(new.clone()), [format!("{FLAG}: - → \"16\"")]);
    let Plan::Change(fields) = new else { unreachable!() };
    assert_eq!(fields[0].created, None);
    assert_eq!(reason(to.plan(&server(json!(["--max-num-seqs=8"])), None)), "nothing to do");
    assert_eq!(reason(to.plan(&server(json!(["--max-num-seqs=$(SEQS)"])), None)), "NotANumber");
    let half = reduce(json!({"percent": 50}));
    assert_eq!(
        changed(half.plan(&server(json!(["--max-num-seqs=9"])), None)),
        [format!("{FLAG}: \"9\" → \"4\"")]
    );
}

fn scaled(replicas: Value) -> Target {
    target(json!({"spec": {"replicas": replicas}}), &[(Role::Replicas, REPLICAS)])
}

#[test]
fn replicas_are_set_unless_an_autoscaler_sets_them() {
    let five = action("scale", json!({"replicas": 5}));
    assert_eq!(changed(five.plan(&scaled(json!(2)), None)), [format!("{REPLICAS}: 2 → 5")]);
    assert_eq!(changed(five.plan(&scaled(json!(9)), None)), [format!("{REPLICAS}: 9 → 5")]);
    assert_eq!(changed(five.plan(&scaled(json!(null)), None)), [format!("{REPLICAS}: - → 5")]);
    assert_eq!(reason(five.plan(&scaled(json!(5)), None)), "nothing to do");
    let by = |scaled_by| Target { scaled_by, ..scaled(json!(2)) };
    let autoscaler = by(ScaledBy::Autoscaler("HorizontalPodAutoscaler/x".into()));
    assert_eq!(reason(five.plan(&autoscaler, None)), "OwnedByAutoscaler");
    assert_eq!(reason(five.plan(&by(ScaledBy::Runner("Rollout/x".into())), None)), "OwnedByAutoscaler");
    assert_eq!(reason(five.plan(&by(ScaledBy::Unknown("403".into())), None)), "AutoscalerUnknown");
}

#[test]
fn a_retired_scheduler_is_scaled_to_nothing() {
    let fallback = action("schedulerFallback", json!({"from": "ml-scheduler"}));
    let retired = Target { stage: Stage::Before(0), ..scaled(json!(2)) };
    assert_eq!(changed(fallback.plan(&retired, None)), [format!("{REPLICAS}: 2 → 0")]);
}

#[test]
fn where_metadata_reaches_the_pods_only_what_restarts_them_anyway_is_done() {
    let propagating = |mut target: Target| {
        target.slots.metadata_propagates = true;
        target
    };
    let allow = |name: &str, mut fields: Value| {
        fields["allowRestart"] = json!(true);
        action(name, fields)
    };
    let limited = propagating(scaler(json!(4)));
    assert_eq!(reason(raise(2, 20).plan(&limited, None)), "RestartsPods");
    let allowed = allow("raiseAutoscalerLimit", json!({"ceiling": 20}));
    assert_eq!(reason(allowed.plan(&limited, None)), "a change");
    let counted = propagating(scaled(json!(4)));
    assert_eq!(reason(action("scale", json!({"replicas": 5})).plan(&counted, None)), "RestartsPods");
    assert_eq!(reason(allow("scale", json!({"replicas": 5})).plan(&counted, None)), "a change");
    let batch = propagating(model(json!(32), json!(9)));
    assert_eq!(reason(reduce(json!({"batchSize": 16})).plan(&batch, None)), "a change");
    let moved = propagating(scheduled(["ml-scheduler", ""]));
    assert_eq!(
        reason(action("schedulerFallback", json!({"from": "ml-scheduler"})).plan(&moved, None)),
        "a change"
    );
}

#[test]
fn an_action_that_does_not_apply_says_what_the_kind_lacks() {
    let every = [
        (Role::AutoscalerLimit, raise(2, 20)),
        (Role::Scheduler, action("schedulerFallback", json!({"from": "x"}))),
        (Role::BatchSize, reduce(json!({"batchSize": 16}))),
        (Role::BatchSize, reduce(json!({"percent": 16}))),
        (Role::MaxConcurrency, reduce(json!({"maxConcurrency": 16}))),
        (Role::Replicas, action("scale", json!({"replicas": 1}))),
        (Role::Accelerator, action("cpuFallback", json!({}))),
    ];
    for (role, action) in every {
        let mut target = target(json!({}), &[]);
        target.slots.obstacles = vec![Obstacle { role, why: "a Model has none".into() }];
        let Plan::Refused { reason, message } = action.plan(&target, None) else { panic!("{action:?}") };
        assert_eq!(reason, Reason::NotApplicable);
        assert!(message.contains("a Model has none"), "{message}");
    }
    // A percentage applies to whichever fields the kind has.
    let mut half = model(json!(32), json!(9));
    half.slots.fields.retain(|slot| slot.role == Role::BatchSize);
    half.slots.obstacles = vec![Obstacle { role: Role::MaxConcurrency, why: "none".into() }];
    assert_eq!(changed(reduce(json!({"percent": 50})).plan(&half, None)), [format!("{BATCH}: 32 → 16")]);
}

#[test]
fn a_value_out_of_bounds_is_not_lent() {
    let mut target = scaler(json!(4));
    target.slots.fields[0].out_of_bounds = Some("is 4 and not from 5 to 6".into());
    let Plan::Refused { reason, message } = raise(2, 20).plan(&target, None) else { panic!("not refused") };
    assert_eq!(reason, Reason::OutOfBounds);
    assert!(message.contains("from 5 to 6") && message.contains(LIMIT), "{message}");
}
