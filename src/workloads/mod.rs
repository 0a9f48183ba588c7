//! Where each kind has the fields that an emergency changes, and how it shows that it is healthy.
//!
//! A kind is described by data, its [`Profile`]; the code here applies a
//! profile to one object that was read. Pure: no client, no clock, no writes.
//! What is done with the fields is decided in the engine.

mod borrowed;
mod health;
mod idle;
#[cfg(test)]
mod kinds;
mod ordered;
mod owner;
mod pods;
mod profile;
mod rollout;
mod slots;
mod target;

pub use borrowed::{borrows, may_be_borrowed, runner, speak_for};
pub use health::healthy;
pub use idle::{idle, is_lost, rollout_paused};
pub use ordered::Template;
pub use owner::{Owner, controlling_owner};
pub use pods::{Selection, Trouble, is_controlled_by, quote, refused};
pub use profile::{
    EventsOf, Limit, OrderedPods, PodsOf, Profile, ProfileError, Profiles, ReadyAbsent, Replicas,
};
pub use rollout::rollout;
pub use slots::slots;
pub use target::{identify, is_exempt, target};
