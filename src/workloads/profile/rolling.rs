//! Where the pace of rolling updates is.

use firebreak_engine::expression::ObjectCondition;
use firebreak_engine::path::FieldPath;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use serde::Deserialize;
use serde_json::Value;

/// Where the pace of a rolling update is. While a fallback is in force, and until its revert has rolled out, each new pod
/// takes the place of an old one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollingUpdate {
    /// How many pods there may be beside the wanted ones: a number or a percentage.
    pub max_surge: FieldPath,
    /// How many of the wanted pods may be missing.
    pub max_unavailable: FieldPath,
    /// What counts where one of them is absent.
    pub absent: AbsentPace,
    /// The number of replicas of which a percentage is taken. Default: the replicas of the profile.
    #[serde(default)]
    pub replicas: Option<FieldPath>,
    /// What a percentage of `maxUnavailable` is worth when it rounds down to no pod.
    #[serde(default)]
    pub percentages: Percentages,
    /// The pod templates whose pods it replaces; empty means all of the object.
    #[serde(default)]
    pub templates: Vec<FieldPath>,
    /// CEL over `object`: true if its updates are of this type.
    #[serde(deserialize_with = "super::condition")]
    pub when: ObjectCondition,
}

/// What a percentage of `maxUnavailable` is worth beside a `maxSurge` of 0, when it rounds down to no pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Percentages {
    /// It is one pod: the controller sees to that, whatever the number of replicas becomes.
    AtLeastOne,
    /// It may be none, which admission rejects, now or when the number of replicas has changed. A number replaces it.
    #[default]
    MayBeNone,
}

/// The pace where a field is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbsentPace {
    /// Of `maxSurge`.
    pub max_surge: Share,
    /// Of `maxUnavailable`.
    pub max_unavailable: Share,
}

/// A number of pods, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub enum Share {
    /// So many.
    Number(i64),
    /// This percentage of the replicas.
    Percent(i64),
}

impl RollingUpdate {
    /// Whether the updates of the object are of this type.
    pub fn is_of(&self, object: &Value) -> bool {
        self.when.evaluate(object, None).verdict == Verdict::True
    }

    /// Whether it replaces the pods whose template has this field.
    pub fn replaces(&self, field: &FieldPath) -> bool {
        self.templates.is_empty() || self.templates.iter().any(|template| field.below(template).is_some())
    }
}

impl Share {
    /// What is written; none if it is no number of pods. Argo Rollouts takes a text without `%` for a percentage, too; no
    /// other kind stores one.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().ok().map(Self::Percent),
            value => whole(value).map(Self::Number),
        }
        .filter(|share| matches!(share, Self::Number(0..) | Self::Percent(0..)))
    }

    /// Whether it is no pod, of however many.
    pub fn is_none(self) -> bool {
        matches!(self, Self::Number(0) | Self::Percent(0))
    }

    /// How many of these replicas that are, rounded down like the number of pods that may be missing.
    pub fn of_replicas(self, replicas: i64) -> i64 {
        match self {
            Self::Number(number) => number,
            Self::Percent(percent) => replicas.saturating_mul(percent) / 100,
        }
    }
}

impl TryFrom<Value> for Share {
    type Error = String;
    fn try_from(value: Value) -> Result<Self, String> {
        Self::of(&value).ok_or_else(|| format!("{value} is neither a number of pods nor a percentage"))
    }
}
