//! Decides what Firebreak does, and never acts: no Kubernetes client, no
//! network, no clock.
//!
//! Watches are folded into readings ([`facts`]). `decide_policy` opens an Incident.
//! `decide` turns facts into changes. A change is recorded before it is
//! sent, and the changed object carries the record that undoes it (`undo`).

pub mod action;
pub mod alerts;
pub mod change;
pub mod common;
pub mod decide;
pub mod decide_policy;
pub mod effect;
pub mod expected;
pub mod expression;
pub mod facts;
pub mod flag;
pub mod gitops;
pub mod id;
pub mod incident;
pub mod intent;
mod one_of;
pub mod ownership;
pub mod path;
pub mod period;
pub mod phase;
pub mod placement;
pub mod pods;
pub mod policy;
pub mod reason;
pub mod response;
pub mod rules;
pub mod seal;
pub mod selector;
pub mod severity;
pub mod signal;
pub mod spelling;
pub mod story;
pub mod undo;
pub mod value;
pub mod verdict;
pub mod why;
pub mod window;
