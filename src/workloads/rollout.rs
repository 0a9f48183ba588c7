//! Whether one object has finished rolling out, as its kind's profile says.

use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::profile::Profile;

/// Whether the object has finished rolling out, and what it waits for if not.
pub fn rollout(profile: &Profile, object: &Value) -> (Verdict, String) {
    for stage in &profile.rollout {
        let evaluation = stage.done.evaluate(object, None);
        match evaluation.verdict {
            Verdict::True => {}
            Verdict::False => return (Verdict::False, stage.otherwise.clone()),
            Verdict::Unknown => {
                let why = evaluation.why.unwrap_or_else(|| "its status cannot be read".to_owned());
                return (Verdict::Unknown, why);
            }
        }
    }
    (Verdict::True, "rolled out".to_owned())
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
            (json!({}), "not seen"),
            (
                json!({"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
                "not seen",
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
}
