//! Files of YAML documents, and the objects in them.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::schema::Schemas;
use crate::api::RemediationPolicy;
use crate::cli::Error;

/// One object in a file.
#[derive(Clone, Debug)]
pub struct Document(Value);

impl Document {
    /// All of it.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Its kind.
    pub fn kind(&self) -> &str {
        self.text("/kind").unwrap_or("object without kind")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/metadata/name").or(self.text("/metadata/generateName")).unwrap_or("without name")
    }

    /// Its namespace, if it has one.
    pub fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace")
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace() {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind(), self.name()),
            None => write!(f, "{} {}", self.kind(), self.name()),
        }
    }
}

/// The content of a file; `-` is standard input.
pub fn text(file: &Path) -> Result<String, Error> {
    let read = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|error| {
        Error::failed(format!("cannot read {}", file.display()), error.to_string(), "name a readable file")
    })
}

/// The objects of a YAML text; those of a List one by one.
///
/// # Errors
/// A text for people if it is not YAML.
pub fn parse(text: &str) -> Result<Vec<Document>, String> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let text = error.to_string();
        format!("not YAML: {}", text.lines().next().unwrap_or_default())
    })?;
    let mut documents = Vec::new();
    for document in all {
        match document {
            Value::Null => {}
            Value::Object(ref object) if object.get("kind").is_some_and(|kind| kind == "List") => {
                let items = object.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                documents.extend(items.into_iter().map(Document));
            }
            other => documents.push(Document(other)),
        }
    }
    Ok(documents)
}

/// The one policy of a file.
pub fn policy(file: &Path) -> Result<RemediationPolicy, Error> {
    let name = file.display();
    let failed = |why: String| {
        Error::failed(
            format!("cannot use {name}"),
            why,
            format!(
                "run `firebreak check -f {name}` for \
            details"
            ),
        )
    };
    let policy = parse(&text(file)?).and_then(|documents| one_policy(documents, None)).map_err(failed)?;
    serde_json::from_value(policy.0).map_err(|error| failed(error.to_string()))
}

/// The one policy of this name among documents, or the only one, as the schema wants it.
///
/// # Errors
/// A text for people if there is none or several, or if it is not as the schema wants it.
pub fn one_policy(documents: Vec<Document>, name: Option<&str>) -> Result<Document, String> {
    let is_meant = |document: &Document| {
        document.kind() == "RemediationPolicy" && name.is_none_or(|name| name == document.name())
    };
    let mut policies: Vec<Document> = documents.into_iter().filter(is_meant).collect();
    let (Some(policy), None) = (policies.pop(), policies.pop()) else {
        let named = name.map(|name| format!(" named {name}")).unwrap_or_default();
        return Err(format!("it must have exactly one RemediationPolicy{named}"));
    };
    let faults = Schemas::new().check(policy.value()).unwrap_or_default();
    if faults.is_empty() { Ok(policy) } else { Err(faults.join("; ")) }
}
