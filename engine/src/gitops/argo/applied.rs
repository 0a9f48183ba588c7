//! How many of the objects that a policy may change Argo CD applies.

use std::collections::BTreeSet;
use std::fmt;

use super::Tracking;
use crate::id::TargetId;

/// Objects that are named, of all that are counted.
const NAMED: usize = 2;

/// The objects that the steps of a policy may change and that Argo CD applies, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    surely: Counted,
    possibly: Counted,
    partial: bool,
}

/// Some objects, and the first of them by name. The others are counted only: there may be thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counted {
    number: usize,
    first: BTreeSet<TargetId>,
}

impl Applied {
    /// Counts an object, which must not be counted before.
    pub fn add(&mut self, id: TargetId, tracking: &Tracking) {
        if tracking.is_sure() { self.surely.add(id) } else { self.possibly.add(id) }
    }

    /// There are objects that were not read.
    pub fn is_not_all(&mut self) {
        self.partial = true;
    }

    /// What people must know; empty if Argo CD applies none of what was read.
    pub fn warning(&self) -> String {
        let least = if self.partial { "at least " } else { "" };
        let applies = match (self.surely.number, self.possibly.number) {
            (0, 0) => return String::new(),
            (_, 0) => format!("applies {least}{}", self.surely),
            (0, _) => format!("possibly applies {least}{}", self.possibly),
            (..) => format!("applies {least}{} and possibly {}", self.surely, self.possibly),
        };
        format!(
            "of the objects that the steps may change, Argo CD {applies}, and may restore its own values there at \
             once: `firebreak check --cluster -f FILE` says whether the Applications prevent that, and prints what to \
             add to them"
        )
    }
}

impl Counted {
    fn add(&mut self, id: TargetId) {
        self.number += 1;
        self.first.insert(id);
        if self.first.len() > NAMED {
            self.first.pop_last();
        }
    }
}

/// `3 (Deployment a/x, Deployment a/y and others)`.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.first.iter().map(ToString::to_string).collect();
        let others = if self.number > names.len() { " and others" } else { "" };
        write!(f, "{} ({}{others})", self.number, names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ApplicationId, By};
    use super::*;

    fn target(name: &str) -> TargetId {
        let text = |text: &str| text.to_owned();
        let (api_version, kind, namespace) = (text("apps/v1"), text("Deployment"), text("a"));
        TargetId { api_version, kind, namespace, name: text(name), uid: text(name) }
    }

    fn tracking(by: By) -> Tracking {
        Tracking { application: Some(ApplicationId { namespace: None, name: "web".to_owned() }), by }
    }

    /// What is told about these objects.
    fn told(surely: &[&str], possibly: &[&str]) -> String {
        let mut applied = Applied::default();
        surely.iter().for_each(|name| applied.add(target(name), &tracking(By::Annotation)));
        possibly.iter().for_each(|name| applied.add(target(name), &tracking(By::InstanceAlone)));
        applied.warning()
    }

    #[test]
    fn people_are_told_how_many_objects_argo_cd_applies_surely_and_possibly() {
        assert_eq!(told(&[], &[]), "");
        let both = told(&["z", "x", "y"], &["u"]);
        let expected =
            "Argo CD applies 3 (Deployment a/x, Deployment a/y and others) and possibly 1 (Deployment a/u), ";
        assert!(both.contains(expected) && both.contains("`firebreak check --cluster -f FILE`"), "{both}");
        let sure = told(&["x", "y"], &[]);
        assert!(sure.contains("Argo CD applies 2 (Deployment a/x, Deployment a/y), and may"), "{sure}");
        let unsure = told(&[], &["x"]);
        assert!(unsure.contains("Argo CD possibly applies 1 (Deployment a/x), and may"), "{unsure}");
    }

    #[test]
    fn the_order_of_a_list_does_not_matter_to_the_text() {
        assert_eq!(told(&["a", "b", "c", "d"], &[]), told(&["d", "b", "a", "c"], &[]));
    }

    #[test]
    fn what_was_not_read_is_not_counted_out() {
        let mut applied = Applied::default();
        applied.is_not_all();
        assert_eq!(applied.warning(), "", "nothing is known, so nothing is told");
        applied.add(target("x"), &tracking(By::OwnLabel));
        assert!(applied.warning().contains("Argo CD applies at least 1 (Deployment a/x)"));
    }
}
