//! Fields that belong together.

use super::{FieldPath, Segment};
use crate::flag;

/// How many pods a rolling update has at once.
const PACE: [&str; 2] = ["maxSurge", "maxUnavailable"];
/// Members of one map that are only valid together, or have an effect only together.
const PAIRS: [[&str; 2]; 4] =
    [["minReplicas", "maxReplicas"], ["minReplicaCount", "maxReplicaCount"], PACE, ["enabled", "precision"]];

/// The other name of a pair, if this is one of them.
fn other_of(pair: [&'static str; 2], name: &str) -> Option<&'static str> {
    let at = pair.iter().position(|member| *member == name)?;
    Some(pair[1 - at])
}

impl FieldPath {
    /// Whether this says how many pods a rolling update has at once. It goes back after the template whose rollout it
    /// is for.
    pub fn is_pace(&self) -> bool {
        matches!(self.0.last(), Some(Segment::Key(last)) if PACE.contains(&last.as_str()))
    }

    /// Fields that are only valid together, or have an effect only together, have the same text: the request and limit
    /// of one resource, the least and the most replicas, a quantization and whether it is on, a flag, its
    /// negation and its other names.
    pub fn group(&self) -> String {
        let mut segments = self.0.clone();
        let length = segments.len();
        if length >= 2
            && let Segment::Key(parent) = &mut segments[length - 2]
            && (parent == "limits" || parent == "requests")
        {
            *parent = "limits+requests".to_owned();
        }
        match segments.last_mut() {
            Some(Segment::Key(last)) => {
                if let Some(pair) = PAIRS.into_iter().find(|pair| pair.contains(&last.as_str())) {
                    *last = pair.join("+");
                }
            }
            Some(Segment::Flag(flag)) => {
                let dashed = flag.replace('_', "-");
                let positive = dashed.strip_prefix("--no-").map(|negated| format!("--{negated}"));
                *flag = flag::canonical(&positive.unwrap_or(dashed));
            }
            Some(Segment::Element { .. }) | None => {}
        }
        Self(segments).to_string()
    }

    /// The field that this one must fit: the other half of the request and limit of a resource, the other end of a range of
    /// replicas, or what has an effect only together with it. None if there is none, and for the pace of a rollout,
    /// whose halves are changed together where that matters.
    pub fn partner(&self) -> Option<Self> {
        let mut segments = self.0.clone();
        let length = segments.len();
        if length >= 2
            && let Segment::Key(parent) = &mut segments[length - 2]
            && let Some(other) = other_of(["limits", "requests"], parent)
        {
            *parent = other.to_owned();
            return Some(Self(segments));
        }
        let Some(Segment::Key(last)) = segments.last_mut() else { return None };
        let other = PAIRS.into_iter().filter(|pair| *pair != PACE).find_map(|pair| other_of(pair, last))?;
        *last = other.to_owned();
        Some(Self(segments))
    }

    /// Whether the value must not be above the one of its partner: a request, or the least replicas.
    pub fn is_lower(&self) -> bool {
        let length = self.0.len();
        let is = |at: usize, names: &[&str]| matches!(self.0.get(at), Some(Segment::Key(key)) if names.contains(&key.as_str()));
        length >= 2 && is(length - 2, &["requests"])
            || length >= 1 && is(length - 1, &["minReplicas", "minReplicaCount"])
    }

    /// Whether the value is the number of a resource that a container must request exactly as it is limited: one with a
    /// domain in its name, or huge pages.
    pub fn is_device(&self) -> bool {
        let is_one = |name: &str| name.contains('/') || name.starts_with("hugepages-");
        self.is_quantity() && matches!(self.0.last(), Some(Segment::Key(name)) if is_one(name))
    }

    /// Whether the value is a Kubernetes quantity, which has many notations.
    pub fn is_quantity(&self) -> bool {
        let length = self.0.len();
        length >= 2
            && matches!(&self.0[length - 2], Segment::Key(parent) if parent == "limits" || parent == "requests")
    }
}
