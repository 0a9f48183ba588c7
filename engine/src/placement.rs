//! Where the pods of an object may run, and whether a node without accelerators is among those.
//!
//! Only labels and names of nodes are compared. Taints, whether a node is ready or cordoned, and whether it has room
//! are the scheduler's business.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What decides where one kind of pods of an object may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// As it is.
    pub kept: Constraints,
    /// Without what only nodes with accelerators satisfy.
    pub released: Constraints,
}

/// Labels that say which node it is, or which kind of machine: the nodes of one value have the same devices.
const KINDS_OF_NODES: [&str; 9] = [
    "kubernetes.io/hostname",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "karpenter.sh/nodepool",
    "karpenter.k8s.aws/instance-family",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "agentpool",
];

/// What a node must satisfy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    /// All of these, from a node selector.
    pub selector: Vec<Requirement>,
    /// And all of one of these, from a required node affinity; none: there is no such affinity. A term without
    /// requirements matches no node.
    pub terms: Option<Vec<Vec<Requirement>>>,
}

/// A requirement on a label of a node, or on its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What it is about.
    pub of: Of,
    /// How the value must be.
    pub is: Is,
    /// As people write it.
    pub text: String,
}

/// What a requirement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// The name of the node.
    Name,
    /// This label.
    Label(String),
}

/// How a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Is {
    /// One of these.
    In(Vec<String>),
    /// None of these; also absent.
    NotIn(Vec<String>),
    /// There.
    Present,
    /// Not there.
    Absent,
    /// A whole number above this.
    Above(i64),
    /// A whole number below this.
    Below(i64),
    /// Nothing satisfies it: it is not valid.
    Never,
}

/// A node, as far as a placement depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it has accelerators that pods can get.
    pub has_accelerators: bool,
}

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Nodes {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// These.
    Known(Arc<Vec<Node>>),
    /// They cannot be read. The text is for people.
    Unknown(String),
}

/// Which nodes satisfy some constraints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The nodes that satisfy them.
    pub matching: usize,
    /// Those of them that have no accelerators.
    pub without_accelerators: usize,
    /// All nodes.
    pub all: usize,
}

impl Requirement {
    /// Whether it chooses nodes by which they are, or by what kind of machine they are.
    fn is_about_the_kind(&self) -> bool {
        let is_kind = match &self.of {
            Of::Name => true,
            Of::Label(key) => KINDS_OF_NODES.contains(&key.as_str()),
        };
        is_kind && matches!(&self.is, Is::In(values) if values.len() == 1)
    }

    /// Whether the node satisfies it.
    fn holds(&self, node: &Node) -> bool {
        let value = match &self.of {
            Of::Name => Some(&node.name),
            Of::Label(key) => node.labels.get(key),
        };
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.is {
            Is::In(values) => value.is_some_and(|value| values.contains(value)),
            Is::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Is::Present => value.is_some(),
            Is::Absent => value.is_none(),
            Is::Above(least) => number().is_some_and(|number| number > *least),
            Is::Below(most) => number().is_some_and(|number| number < *most),
            Is::Never => false,
        }
    }
}

impl Constraints {
    /// A requirement by which every node that satisfies these is of one kind, as people write it; none if there is none.
    pub fn kind_of_node(&self) -> Option<&str> {
        let of = |all: &'_ [Requirement]| all.iter().position(Requirement::is_about_the_kind);
        if let Some(at) = of(&self.selector) {
            return Some(&self.selector[at].text);
        }
        let terms = self.terms.as_ref()?;
        let kinds: Option<Vec<&Requirement>> = terms.iter().map(|term| Some(&term[of(term)?])).collect();
        let kinds = kinds?;
        let first = kinds.first()?;
        kinds.iter().all(|kind| kind == first).then_some(first.text.as_str())
    }

    /// Whether every node satisfies them, because there are none.
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    fn hold(&self, node: &Node) -> bool {
        let all = |requirements: &[Requirement]| requirements.iter().all(|one| one.holds(node));
        let is_met = |term: &Vec<Requirement>| !term.is_empty() && all(term);
        all(&self.selector) && self.terms.as_ref().is_none_or(|terms| terms.iter().any(is_met))
    }

    /// Which of the nodes satisfy them.
    pub fn room(&self, nodes: &[Node]) -> Room {
        let matching: Vec<&Node> = nodes.iter().filter(|node| self.hold(node)).collect();
        Room {
            matching: matching.len(),
            without_accelerators: matching.iter().filter(|node| !node.has_accelerators).count(),
            all: nodes.len(),
        }
    }
}

impl fmt::Display for Constraints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |requirements: &[Requirement]| {
            let texts: Vec<&str> = requirements.iter().map(|one| one.text.as_str()).collect();
            texts.join(", ")
        };
        let terms: Vec<String> = self.terms.iter().flatten().map(|term| all(term)).collect();
        match (self.selector.is_empty(), self.terms.is_some()) {
            (_, false) => write!(f, "{}", all(&self.selector)),
            (true, true) => write!(f, "{}", terms.join(" or ")),
            (false, true) => write!(f, "{}, {}", all(&self.selector), terms.join(" or ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &[(&str, &str)], has_accelerators: bool) -> Node {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Node { name: name.to_owned(), labels, has_accelerators }
    }

    fn label(key: &str, is: Is) -> Requirement {
        Requirement { of: Of::Label(key.to_owned()), is, text: key.to_owned() }
    }

    fn values(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn every_operator_means_what_it_means_to_the_scheduler() {
        let a = node("a", &[("pool", "cpu"), ("cores", "8")], false);
        let table = [
            (label("pool", Is::In(values(&["cpu", "x"]))), true),
            (label("pool", Is::In(values(&["gpu"]))), false),
            (label("other", Is::In(values(&[""]))), false),
            (label("pool", Is::NotIn(values(&["cpu"]))), false),
            (label("other", Is::NotIn(values(&["cpu"]))), true),
            (label("pool", Is::Present), true),
            (label("other", Is::Present), false),
            (label("other", Is::Absent), true),
            (label("pool", Is::Absent), false),
            (label("cores", Is::Above(7)), true),
            (label("cores", Is::Above(8)), false),
            (label("cores", Is::Below(9)), true),
            (label("pool", Is::Below(9)), false),
            (label("pool", Is::Never), false),
            (Requirement { of: Of::Name, is: Is::In(values(&["a"])), text: String::new() }, true),
            (Requirement { of: Of::Name, is: Is::NotIn(values(&["a"])), text: String::new() }, false),
        ];
        for (requirement, expected) in table {
            assert_eq!(requirement.holds(&a), expected, "{requirement:?}");
        }
    }

    #[test]
    fn the_selector_and_one_of_the_terms_must_be_met_and_an_empty_term_matches_nothing() {
        let nodes = [
            node("gpu-1", &[("zone", "a"), ("pool", "gpu")], true),
            node("cpu-1", &[("zone", "a"), ("pool", "cpu")], false),
            node("cpu-2", &[("zone", "b"), ("pool", "cpu")], false),
        ];
        let room = |selector: Vec<Requirement>, terms: Option<Vec<Vec<Requirement>>>| {
            let room = Constraints { selector, terms }.room(&nodes);
            (room.matching, room.without_accelerators)
        };
        let zone = || label("zone", Is::In(values(&["a"])));
        let pool = |name: &str| label("pool", Is::In(values(&[name])));
        assert_eq!(room(vec![], None), (3, 2));
        assert_eq!(room(vec![zone()], None), (2, 1));
        assert_eq!(room(vec![zone()], Some(vec![vec![pool("gpu")]])), (1, 0));
        assert_eq!(room(vec![], Some(vec![vec![pool("gpu")], vec![pool("cpu")]])), (3, 2));
        assert_eq!(room(vec![], Some(vec![vec![], vec![pool("cpu"), zone()]])), (1, 1));
        assert_eq!(room(vec![], Some(vec![])), (0, 0));
    }
}
