//! The kinds of signals that are counted from objects, a file for each.

mod nodes;
mod objects;
#[cfg(test)]
mod tests;
mod workloads;

pub(super) use self::nodes::Nodes;
pub(super) use self::objects::Objects;
pub(super) use self::workloads::Workloads;
