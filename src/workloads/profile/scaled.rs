//! What is known about a kind without a profile whose definition has the scale
//! subresource: where its number of replicas is, and nothing else.

use serde_json::json;

use super::Profile;

/// No higher number of replicas is set; the bound of the other kinds.
const AT_MOST: i64 = 10_000;

impl Profile {
    /// The profile of a kind by `specReplicasPath` and `statusReplicasPath` of its scale subresource, such as
    /// `.spec.replicas`. Its labels and annotations may propagate to its pods. An object of it is healthy when it has as
    /// many replicas as it requests.
    /// None for a path that is not made of plain names.
    #[must_use]
    pub fn of_scale(api_version: &str, kind: &str, spec: &str, status: &str) -> Option<Self> {
        let (spec, status) = (names(spec)?, names(status)?);
        let pointer = |names: &[&str]| format!("/{}", names.join("/"));
        let all_there = format!("{} == {}", number(&status, 0), number(&spec, 1));
        let seen = "!has(object.status) || !has(object.status.observedGeneration) || \
                    object.status.observedGeneration >= object.metadata.generation";
        serde_json::from_value(json!({
            "apiVersion": api_version,
            "kind": kind,
            // Nothing says that they do not propagate.
            "metadataPropagates": true,
            "replicas": {"spec": pointer(&spec), "ready": pointer(&status), "atMost": AT_MOST},
            "healthy": all_there,
            "idle": [{"when": format!("{} == 0", number(&spec, 1)), "because": "it is scaled to 0"}],
            "rollout": [
                {"done": seen, "otherwise": "its operator has not observed the last change yet"},
                {"done": all_there, "otherwise": "it has not reached its desired number of replicas"},
            ],
        }))
        .ok()
    }
}

/// The names in `.spec.replicas`.
fn names(path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = path.strip_prefix('.')?.split('.').collect();
    let is_plain = |name: &&str| {
        !name.is_empty()
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    names.iter().all(is_plain).then_some(names)
}

/// CEL for the number at the path, and for the default of an absent one.
fn number(names: &[&str], absent: i64) -> String {
    let path = |length: usize| format!("object.{}", names[..length].join("."));
    let there: Vec<String> = (1..=names.len()).map(|length| format!("has({})", path(length))).collect();
    format!("({} ? {} : {absent})", there.join(" && "), path(names.len()))
}

#[cfg(test)]
mod tests {
    use firebreak_engine::verdict::Verdict;

    use super::*;
    use crate::workloads::rollout::rollout;

    #[test]
    fn an_object_is_healthy_with_as_many_replicas_as_it_asks_for() {
        let profile = Profile::of_scale("x.example.com/v1", "Gateway", ".spec.size", ".status.size").unwrap();
        let health = |object| profile.healthy.evaluate(&object, None).verdict;
        assert_eq!(health(json!({"spec": {"size": 3}, "status": {"size": 3}})), Verdict::True);
        assert_eq!(health(json!({"spec": {"size": 3}, "status": {"size": 1}})), Verdict::False);
        assert_eq!(health(json!({"spec": {"size": 0}})), Verdict::True);
        assert_eq!(health(json!({"spec": {}, "status": {"size": 1}})), Verdict::True);
        assert_eq!(health(json!({"spec": {"size": "many"}, "status": {"size": 1}})), Verdict::False);
        let seen = json!({"metadata": {"generation": 2}, "spec": {"size": 1}, "status": {"size": 1, "observedGeneration": 1}});
        assert_eq!(rollout(&profile, &seen).0, Verdict::False);
    }

    #[test]
    fn a_path_that_is_not_made_of_plain_names_is_no_place() {
        for path in ["", "spec.replicas", ".", ".spec[0]", ".spec.a-b", ".spec..x", ".spec.2x", ".spec.x)"] {
            assert!(Profile::of_scale("x/v1", "Gateway", path, ".status.size").is_none(), "{path}");
        }
    }
}
