//! Whether one object is healthy, as its kind's profile says.

use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::profile::Profile;

/// Whether the object is healthy, and if nobody knows, why.
pub fn healthy(profile: &Profile, object: &Value) -> (Verdict, Option<String>) {
    let evaluation = profile.healthy.evaluate(object, None);
    (evaluation.verdict, evaluation.why)
}

#[cfg(test)]
mod tests {
    use super::super::Profiles;
    use super::*;
    use serde_json::json;

    fn deployment(object: Value) -> Verdict {
        let profiles = Profiles::built_in().unwrap();
        healthy(profiles.find("apps/v1", "Deployment").unwrap(), &object).0
    }

    fn model(object: Value) -> Verdict {
        let profiles = Profiles::built_in().unwrap();
        healthy(profiles.find("inference.llm-d.io/v1alpha1", "LLMDeployment").unwrap(), &object).0
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
    fn a_deployment_scaled_to_nothing_is_healthy() {
        let conditions = json!([{"type": "Available", "status": "True"}]);
        let object = json!({"spec": {"replicas": 0}, "status": {"conditions": conditions}});
        assert_eq!(deployment(object), Verdict::True);
    }
}
