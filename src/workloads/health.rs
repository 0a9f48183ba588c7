//! Whether one object is healthy, as its kind's profile says.

use firebreak_engine::verdict::Verdict;
use jiff::Timestamp;
use serde_json::Value;

use super::profile::Profile;

/// Whether the object is healthy; if that is Unknown, why.
pub fn healthy(profile: &Profile, object: &Value) -> (Verdict, Option<String>) {
    let evaluation = profile.healthy.evaluate(object, None);
    (evaluation.verdict, evaluation.why)
}

/// Since when the condition that its profile names is not True; none if it is, or the object does not show it.
pub fn unhealthy_since(profile: Option<&Profile>, object: &Value) -> Option<Timestamp> {
    let named = profile?.health_condition.as_deref()?;
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == named)?;
    let since = condition["lastTransitionTime"].as_str().filter(|_| condition["status"] != "True")?;
    since.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::Profiles;
    use super::*;
    use serde_json::json;

    fn of(api_version: &str, kind: &str, object: &Value) -> Verdict {
        let profiles = Profiles::built_in().unwrap();
        healthy(profiles.find(api_version, kind).unwrap(), object).0
    }

    fn deployment(object: Value) -> Verdict {
        of("apps/v1", "Deployment", &object)
    }

    fn model(object: Value) -> Verdict {
        of("inference.llm-d.io/v1alpha1", "LLMDeployment", &object)
    }

    #[test]
    fn a_model_is_healthy_in_phase_ready_only() {
        assert_eq!(model(json!({"status": {"phase": "Ready"}})), Verdict::True);
        for object in [
            json!({}),
            json!({"status": {}}),
            json!({"status": {"phase": "Failed"}}),
            json!({"status": {"phase": 3}}),
        ] {
            assert_eq!(model(object.clone()), Verdict::False, "{object}");
        }
    }

    #[test]
    fn a_status_of_another_shape_is_unknown_with_a_reason() {
        let profiles = Profiles::built_in().unwrap();
        let profile = profiles.find("inference.llm-d.io/v1alpha1", "LLMDeployment").unwrap();
        let (verdict, why) = healthy(profile, &json!({"status": "Ready"}));
        assert_eq!(verdict, Verdict::Unknown);
        assert!(why.is_some());
    }

    #[test]
    fn a_deployment_is_healthy_when_kubernetes_calls_it_available() {
        let status = |available: i64, condition: &str| {
            json!({"availableReplicas": available, "conditions": [{"type": "Progressing", "status": "True"},
                   {"type": "Available", "status": condition}]})
        };
        assert_eq!(deployment(json!({"spec": {"replicas": 2}, "status": status(2, "True")})), Verdict::True);
        assert_eq!(deployment(json!({"spec": {}, "status": status(1, "True")})), Verdict::True);
        assert_eq!(deployment(json!({"spec": {"replicas": 4}, "status": status(3, "True")})), Verdict::True);
        assert_eq!(
            deployment(json!({"spec": {"replicas": 2}, "status": status(2, "False")})),
            Verdict::False
        );
        assert_eq!(deployment(json!({"spec": {"replicas": 2}})), Verdict::False);
    }

    #[test]
    fn what_wants_replicas_and_has_none_is_not_healthy() {
        // maxUnavailable 1 of one replica: Kubernetes calls it Available with none.
        let available =
            json!([{"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]);
        for replicas in [json!(1), json!(4), Value::Null] {
            for ready in [json!({"availableReplicas": 0}), json!({})] {
                let mut status = ready.clone();
                status["conditions"] = available.clone();
                let object = json!({"spec": {"replicas": replicas}, "status": status});
                assert_eq!(deployment(object), Verdict::False, "{replicas} {ready}");
            }
        }
        let ready = |replicas: i64, ready: Value| json!({"spec": {"replicas": replicas}, "status": {"phase": "Ready", "readyReplicas": ready}});
        assert_eq!(model(ready(1, json!(0))), Verdict::False);
        assert_eq!(model(ready(0, json!(0))), Verdict::True);
        assert_eq!(model(ready(2, json!(1))), Verdict::True);
        assert_eq!(model(ready(2, Value::Null)), Verdict::True, "its operator does not report the number");
    }

    #[test]
    fn a_model_that_its_operator_scales_may_want_none() {
        let scaled = |replicas: Value, phase: &str| {
            model(json!({"spec": {"replicas": replicas, "autoscaling": {"minReplicas": 0, "maxReplicas": 4}},
                         "status": {"phase": phase, "readyReplicas": 0}}))
        };
        for replicas in [json!(1), json!(0), Value::Null] {
            assert_eq!(scaled(replicas.clone(), "Ready"), Verdict::True, "{replicas}");
            assert_eq!(scaled(replicas.clone(), "Degraded"), Verdict::False, "{replicas}");
        }
    }

    #[test]
    fn a_deployment_scaled_to_nothing_is_healthy() {
        let conditions = json!([{"type": "Available", "status": "True"}]);
        let object = json!({"spec": {"replicas": 0}, "status": {"conditions": conditions}});
        assert_eq!(deployment(object), Verdict::True);
    }
    #[test]
    fn a_stateful_set_is_healthy_with_three_quarters_of_its_replicas() {
        let set = |replicas: Value, available: Value| {
            let object = json!({"spec": {"replicas": replicas}, "status": {"availableReplicas": available}});
            of("apps/v1", "StatefulSet", &object)
        };
        for (replicas, available) in [(1, 1), (2, 2), (4, 3), (8, 6), (0, 0), (2, 3)] {
            assert_eq!(set(json!(replicas), json!(available)), Verdict::True, "{replicas} {available}");
        }
        for (replicas, available) in [(1, 0), (2, 1), (3, 2), (4, 2), (8, 5)] {
            assert_eq!(set(json!(replicas), json!(available)), Verdict::False, "{replicas} {available}");
        }
        let bare = |object: Value| of("apps/v1", "StatefulSet", &object);
        assert_eq!(bare(json!({"spec": {}, "status": {"availableReplicas": 1}})), Verdict::True);
        assert_eq!(bare(json!({"spec": {}, "status": {"replicas": 1}})), Verdict::False);
        assert_eq!(bare(json!({"spec": {}})), Verdict::False);
        assert_eq!(set(json!("two"), json!(2)), Verdict::Unknown);
    }

    #[test]
    fn a_daemon_set_is_healthy_with_three_quarters_of_its_pods() {
        let set = |status: Value| of("apps/v1", "DaemonSet", &json!({"status": status}));
        let pods = |desired: i64, available: i64| {
            set(json!({"desiredNumberScheduled": desired, "numberAvailable": available}))
        };
        for (desired, available) in [(1, 1), (4, 3), (8, 6), (0, 0)] {
            assert_eq!(pods(desired, available), Verdict::True, "{desired} {available}");
        }
        for (desired, available) in [(1, 0), (4, 2), (8, 5)] {
            assert_eq!(pods(desired, available), Verdict::False, "{desired} {available}");
        }
        assert_eq!(set(json!({"desiredNumberScheduled": 1})), Verdict::False, "a 0 is omitted");
        assert_eq!(of("apps/v1", "DaemonSet", &json!({})), Verdict::False, "its controller has not seen it");
        assert_eq!(set(json!({"desiredNumberScheduled": "all"})), Verdict::Unknown);
    }

    #[test]
    fn a_node_is_healthy_while_its_kubelet_reports_that_it_is_ready() {
        let node = |conditions: Value| of("v1", "Node", &json!({"status": {"conditions": conditions}}));
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status});
        let pressure = condition("MemoryPressure", "True");
        assert_eq!(node(json!([pressure, condition("Ready", "True")])), Verdict::True);
        for silent in ["Unknown", "False"] {
            assert_eq!(node(json!([condition("Ready", silent)])), Verdict::False, "{silent}");
        }
        assert_eq!(node(json!([pressure])), Verdict::False, "it has not reported yet");
        assert_eq!(of("v1", "Node", &json!({})), Verdict::False);
        let cordoned =
            json!({"spec": {"unschedulable": true}, "status": {"conditions": [condition("Ready", "True")]}});
        assert_eq!(of("v1", "Node", &cordoned), Verdict::True, "a cordon is a decision, not a fault");
        assert_eq!(node(json!("none")), Verdict::Unknown);
    }

    #[test]
    fn an_autoscaler_is_healthy_unless_it_cannot_scale_or_measure() {
        let scaler = |conditions: Value| {
            of("autoscaling/v2", "HorizontalPodAutoscaler", &json!({"status": {"conditions": conditions}}))
        };
        let condition = |type_: &str, status: &str, reason: &str| json!({"type": type_, "status": status, "reason": reason});
        let able = condition("AbleToScale", "True", "ReadyForNewScale");
        let limited = condition("ScalingLimited", "True", "TooManyReplicas");
        assert_eq!(
            scaler(json!([able, limited, condition("ScalingActive", "True", "ValidMetricFound")])),
            Verdict::True
        );
        assert_eq!(
            scaler(json!([able, condition("ScalingActive", "False", "FailedGetResourceMetric")])),
            Verdict::False
        );
        assert_eq!(scaler(json!([condition("AbleToScale", "False", "FailedGetScale")])), Verdict::False);
        assert_eq!(
            scaler(json!([able, condition("ScalingActive", "False", "ScalingDisabled")])),
            Verdict::True
        );
        assert_eq!(scaler(json!([able, condition("ScalingLimited", "False", "")])), Verdict::True);
        let new = of("autoscaling/v2", "HorizontalPodAutoscaler", &json!({"spec": {"maxReplicas": 3}}));
        assert_eq!(new, Verdict::True);
        assert_eq!(scaler(json!("none")), Verdict::Unknown);
    }

    #[test]
    fn a_scaled_object_is_healthy_when_ready_and_not_guessing() {
        let scaled = |conditions: Value| {
            of("keda.sh/v1alpha1", "ScaledObject", &json!({"status": {"conditions": conditions}}))
        };
        let ready = json!({"type": "Ready", "status": "True"});
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status});
        assert_eq!(
            scaled(json!([ready, condition("Active", "False"), condition("Fallback", "False")])),
            Verdict::True
        );
        assert_eq!(scaled(json!([ready, condition("Fallback", "Unknown")])), Verdict::True);
        assert_eq!(scaled(json!([ready, condition("Fallback", "True")])), Verdict::False);
        assert_eq!(scaled(json!([condition("Ready", "Unknown")])), Verdict::False);
        assert_eq!(scaled(json!([])), Verdict::False);
        assert_eq!(of("keda.sh/v1alpha1", "ScaledObject", &json!({})), Verdict::False);
    }

    #[test]
    fn a_service_is_healthy_when_ready_at_its_generation_and_its_model_is_loaded() {
        let service = |status: Value| {
            let object = json!({"metadata": {"generation": 3}, "status": status});
            of("serving.kserve.io/v1beta1", "InferenceService", &object)
        };
        let ready =
            json!([{"type": "PredictorReady", "status": "True"}, {"type": "Ready", "status": "True"}]);
        let loaded =
            |state: &str| json!({"states": {"activeModelState": state, "targetModelState": "Loaded"}});
        assert_eq!(service(json!({"conditions": ready})), Verdict::True);
        assert_eq!(service(json!({"conditions": ready, "observedGeneration": 3})), Verdict::True);
        assert_eq!(service(json!({"conditions": ready, "observedGeneration": 2})), Verdict::False);
        assert_eq!(service(json!({"conditions": ready, "modelStatus": loaded("Loaded")})), Verdict::True);
        assert_eq!(
            service(json!({"conditions": ready, "modelStatus": {"transitionStatus": "InProgress"}})),
            Verdict::True
        );
        assert_eq!(
            service(json!({"conditions": ready, "modelStatus": loaded("FailedToLoad")})),
            Verdict::False
        );
        assert_eq!(service(json!({"conditions": [{"type": "Ready", "status": "False"}]})), Verdict::False);
        assert_eq!(service(json!({"conditions": []})), Verdict::False);
        assert_eq!(service(json!({})), Verdict::False);
        assert_eq!(service(json!({"conditions": ready, "observedGeneration": "3"})), Verdict::Unknown);
    }

    #[test]
    fn the_condition_that_says_why_also_says_since_when() {
        let profiles = Profiles::built_in().unwrap();
        let since = |(api_version, kind), conditions: Value| {
            let object = json!({"status": {"conditions": conditions}});
            unhealthy_since(profiles.find(api_version, kind).map(AsRef::as_ref), &object)
                .map(|since| since.to_string())
        };
        let at = "2026-03-01T10:00:00Z";
        let condition =
            |type_: &str, status: &str| json!([{"type": type_, "status": status, "lastTransitionTime": at}]);
        let kinds = [
            (("apps/v1", "Deployment"), "Available"),
            (("serving.kserve.io/v1beta1", "InferenceService"), "Ready"),
        ];
        for (kind, type_) in kinds {
            for status in ["False", "Unknown"] {
                assert_eq!(since(kind, condition(type_, status)).as_deref(), Some(at), "{kind:?} {status}");
            }
            assert_eq!(since(kind, condition(type_, "True")), None, "{kind:?}");
            assert_eq!(since(kind, condition("Progressing", "False")), None, "{kind:?}");
            assert_eq!(since(kind, json!([{"type": type_, "status": "False"}])), None, "{kind:?}");
            assert_eq!(since(kind, json!(null)), None, "{kind:?}");
        }
        assert_eq!(since(("apps/v1", "StatefulSet"), condition("Available", "False")), None);
    }
}
