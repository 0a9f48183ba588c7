//! The checks of the parts of a profile beyond their types.

use firebreak_engine::path::{FieldPath, Segment};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::each::has_any;
use super::restart::around;
use super::{
    Accelerators, Flag, Limit, Means, Placement, Quantization, Replicas, Restart, RollingUpdate, Setting,
    SettingDefault,
};

/// The checks of a part of a profile beyond its types.
pub(super) trait Check {
    /// What is wrong with it.
    fn problem(&self) -> Option<String>;
}

/// Reads a part and checks it, so that an error is reported with its line.
pub(super) fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de> + Check>(
    deserializer: D,
) -> Result<T, D::Error> {
    let part = T::deserialize(deserializer)?;
    part.problem().map_or(Ok(part), |problem| Err(D::Error::custom(problem)))
}

impl<T: Check> Check for Option<T> {
    fn problem(&self) -> Option<String> {
        self.as_ref().and_then(Check::problem)
    }
}

impl<T: Check> Check for Vec<T> {
    fn problem(&self) -> Option<String> {
        self.iter().find_map(Check::problem)
    }
}

/// A path of a field to change.
impl Check for FieldPath {
    fn problem(&self) -> Option<String> {
        let is_not_ours = match &self.segments()[0] {
            Segment::Key(key) => ["apiVersion", "kind", "metadata", "status"].contains(&key.as_str()),
            Segment::Element { .. } | Segment::Flag(_) => true,
        };
        (is_not_ours || self.is_flag()).then(|| format!("{self} is not a field that Firebreak may change"))
    }
}

/// What is wrong with the path of a field of which there is only one.
fn of_one(path: &FieldPath) -> Option<String> {
    let problem = || has_any(path).then(|| format!("{path} is more than one field"));
    path.problem().or_else(problem)
}

impl Check for Accelerators {
    fn problem(&self) -> Option<String> {
        let inline = || self.inline.iter().find_map(|inline| inline.path.problem());
        let lists = || self.containers.problem().or_else(|| self.beside.problem());
        self.resources.problem().or_else(lists).or_else(inline)
    }
}

impl Check for Quantization {
    fn problem(&self) -> Option<String> {
        of_one(&self.enabled).or_else(|| of_one(&self.precision))
    }
}

impl Check for Placement {
    fn problem(&self) -> Option<String> {
        let Self { node_selector, required_node_affinity, runtime_class_name, pins: _ } = self;
        [node_selector, required_node_affinity, runtime_class_name].into_iter().find_map(Check::problem)
    }
}

impl Check for Replicas {
    fn problem(&self) -> Option<String> {
        of_one(&self.spec).or_else(|| no_range(self.at_least, self.at_most))
    }
}

impl Check for Restart {
    fn problem(&self) -> Option<String> {
        let also = || {
            let odd = self.also.iter().find(|path| around(path).is_none());
            odd.map(|path| format!("{path} is not an annotation"))
        };
        // Whether a lost request took effect is known from the generation, which only a change of the spec raises.
        let outside = || {
            let mut all = [&self.at].into_iter().chain(&self.also);
            let path =
                all.find(|path| !matches!(path.segments(), [Segment::Key(first), ..] if first == "spec"));
            path.map(|path| format!("{path} is not below /spec, where a restart must be written"))
        };
        of_one(&self.at).or_else(|| self.also.iter().find_map(of_one)).or_else(also).or_else(outside)
    }
}

impl Check for RollingUpdate {
    fn problem(&self) -> Option<String> {
        let ends = |path: &FieldPath, name: &str| matches!(path.segments().last(), Some(Segment::Key(key)) if key == name);
        let are_pair = self.max_surge.group() == self.max_unavailable.group();
        if !(ends(&self.max_surge, "maxSurge") && ends(&self.max_unavailable, "maxUnavailable") && are_pair) {
            let problem = "maxSurge and maxUnavailable must be members with these names of one map";
            return Some(problem.to_owned());
        }
        of_one(&self.max_surge)
    }
}

impl Check for Limit {
    fn problem(&self) -> Option<String> {
        let absent = self.absent.as_ref().filter(|absent| absent.number < 1);
        let absent = absent.map(|absent| format!("absent.number {} is not above 0", absent.number));
        of_one(&self.path)
            .or_else(|| self.also.iter().find_map(of_one))
            .or(absent)
            .or_else(|| no_range(self.at_least, self.at_most))
    }
}

impl Check for Setting {
    fn problem(&self) -> Option<String> {
        let problem = match (&self.path, &self.flag) {
            (Some(path), None) => of_one(path),
            (None, Some(_)) if self.only_with.is_some() => Some("onlyWith needs a path".to_owned()),
            (None, Some(flag)) => flag.problem(),
            (None, None) | (Some(_), Some(_)) => Some("exactly one of path and flag must be set".to_owned()),
        };
        let absent = || self.absent.as_ref().and_then(|absent| bad_default(absent, self));
        problem.or_else(absent).or_else(|| no_range(self.at_least, self.at_most))
    }
}

fn bad_default(absent: &SettingDefault, setting: &Setting) -> Option<String> {
    let number = absent.number.filter(|number| *number > 0);
    match absent.means {
        Means::Exactly | Means::AtLeast if number.is_none() => {
            Some("absent needs a number above 0, unless it means Unlimited".to_owned())
        }
        Means::Unlimited if absent.number.is_some() => {
            Some("absent that means Unlimited has no number".to_owned())
        }
        Means::Exactly | Means::AtLeast | Means::Unlimited
            if !absent.not_above.is_empty() && setting.flag.is_none() =>
        {
            Some("absent.notAbove needs a flag".to_owned())
        }
        Means::Exactly | Means::AtLeast | Means::Unlimited => {
            absent.not_above.iter().find_map(|name| no_flag(name))
        }
    }
}

impl Check for Flag {
    fn problem(&self) -> Option<String> {
        if self.names.is_empty() {
            return Some("a flag needs a name".to_owned());
        }
        self.names
            .iter()
            .chain(&self.files)
            .find_map(|name| no_flag(name))
            .or_else(|| self.containers.problem())
    }
}

/// What is wrong with the name of a flag.
fn no_flag(name: &str) -> Option<String> {
    let path = FieldPath::new(vec![Segment::Key("args".to_owned()), Segment::Flag(name.to_owned())]);
    path.err().map(|_| {
        format!(
            "{name:?} is not a flag: it must start with a dash, without = and \
            spaces"
        )
    })
}

fn no_range(at_least: i64, at_most: i64) -> Option<String> {
    (at_least > at_most).then(|| format!("atLeast {at_least} is above atMost {at_most}"))
}
