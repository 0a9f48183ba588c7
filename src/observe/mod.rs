//! The readings of the signals: watches that are folded into readings, and questions that are asked at intervals.
//!
//! # Flow
//! Policies subscribe their signals at the [`Hub`]. Each signal is read by one watch or, if it names several
//! namespaces, by one per namespace. Policies that read the same as the same ServiceAccount share a watch.
//! A watch lists, follows, and keeps a small digest of each object (`fold`), from which a reading is counted.
//! Subscribers are notified when a reading changes. Signals of other systems are asked at intervals ([`poll`]),
//! and alerts that are sent to a policy are handed over with [`Hub::hear`].
//!
//! # Guarantees
//! What was not seen is Unknown, never a number: before the first list, when the API server rejects the request,
//! and when no watch was answered for two minutes. A scope that cannot be listed whole is Unknown, never narrowed. An
//! object that cannot be read affects only itself. Heartbeats end in the fold. A watch that fails backs off
//! alone and reconnects.
//!
//! # Caveats
//! Objects are not kept, so two signals that judge the same objects by
//! different expressions have two watches.

mod counts;
mod doubt;
mod elements;
mod failure;
mod fold;
mod hub;
mod kind;
mod kinds;
mod list;
mod poll;
mod push;
mod resolve;
mod selector;
mod source;
mod sync_state;
mod watch;
mod window;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use doubt::Doubts;
pub use hub::{Changes, ErrorCounter, Hub, PolicyKey};
pub use resolve::hub;
pub use selector::selector_text;
