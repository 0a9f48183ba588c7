//! The kinds of signals that are counted from objects, a file for each.

mod events;
mod nodes;
mod objects;
mod pods;
#[cfg(test)]
mod tests;
mod workloads;

pub(super) use self::events::Events;
pub(super) use self::nodes::Nodes;
pub(super) use self::objects::Objects;
pub(super) use self::pods::Pods;
pub(super) use self::workloads::Workloads;
