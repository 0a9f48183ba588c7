//! Whether a node without accelerators matches what stays of the placement of an object.

use super::Placement;
use crate::facts::Target;
use crate::placement::{Constraints, Nodes, Room};

/// What a node must satisfy during the fallback, for each kind of pods that is bound to some nodes.
fn constraints(target: &Target, placement: Placement) -> impl Iterator<Item = &Constraints> {
    let all = target.slots.places.iter().map(move |place| match placement {
        Placement::Release => &place.released,
        Placement::Keep => &place.kept,
    });
    all.filter(|constraints| !constraints.is_empty())
}

/// Whether the nodes of the cluster matter to the object.
pub(super) fn matter(target: &Target, placement: Placement) -> bool {
    constraints(target, placement).next().is_some()
}

/// What binds the pods to nodes with accelerators although the placement is released, for people; none if nothing does, or
/// if it is not known. Nodes that are chosen by what they are, are all alike: the pods have run there with accelerators.
pub(super) fn pin(target: &Target) -> Option<String> {
    let nodes = match &target.nodes {
        Nodes::Known(nodes) => nodes,
        Nodes::Unknown(_) | Nodes::NotAsked => {
            return constraints(target, Placement::Release).find_map(|stays| {
                let kind = stays.kind_of_node()?;
                Some(format!(
                    "{kind} stays and chooses nodes of one kind, on which it has run with accelerators; the nodes of the \
                     cluster are not known"
                ))
            });
        }
    };
    constraints(target, Placement::Release).find_map(|stays| {
        let room = stays.room(nodes);
        match room {
            Room { matching: 0, .. } => Some(format!("{stays} stays, and no node matches it")),
            // What every node satisfies binds nothing to a part of them.
            Room { matching, all, .. } if matching == all => None,
            Room { without_accelerators: 0, matching, .. } => Some(format!(
                "{stays} stays, and only nodes with accelerators match it ({matching} of {})",
                room.all
            )),
            Room { .. } => None,
        }
    })
}

/// What people must know about where the pods may run.
pub(super) fn doubts(target: &Target, placement: Placement) -> Vec<String> {
    constraints(target, placement).filter_map(|stays| doubt(target, placement, stays)).collect()
}

fn doubt(target: &Target, placement: Placement, stays: &Constraints) -> Option<String> {
    let nodes = match (&target.nodes, placement) {
        (Nodes::Known(nodes), _) => nodes,
        (Nodes::Unknown(why), Placement::Release) => {
            return Some(format!(
                "{stays} stays, and it is not known whether a node without accelerators matches it: {why}"
            ));
        }
        // What is kept is kept on purpose.
        (Nodes::Unknown(_), Placement::Keep) | (Nodes::NotAsked, _) => return None,
    };
    let room = stays.room(nodes);
    match placement {
        Placement::Keep => (room.matching == 0).then(|| {
            format!(
                "placement is Keep, and no node matches {stays}: its pods wait until one does; with Release, they could \
                 run elsewhere"
            )
        }),
        Placement::Release => (room.matching < room.all).then(|| {
            format!(
                "{stays} stays: {} of {} nodes match it and have no accelerators; their taints, readiness and free room \
                 are not checked",
                room.without_accelerators, room.all
            )
        }),
    }
}
