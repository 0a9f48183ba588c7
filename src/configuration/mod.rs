//! The operator's configuration: a file that is read at start and whenever it changes.
//!
//! It has the endpoints that signals may ask, workload profiles, so that Firebreak supports a kind without a new build, and
//! the template of reports. An invalid file is rejected as a whole, with the line of the fault; the previous
//! configuration stays in force.

mod file;
mod follow;
mod in_force;

pub use file::{Configuration, ConfigurationError};
pub use follow::{Follower, Parts};
pub use in_force::{EndpointsInForce, InForce, ProfilesInForce, TemplateInForce};
