//! What the sick objects of a signal have in common: labels that they share and the healthy ones do not have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels that say where an object is, by key.
pub type Labels = BTreeMap<String, String>;

/// Labels that say where a node is or what it is made of: of Kubernetes, of what creates nodes, and of what tells
/// machines or networks of one room apart.
pub const PLACES: [&str; 13] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "karpenter.sh/nodepool",
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "cloud.google.com/gce-topology-block",
    "kubernetes.azure.com/agentpool",
    "topology.k8s.aws/network-node-layer-2",
    "topology.k8s.aws/network-node-layer-3",
    "nvidia.com/gpu.product",
    "nvidia.com/cuda.driver-version.full",
];
/// Fewer sick objects have everything in common.
const FEWEST: usize = 2;
/// The share of the sick ones that must have a label, in percent. Others may be sick for a reason of their own.
const SICK_PERCENT: usize = 80;
/// The share of the healthy ones that may have it, in percent.
const HEALTHY_PERCENT: usize = 20;
/// How many labels are named that say the same.
const MOST_NAMED: usize = 3;

/// Objects with the same labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alike {
    /// The labels.
    pub labels: Arc<Labels>,
    /// How many of them are sick.
    pub sick: usize,
    /// How many of them are healthy.
    pub healthy: usize,
}

/// The objects of a signal by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Those that exist.
    pub present: Vec<Alike>,
    /// The labels of those that were seen and are gone, the newest first.
    pub gone: Vec<Arc<Labels>>,
}

/// What a comparison of the sick objects with the healthy ones has found. The later one tells more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Compared {
    /// Too few are sick, or no healthy one is there to compare them with.
    TooFew,
    /// They have nothing in common that the healthy ones do not have.
    Nothing,
    /// Too few of their labels are known.
    Unclear {
        /// For people.
        text: String,
    },
    /// They have this in common.
    Shared {
        /// The labels, as `key=value`.
        labels: Vec<String>,
        /// For people.
        text: String,
    },
}

/// How many objects have a label.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Having {
    sick: usize,
    healthy: usize,
}

/// What the sick ones have in common, if `missing` of the expected objects are gone.
pub fn compare(noun: &str, census: &Census, missing: usize) -> Compared {
    let gone = census.gone.iter().take(missing).map(|labels| Alike {
        labels: Arc::clone(labels),
        sick: 1,
        healthy: 0,
    });
    let unknown = missing.saturating_sub(census.gone.len());
    let all: Vec<Alike> = census.present.iter().cloned().chain(gone).collect();
    let sick = unknown + all.iter().map(|alike| alike.sick).sum::<usize>();
    let healthy: usize = all.iter().map(|alike| alike.healthy).sum();
    if sick < FEWEST || healthy == 0 {
        return Compared::TooFew;
    }
    let not_known = format!("the labels of {unknown} of {sick} sick {noun} are not known");
    let Some((having, labels)) = most_telling(&all, sick, healthy) else {
        return if unknown > 0 { Compared::Unclear { text: not_known } } else { Compared::Nothing };
    };
    let doubt = if unknown > 0 { format!("; {not_known}") } else { String::new() };
    let named = labels.join(" and ");
    let text = format!(
        "{} of {sick} sick {noun} share {named}, {} of {healthy} healthy do{doubt}",
        having.sick, having.healthy
    );
    Compared::Shared { labels, text }
}

/// The label that tells the sick ones from the healthy ones best, with those that say the same.
fn most_telling(all: &[Alike], sick: usize, healthy: usize) -> Option<(Having, Vec<String>)> {
    let mut having: BTreeMap<(&str, &str), Having> = BTreeMap::new();
    for alike in all {
        for (key, value) in &*alike.labels {
            let found = having.entry((key, value)).or_default();
            found.sick += alike.sick;
            found.healthy += alike.healthy;
        }
    }
    let tells = |found: &Having| {
        found.sick >= FEWEST
            && found.sick * 100 >= SICK_PERCENT * sick
            && found.healthy * 100 <= HEALTHY_PERCENT * healthy
    };
    having.retain(|_, found| tells(found));
    // The difference of the shares, times both totals.
    let best =
        having.values().copied().max_by_key(|found| (found.sick * healthy).abs_diff(found.healthy * sick))?;
    let rank = |key: &str| PLACES.iter().position(|place| *place == key);
    let same: BTreeSet<_> = having
        .into_iter()
        .filter(|(_, found)| *found == best)
        .map(|((key, value), _)| (rank(key), format!("{key}={value}")))
        .collect();
    Some((best, same.into_iter().map(|(_, label)| label).take(MOST_NAMED).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Arc<Labels> {
        Arc::new(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn zone(zone: &str, sick: usize, healthy: usize) -> Alike {
        Alike { labels: labels(&[("topology.kubernetes.io/zone", zone)]), sick, healthy }
    }

    fn text(census: &Census, missing: usize) -> String {
        match compare("nodes", census, missing) {
            Compared::Shared { text, .. } | Compared::Unclear { text } => text,
            other => format!("{other:?}"),
        }
    }

    fn shared(census: &Census, missing: usize) -> Vec<String> {
        match compare("nodes", census, missing) {
            Compared::Shared { labels, .. } => labels,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_zone_that_all_sick_nodes_share_and_no_healthy_one_is_named() {
        let census =
            Census { present: vec![zone("a", 0, 9), zone("b", 6, 0), zone("c", 0, 9)], gone: vec![] };
        assert_eq!(
            text(&census, 0),
            "6 of 6 sick nodes share topology.kubernetes.io/zone=b, 0 of 18 healthy do"
        );
        assert_eq!(shared(&census, 0), ["topology.kubernetes.io/zone=b"]);
    }

    #[test]
    fn what_is_spread_like_the_healthy_ones_has_nothing_in_common() {
        for (present, found) in [
            (vec![zone("a", 3, 9), zone("b", 3, 9)], Compared::Nothing),
            (vec![zone("a", 6, 9)], Compared::Nothing),
            (vec![zone("a", 6, 3), zone("b", 0, 9)], Compared::Nothing),
            (vec![zone("a", 3, 0), zone("b", 2, 0), zone("c", 0, 9)], Compared::Nothing),
            (vec![zone("a", 1, 0), zone("b", 0, 9)], Compared::TooFew),
            (vec![zone("a", 6, 0)], Compared::TooFew),
        ] {
            assert_eq!(
                compare("nodes", &Census { present: present.clone(), gone: vec![] }, 0),
                found,
                "{present:?}"
            );
        }
    }

    #[test]
    fn one_that_is_sick_for_another_reason_hides_nothing() {
        let census = Census { present: vec![zone("a", 1, 9), zone("b", 7, 1)], gone: vec![] };
        let told = "7 of 8 sick nodes share topology.kubernetes.io/zone=b, 1 of 10 healthy do";
        assert_eq!(text(&census, 0), told);
    }

    #[test]
    fn what_is_gone_counts_as_far_as_it_is_missed_and_is_unknown_as_far_as_nobody_saw_it() {
        let b = || labels(&[("topology.kubernetes.io/zone", "b")]);
        let census = Census { present: vec![zone("a", 0, 9), zone("b", 1, 0)], gone: vec![b(), b(), b()] };
        let told = |missing| text(&census, missing);
        assert_eq!(told(0), "TooFew");
        let share = "sick nodes share topology.kubernetes.io/zone=b, 0 of 9 healthy do";
        assert_eq!(told(2), format!("3 of 3 {share}"));
        assert_eq!(told(3), format!("4 of 4 {share}"));
        let doubt = "the labels of 1 of 5 sick nodes are not known";
        assert_eq!(told(4), format!("4 of 5 {share}; {doubt}"));
        let doubt = "the labels of 5 of 9 sick nodes are not known";
        assert_eq!(told(8), doubt);
    }

    #[test]
    fn labels_that_say_the_same_are_named_together_the_wider_first() {
        let pool = |zone, pool, sick, healthy| Alike {
            labels: labels(&[
                ("karpenter.sh/nodepool", pool),
                ("topology.kubernetes.io/zone", zone),
                ("topology.kubernetes.io/region", "r"),
            ]),
            sick,
            healthy,
        };
        let census = Census { present: vec![pool("a", "x", 0, 4), pool("b", "y", 4, 0)], gone: vec![] };
        assert_eq!(shared(&census, 0), ["topology.kubernetes.io/zone=b", "karpenter.sh/nodepool=y"]);
    }
}
