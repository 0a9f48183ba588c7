//! What people expect of the signals of a policy, in an annotation of it.

use std::collections::BTreeMap;

use firebreak_engine::expected::ExpectRequest;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::{RemediationPolicy, names};

impl RemediationPolicy {
    /// What people expect, by signal. A person may have written the annotation by hand, so each entry is read by itself, and
    /// one that `firebreak expect` would not write asks for nothing.
    pub fn asked(&self) -> BTreeMap<String, ExpectRequest> {
        let valid = |asked: &ExpectRequest| (0..=ExpectRequest::MOST).contains(&asked.value);
        let read = |entry: Value| serde_json::from_value(entry).ok().filter(valid);
        self.entries().into_iter().filter_map(|(signal, entry)| Some((signal, read(entry)?))).collect()
    }

    /// The text of the annotation with this request: what it says of other signals stays.
    pub fn asking(&self, signal: &str, asked: &ExpectRequest) -> String {
        let mut entries = self.entries();
        entries.insert(signal.to_owned(), json!(asked));
        Value::Object(entries).to_string()
    }

    fn entries(&self) -> Map<String, Value> {
        let text = self.annotations().get(names::EXPECT);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_by(annotation: &str) -> Vec<(String, i64)> {
        let policy = json!({
            "metadata": {"name": "p", "annotations": {names::EXPECT: annotation}}, "spec": {},
        });
        let policy: RemediationPolicy = serde_json::from_value(policy).unwrap();
        policy.asked().into_iter().map(|(signal, asked)| (signal, asked.value)).collect()
    }

    #[test]
    fn an_entry_of_the_annotation_that_cannot_be_meant_asks_for_nothing_and_spoils_no_other() {
        let entries = json!({
            "good": {"value": 4, "at": "2026-03-01T10:00:00Z"},
            "none": {"value": 0, "at": "2026-03-01T10:00:00Z"},
            "most": {"value": 1_000_000, "at": "2026-03-01T10:00:00Z"},
            "negative": {"value": -1, "at": "2026-03-01T10:00:00Z"},
            "huge": {"value": 1_000_001, "at": "2026-03-01T10:00:00Z"},
            "beyond": {"value": 1e30, "at": "2026-03-01T10:00:00Z"},
            "undated": {"value": 4},
            "at a bad time": {"value": 4, "at": "tomorrow"},
            "bare": 4,
            "text": "4",
        });
        let good =
            [("good", 4), ("most", 1_000_000), ("none", 0)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(asked_by(&entries.to_string()), good);
        for text in ["", "4", "[]", "null", "{", "\"gpuNodes\""] {
            assert_eq!(asked_by(text), [], "{text}");
        }
    }
}
