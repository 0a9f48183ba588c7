//! What an action must not change in some objects of a kind, although the kind has the field, and why.

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::facts::Role;
use firebreak_engine::path::FieldPath;
use firebreak_engine::verdict::Verdict;
use serde::Deserialize;
use serde_json::Value;

/// The longest text that is quoted from an object: the length of a name.
const LONGEST_QUOTE: usize = 253;

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
        }
    }
}

/// A text for people, in which `{/spec/name}` stands for the text of that field.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Message(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Field(FieldPath),
}

impl Message {
    /// The text about this object. A field that has no text is named by its path.
    pub fn about(&self, object: &Value) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(path) => match path.node(object).and_then(Value::as_str) {
                Some(text) => text.chars().take(LONGEST_QUOTE).collect(),
                None => path.to_string(),
            },
        };
        self.0.iter().map(part).collect()
    }
}

impl Message {
    /// The same; none if one of the fields has no text, or a longer one.
    pub fn whole(&self, object: &Value) -> Option<String> {
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Field(path) => {
                let text = path.node(object).and_then(Value::as_str)?;
                (!text.is_empty() && text.len() <= LONGEST_QUOTE).then(|| text.to_owned())
            }
        };
        self.0.iter().map(part).collect()
    }
}

impl TryFrom<String> for Message {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        for (number, piece) in text.split('{').enumerate() {
            let rest = match (number, piece.split_once('}')) {
                (0, _) => piece,
                (_, Some((path, rest))) => {
                    parts.push(Part::Field(path.parse().map_err(|error| format!("{error}"))?));
                    rest
                }
                (_, None) => return Err(format!("{text:?} has a {{ without a }}")),
            };
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(text: &str) -> Result<Message, String> {
        Message::try_from(text.to_owned())
    }

    #[test]
    fn a_message_quotes_fields_of_the_object_and_names_those_that_are_absent() {
        let about = |text: &str, object: Value| message(text).unwrap().about(&object);
        let object = json!({"spec": {"ref": {"kind": "Deployment", "name": "chat"}, "number": 3}});
        let text = "its template is in {/spec/ref/kind}/{/spec/ref/name}; change that";
        assert_eq!(about(text, object.clone()), "its template is in Deployment/chat; change that");
        assert_eq!(about(text, json!({})), "its template is in /spec/ref/kind//spec/ref/name; change that");
        assert_eq!(about("{/spec/number} of them", object), "/spec/number of them");
        assert_eq!(about("plain", json!({})), "plain");
        let whole =
            |text: &str| message(text).unwrap().whole(&json!({"spec": {"name": "chat", "number": 3}}));
        assert_eq!(whole("{/spec/name}-kserve").as_deref(), Some("chat-kserve"));
        assert_eq!([whole("{/spec/number}"), whole("x-{/spec/none}")], [None, None]);
        let long = json!({"spec": {"name": "x".repeat(1000)}});
        assert_eq!(about("{/spec/name}", long).len(), LONGEST_QUOTE);
        for bad in ["{", "a {/spec", "{spec}", "{}"] {
            assert!(message(bad).is_err(), "{bad}");
        }
    }

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
