//! Decides what Firebreak does, and never acts: no Kubernetes client, no
//! network, no clock.
//!
//! Watches fold into readings ([`facts`]). `detect` opens an Incident.
//! `decide` turns facts into changes. A change is recorded before it is
//! performed, and the object itself remembers how to undo it (`undo`).

pub mod change;
pub mod expression;
pub mod facts;
pub mod id;
pub mod incident;
pub mod path;
pub mod period;
pub mod policy;
pub mod value;
pub mod verdict;
