//! The operator's configuration: a file that is read at start and whenever it changes.
//!
//! It has workload profiles, so that Firebreak knows a kind without being built again, and the template of
//! reports. A file that is wrong is refused as a whole, with the line; what
//! was in force before stays in force.

mod file;
mod follow;
mod in_force;

pub use file::{Configuration, ConfigurationError};
pub use follow::Follower;
pub use in_force::{InForce, ProfilesInForce, TemplateInForce};
