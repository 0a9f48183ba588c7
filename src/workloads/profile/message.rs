//! Texts of a profile that quote fields of an object.

use firebreak_engine::path::FieldPath;
use serde::Deserialize;
use serde_json::Value;

/// The longest text that is quoted from an object: the length of a name.
const LONGEST_QUOTE: usize = 253;

/// A text for people, in which `{/spec/name}` stands for the text of that field. Any other `{` is itself, as in the JSON of a
/// command.
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
        let mut rest = text.as_str();
        while let Some((before, from)) = rest.split_once("{/") {
            let Some((path, after)) = from.split_once('}') else {
                return Err(format!("{text:?} has a {{/ without a }}"));
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Field(format!("/{path}").parse().map_err(|error| format!("{error}"))?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
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
        let command = "patch x -p '{\"spec\":{\"paused\":false}}' {";
        assert_eq!(about(command, json!({})), command);
        for bad in ["{/", "a {/spec", "{/}", "{//}"] {
            assert!(message(bad).is_err(), "{bad}");
        }
    }
}
