//! What the process reports about itself: logs, metrics, health, traces.
//!
//! Nothing here decides anything, and nothing here writes to the cluster.

pub mod health;
pub mod logs;
pub mod metrics;
pub mod process;
pub mod traces;
