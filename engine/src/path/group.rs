//! Fields that belong together.

use super::{FieldPath, Segment};

/// How many pods a rolling update has at once.
const PACE: [&str; 2] = ["maxSurge", "maxUnavailable"];
/// Members of one map that are only valid together, or have an effect only together.
const PAIRS: [[&str; 2]; 4] =
    [["minReplicas", "maxReplicas"], ["minReplicaCount", "maxReplicaCount"], PACE, ["enabled", "precision"]];

impl FieldPath {
    /// Whether this says how many pods a rolling update has at once. It goes back after the template whose rollout it
    /// is for.
    pub fn is_pace(&self) -> bool {
        matches!(self.0.last(), Some(Segment::Key(last)) if PACE.contains(&last.as_str()))
    }

    /// Fields that are only valid together, or have an effect only together, have the same text: the request and limit
    /// of one resource, the least and the most replicas, a quantization and whether it is on, a flag and its negation.
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
                *flag = flag.replace('_', "-");
                if let Some(negated) = flag.strip_prefix("--no-") {
                    *flag = format!("--{negated}");
                }
            }
            Some(Segment::Element { .. }) | None => {}
        }
        Self(segments).to_string()
    }

    /// Whether the value is a Kubernetes quantity, which has many notations.
    pub fn is_quantity(&self) -> bool {
        let length = self.0.len();
        length >= 2
            && matches!(&self.0[length - 2], Segment::Key(parent) if parent == "limits" || parent == "requests")
    }
}
