//! What an action must not change in some objects of a kind, although the kind has the field, and why.

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::facts::Role;
use firebreak_engine::verdict::Verdict;
use serde::Deserialize;
use serde_json::Value;

use super::message::Message;

/// A reason why actions do not apply to an object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// The fields that must not be changed.
    pub fields: Vec<Field>,
    /// CEL over `object`: false where they may be changed. Unknown counts as true. Default: everywhere.
    #[serde(default, deserialize_with = "super::optional_condition")]
    pub when: Option<ObjectCondition>,
    /// The message for people.
    pub because: Message,
}

impl Refusal {
    /// Whether it holds for this object. What is not known might make the change wrong.
    pub fn holds(&self, object: &Value) -> bool {
        self.when.as_ref().is_none_or(|when| when.evaluate(object, None).verdict != Verdict::False)
    }
}

/// A part of a profile that has fields to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Field {
    /// Requests and limits of accelerators.
    Accelerators,
    /// The number of replicas.
    Replicas,
    /// The limit of an autoscaler.
    AutoscalerLimit,
    /// The name of the scheduler.
    Scheduler,
    /// The batch size.
    BatchSize,
    /// The limit of concurrency.
    MaxConcurrency,
    /// What restarts its pods.
    Restart,
}

impl Field {
    /// What it means to an action.
    pub fn role(self) -> Role {
        match self {
            Self::Accelerators => Role::Accelerator,
            Self::Replicas => Role::Replicas,
            Self::AutoscalerLimit => Role::AutoscalerLimit,
            Self::Scheduler => Role::Scheduler,
            Self::BatchSize => Role::BatchSize,
            Self::MaxConcurrency => Role::MaxConcurrency,
            Self::Restart => Role::Restart,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_holds_unless_it_is_known_that_it_does_not() {
        let refusal = |when: &str| -> Refusal {
            let text = format!("{{\"fields\": [\"batchSize\"], \"when\": \"{when}\", \"because\": \"no\"}}");
            serde_json::from_str(&text).unwrap()
        };
        let object = json!({"spec": {"x": 1}});
        assert!(refusal("object.spec.x == 1").holds(&object));
        assert!(!refusal("object.spec.x == 2").holds(&object));
        assert!(refusal("object.spec.y == 2").holds(&object), "it is not known");
        let always: Refusal = serde_json::from_str(r#"{"fields": ["replicas"], "because": "no"}"#).unwrap();
        assert!(always.holds(&object));
    }
}
