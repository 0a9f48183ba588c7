//! Whether one object has finished rolling out, as its kind's profile says.

use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::pods::refused;
use super::profile::Profile;

/// Whether the object has finished rolling out, and what it waits for if not.
pub fn rollout(profile: &Profile, object: &Value) -> (Verdict, String) {
    for stage in &profile.rollout {
        let evaluation = stage.done.evaluate(object, None);
        match evaluation.verdict {
            Verdict::True => {}
            Verdict::False => {
                return (Verdict::False, with_refusal(profile, object, stage.otherwise.about(object)));
            }
            Verdict::Unknown => {
                let why = evaluation.why.unwrap_or_else(|| "its status cannot be read".to_owned());
                return (Verdict::Unknown, why);
            }
        }
    }
    (Verdict::True, "rolled out".to_owned())
}

/// What the object waits for, and why its controller cannot create its pods.
fn with_refusal(profile: &Profile, object: &Value, waits_for: String) -> String {
    match refused(profile, object) {
        Some(why) => format!("{waits_for}; its pods are rejected: {why}"),
        None => waits_for,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Profiles;
    use super::*;
    use serde_json::json;

    fn of(api_version: &str, kind: &str, object: Value) -> (Verdict, String) {
        let profiles = Profiles::built_in().unwrap();
        rollout(profiles.find(api_version, kind).unwrap(), &object)
    }

    fn deployment(status: Value) -> (Verdict, String) {
        of(
            "apps/v1",
            "Deployment",
            json!({"metadata": {"generation": 4}, "spec": {"replicas": 2}, "status": status}),
        )
    }

    #[test]
    fn a_deployment_waits_for_each_stage_in_turn() {
        let table = [
            (json!({}), "not observed"),
            (
                json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                "not observed",
            ),
            (
                json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 1}),
                "not all new pods are created",
            ),
            (
                json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 2, "availableReplicas": 3}),
                "old pods",
            ),
            (
                json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1}),
                "available yet",
            ),
            (
                json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 1,
                       "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]}),
                "progress deadline",
            ),
        ];
        for (status, expected) in table {
            let (verdict, why) = deployment(status.clone());
            assert_eq!(verdict, Verdict::False, "{status}");
            assert!(why.contains(expected), "{why}");
        }
        let done = json!({"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2,
                          "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]});
        assert_eq!(deployment(done).0, Verdict::True);
    }

    #[test]
    fn a_model_has_rolled_out_when_ready_at_its_generation() {
        let model = |status: Value| {
            let object = json!({"metadata": {"generation": 7}, "status": status});
            of("inference.llm-d.io/v1alpha1", "LLMDeployment", object).0
        };
        assert_eq!(model(json!({"phase": "Ready"})), Verdict::True);
        assert_eq!(model(json!({"phase": "Ready", "observedGeneration": 7})), Verdict::True);
        assert_eq!(model(json!({"phase": "Ready", "observedGeneration": 6})), Verdict::False);
        assert_eq!(model(json!({"phase": "Pending", "observedGeneration": 7})), Verdict::False);
        assert_eq!(model(json!({})), Verdict::False);
        assert_eq!(model(json!({"phase": "Ready", "observedGeneration": "7"})), Verdict::Unknown);
    }
    #[test]
    fn a_daemon_set_waits_for_each_stage_in_turn() {
        let set = |status: Value| {
            of("apps/v1", "DaemonSet", json!({"metadata": {"generation": 4}, "spec": {}, "status": status}))
        };
        let status = |updated: i64, available: i64| {
            json!({"observedGeneration": 4, "desiredNumberScheduled": 3, "updatedNumberScheduled": updated,
                   "numberAvailable": available})
        };
        let table = [
            (json!({}), "not observed"),
            (json!({"observedGeneration": 3, "desiredNumberScheduled": 3}), "not observed"),
            (json!({"observedGeneration": 4, "desiredNumberScheduled": 3}), "have the change"),
            (status(2, 3), "have the change"),
            (status(3, 2), "available yet"),
        ];
        for (status, expected) in table {
            let (verdict, why) = set(status.clone());
            assert_eq!(verdict, Verdict::False, "{status}");
            assert!(why.contains(expected), "{status}: {why}");
        }
        assert_eq!(set(status(3, 3)).0, Verdict::True);
        assert_eq!(set(json!({"observedGeneration": 4})).0, Verdict::Unknown);
    }

    fn stateful_set(strategy: Value, status: Value) -> (Verdict, String) {
        let object = json!({
            "metadata": {"generation": 4}, "spec": {"replicas": 3, "updateStrategy": strategy}, "status": status,
        });
        of("apps/v1", "StatefulSet", object)
    }

    #[test]
    fn a_stateful_set_waits_for_each_stage_in_turn() {
        let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}});
        let status = |ready: i64, updated: i64, current: &str| {
            json!({"observedGeneration": 4, "readyReplicas": ready, "updatedReplicas": updated,
                   "updateRevision": "r2", "currentRevision": current})
        };
        let table = [
            (rolling.clone(), json!({}), "not observed"),
            (
                rolling.clone(),
                json!({"observedGeneration": 3, "readyReplicas": 3, "updatedReplicas": 3}),
                "not observed",
            ),
            (rolling.clone(), json!({"observedGeneration": 4}), "ready yet"),
            (rolling.clone(), status(2, 3, "r1"), "ready yet"),
            (rolling.clone(), status(3, 2, "r1"), "have the change"),
            (rolling.clone(), status(3, 3, "r1"), "current one"),
            (json!({"type": "RollingUpdate"}), status(3, 3, "r1"), "current one"),
            (
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
                status(3, 1, "r1"),
                "have the change",
            ),
            (json!({"type": "OnDelete"}), status(3, 2, "r1"), "OnDelete"),
            (json!({"type": "OnDelete"}), status(2, 3, "r1"), "ready yet"),
        ];
        for (strategy, status, expected) in table {
            let (verdict, why) = stateful_set(strategy, status.clone());
            assert_eq!(verdict, Verdict::False, "{status}");
            assert!(why.contains(expected), "{status}: {why}");
        }
        for (strategy, status) in [
            (rolling, status(3, 3, "r2")),
            // Two pods are held back, and the current revision stays the old one.
            (json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}), status(3, 1, "r1")),
            // Its controller never makes the new revision the current one.
            (json!({"type": "OnDelete"}), status(3, 3, "r1")),
        ] {
            assert_eq!(stateful_set(strategy, status.clone()).0, Verdict::True, "{status}");
        }
    }

    #[test]
    fn an_autoscaler_has_nothing_to_roll_out() {
        assert_eq!(of("autoscaling/v2", "HorizontalPodAutoscaler", json!({})).0, Verdict::True);
        let scaled = |conditions: Value| {
            of("keda.sh/v1alpha1", "ScaledObject", json!({"status": {"conditions": conditions}})).0
        };
        assert_eq!(scaled(json!([{"type": "Ready", "status": "True"}])), Verdict::True);
        assert_eq!(scaled(json!([{"type": "Ready", "status": "False"}])), Verdict::False);
        assert_eq!(scaled(json!([])), Verdict::False);
    }

    #[test]
    fn a_service_waits_for_its_model_and_its_newest_revision() {
        let service = |status: Value| {
            let spec = json!({"predictor": {}, "transformer": {}});
            let object = json!({"metadata": {"generation": 3}, "spec": spec, "status": status});
            of("serving.kserve.io/v1beta1", "InferenceService", object)
        };
        let component = |newest: &str, rolled_out: &str| json!({"latestCreatedRevision": newest, "latestReadyRevision": newest, "latestRolledoutRevision": rolled_out});
        // KServe keeps the status of a component that was removed.
        let rolled_out = |predictor: &str, transformer: &str| json!({"predictor": component("p-2", predictor), "transformer": component("t-2", transformer), "explainer": component("e-2", "e-1")});
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let predictor = |latest_ready: &str| json!({"predictor": {"latestCreatedRevision": "p-2", "latestReadyRevision": latest_ready}});
        let table = [
            (json!(null), "not observed"),
            (json!({"observedGeneration": 2, "conditions": ready}), "not observed"),
            (
                json!({"conditions": ready, "modelStatus": {"transitionStatus": "BlockedByFailedLoad"}}),
                "does not load",
            ),
            (json!({"conditions": ready, "modelStatus": {"transitionStatus": "InProgress"}}), "old model"),
            (json!({"conditions": ready, "components": predictor("p-1")}), "newest revision"),
            (json!({"conditions": ready, "components": rolled_out("p-1", "t-2")}), "still gets traffic"),
            (json!({"conditions": ready, "components": rolled_out("p-2", "t-1")}), "still gets traffic"),
            (json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}), "Ready"),
            (json!({}), "Ready"),
        ];
        for (status, expected) in table {
            let (verdict, why) = match status.is_null() {
                true => of(
                    "serving.kserve.io/v1beta1",
                    "InferenceService",
                    json!({"metadata": {"generation": 3}}),
                ),
                false => service(status.clone()),
            };
            assert_eq!(verdict, Verdict::False, "{status}");
            assert!(why.contains(expected), "{status}: {why}");
        }
        let up_to_date = json!({"transitionStatus": "UpToDate"});
        for status in [
            json!({"conditions": ready}),
            json!({"observedGeneration": 3, "conditions": ready, "modelStatus": up_to_date, "components": predictor("p-2")}),
            json!({"conditions": ready, "components": {"predictor": {"url": "http://x"}}}),
            json!({"conditions": ready, "components": rolled_out("p-2", "t-2")}),
        ] {
            assert_eq!(service(status.clone()).0, Verdict::True, "{status}");
        }
    }

    #[test]
    fn a_rollout_is_stuck_where_its_controller_says_so() {
        let stuck = |api_version: &str, kind: &str, status: Value| {
            let profiles = Profiles::built_in().unwrap();
            let condition = profiles.find(api_version, kind).unwrap().stuck.clone();
            condition.map(|condition| condition.evaluate(&json!({"status": status}), None).verdict)
        };
        let progressing = |reason: &str| json!({"conditions": [{"type": "Progressing", "status": "False", "reason": reason}]});
        let deployment = |status| stuck("apps/v1", "Deployment", status);
        assert_eq!(deployment(progressing("ProgressDeadlineExceeded")), Some(Verdict::True));
        assert_eq!(deployment(progressing("ReplicaSetUpdated")), Some(Verdict::False));
        assert_eq!(deployment(json!({})), Some(Verdict::False));
        let service = |status: &str| {
            stuck(
                "serving.kserve.io/v1beta1",
                "InferenceService",
                json!({"modelStatus": {"transitionStatus": status}}),
            )
        };
        assert_eq!(service("BlockedByFailedLoad"), Some(Verdict::True));
        assert_eq!(service("InProgress"), Some(Verdict::False));
        assert_eq!(stuck("apps/v1", "StatefulSet", json!({})), None);
    }
}
