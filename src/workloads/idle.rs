//! Whether one object is stopped, parked or being deleted on purpose, and whether its pods keep their template.

use serde_json::Value;

use super::profile::{Case, Profile};

/// Why the object is neither healthy nor unhealthy, for people; none if it is one of them. An object of any kind can be
/// deleted; how it is stopped or parked says the profile of its kind.
pub fn idle(profile: Option<&Profile>, object: &Value) -> Option<String> {
    if is_being_deleted(object) {
        return Some("it is being deleted".to_owned());
    }
    profile.and_then(|profile| Case::first(&profile.idle, object))
}

/// Whether the object is idle for no other reason than that it is being deleted: it will be missed.
pub fn is_lost(profile: Option<&Profile>, object: &Value) -> bool {
    is_being_deleted(object) && profile.is_none_or(|profile| Case::first(&profile.idle, object).is_none())
}

fn is_being_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null())
}

/// Why the pods of the object keep the template that they have, for people; none if a new one rolls out.
pub fn rollout_paused(profile: Option<&Profile>, object: &Value) -> Option<String> {
    profile.and_then(|profile| Case::first(&profile.rollout_paused, object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Profiles;
    use super::*;

    const DEPLOYMENT: (&str, &str) = ("apps/v1", "Deployment");
    const STATEFUL_SET: (&str, &str) = ("apps/v1", "StatefulSet");
    const MODEL: (&str, &str) = ("inference.llm-d.io/v1alpha1", "LLMDeployment");
    const SERVICE: (&str, &str) = ("serving.kserve.io/v1beta1", "InferenceService");
    const SCALED_OBJECT: (&str, &str) = ("keda.sh/v1alpha1", "ScaledObject");
    const NODE: (&str, &str) = ("v1", "Node");
    const DAEMON_SET: (&str, &str) = ("apps/v1", "DaemonSet");

    fn is_idle((api_version, kind): (&str, &str), object: &Value) -> bool {
        let profiles = Profiles::built_in().unwrap();
        idle(Some(profiles.find(api_version, kind).unwrap()), object).is_some()
    }

    fn why_paused((api_version, kind): (&str, &str), spec: &Value) -> Option<String> {
        let profiles = Profiles::built_in().unwrap();
        let metadata = json!({"name": "chat", "namespace": "serving"});
        let object = json!({"metadata": metadata, "spec": spec});
        rollout_paused(Some(profiles.find(api_version, kind).unwrap()), &object)
    }

    #[test]
    fn what_is_scaled_to_0_is_idle() {
        for kind in [DEPLOYMENT, STATEFUL_SET, MODEL] {
            assert!(is_idle(kind, &json!({"spec": {"replicas": 0}})), "{kind:?}");
            for replicas in [json!(1), json!(null), json!("none")] {
                assert!(!is_idle(kind, &json!({"spec": {"replicas": replicas}})), "{kind:?} {replicas}");
            }
            assert!(!is_idle(kind, &json!({})), "{kind:?}");
        }
        let scaled = json!({"spec": {"replicas": 0, "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}});
        assert!(!is_idle(MODEL, &scaled), "its operator sets the number");
        let other = Profile::of_scale("x.example.com/v1", "Gateway", ".spec.size", ".status.size").unwrap();
        assert!(idle(Some(&other), &json!({"spec": {"size": 0}})).is_some());
        assert!(idle(Some(&other), &json!({"spec": {}})).is_none());
    }

    #[test]
    fn a_daemon_set_that_no_node_matches_is_idle() {
        let set = |generation: i64, desired: i64| {
            json!({"metadata": {"generation": 2},
                   "status": {"observedGeneration": generation, "desiredNumberScheduled": desired}})
        };
        assert!(is_idle(DAEMON_SET, &set(2, 0)));
        assert!(!is_idle(DAEMON_SET, &set(2, 1)));
        assert!(!is_idle(DAEMON_SET, &set(1, 0)), "its controller has not seen the last change");
        assert!(!is_idle(DAEMON_SET, &json!({"metadata": {"generation": 1}, "status": {}})));
    }

    #[test]
    fn the_annotations_that_stop_and_pause_are_read_as_their_controllers_read_them() {
        let annotated = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
        let (stop, pause) = ("serving.kserve.io/stop", "autoscaling.keda.sh/paused");
        for value in ["true", "True", "TRUE"] {
            assert!(is_idle(SERVICE, &annotated(stop, value)), "{value}");
        }
        for value in ["false", "", "1"] {
            assert!(!is_idle(SERVICE, &annotated(stop, value)), "{value}");
        }
        // KEDA takes what is no Boolean for true.
        for value in ["true", "1", "yes", ""] {
            assert!(is_idle(SCALED_OBJECT, &annotated(pause, value)), "{value}");
        }
        for value in ["false", "False", "0", "f"] {
            assert!(!is_idle(SCALED_OBJECT, &annotated(pause, value)), "{value}");
        }
        assert!(is_idle(SCALED_OBJECT, &annotated("autoscaling.keda.sh/paused-replicas", "0")));
        for kind in [SERVICE, SCALED_OBJECT] {
            assert!(!is_idle(kind, &json!({"metadata": {"annotations": {"a": "b"}}})));
            assert!(!is_idle(kind, &json!({})));
        }
        assert!(!is_idle(DEPLOYMENT, &annotated(stop, "true")), "it means nothing there");
    }

    #[test]
    fn an_object_of_any_kind_is_idle_while_it_is_being_deleted() {
        let deleted = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        for kind in [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, MODEL, SERVICE, SCALED_OBJECT, NODE] {
            assert!(is_idle(kind, &deleted), "{kind:?}");
        }
        assert!(idle(None, &deleted).is_some());
        assert!(idle(None, &json!({"metadata": {"deletionTimestamp": null}})).is_none());
    }

    #[test]
    fn a_rollout_that_a_person_holds_names_what_to_do() {
        let why = why_paused(DEPLOYMENT, &json!({"paused": true})).unwrap();
        assert!(why.contains("`kubectl rollout resume deployment chat -n serving`"), "{why}");
        for spec in [json!({}), json!({"paused": false}), json!({"paused": null})] {
            assert_eq!(why_paused(DEPLOYMENT, &spec), None, "{spec}");
        }
        let set = |strategy: Value| {
            why_paused(STATEFUL_SET, &json!({"updateStrategy": strategy, "ordinals": {"start": 2}}))
        };
        assert!(set(json!({"type": "OnDelete"})).unwrap().contains("OnDelete"));
        let partition =
            |number: i64| json!({"type": "RollingUpdate", "rollingUpdate": {"partition": number}});
        assert!(set(partition(3)).unwrap().contains("partition"));
        for strategy in [partition(2), partition(0), json!({"type": "RollingUpdate"}), json!({})] {
            assert_eq!(set(strategy.clone()), None, "{strategy}");
        }
        let by_hand = json!({"updateStrategy": {"type": "OnDelete"}});
        assert!(why_paused(DAEMON_SET, &by_hand).unwrap().contains("kubectl patch daemonset"));
        assert_eq!(why_paused(DAEMON_SET, &json!({"updateStrategy": {"type": "RollingUpdate"}})), None);
        assert_eq!(why_paused(MODEL, &json!({"paused": true})), None);
    }

    #[test]
    fn a_canary_of_a_service_keeps_pods_only_where_there_are_revisions() {
        let why = |part: &str, percent: Value, annotation: Option<&str>, status: Option<&str>| {
            let mut object = json!({"metadata": {"name": "chat", "namespace": "serving", "annotations": {}},
                                    "spec": {"predictor": {}}, "status": {}});
            object["spec"][part] = json!({"canaryTrafficPercent": percent});
            if let Some(mode) = annotation {
                object["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = json!(mode);
            }
            if let Some(mode) = status {
                object["status"]["deploymentMode"] = json!(mode);
            }
            let profiles = Profiles::built_in().unwrap();
            rollout_paused(Some(profiles.find(SERVICE.0, SERVICE.1).unwrap()), &object)
        };
        for part in ["predictor", "transformer", "explainer"] {
            for percent in [0, 10, 99] {
                let why = why(part, json!(percent), None, None).unwrap();
                let patch = format!(r#"-p '{{"spec":{{"{part}":{{"canaryTrafficPercent":null}}}}}}'"#);
                assert!(why.contains(&patch) && why.contains("inferenceservice chat -n serving"), "{why}");
            }
            for percent in [json!(100), json!(null)] {
                assert_eq!(why(part, percent.clone(), None, None), None, "{part} {percent}");
            }
        }
        for (annotation, status, expected) in [
            (Some("Serverless"), None, true),
            (Some("Knative"), None, true),
            (Some("RawDeployment"), None, false),
            (Some("Standard"), None, false),
            (None, Some("Standard"), false),
            (Some("RawDeployment"), Some("Knative"), true),
        ] {
            let found = why("predictor", json!(10), annotation, status);
            assert_eq!(found.is_some(), expected, "{annotation:?} {status:?}");
        }
    }
}
