//! The connection to a cluster: clients, identities, the lease, events, discovery.
//!
//! Nothing here knows policies or incidents. Reading for a decision is `observe`, writing to targets
//! is `actuator`; both use the clients made here.

pub mod access;
pub mod built_in;
pub mod client;
pub mod discovery;
pub mod events;
pub mod guarded;
pub mod impersonate;
pub mod kinds;
pub mod lease;
mod metered;
pub mod names;
pub mod own_kinds;
pub mod retry;
