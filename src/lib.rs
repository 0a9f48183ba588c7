//! Firebreak, an operator for emergencies of ML serving: emergency changes are loans.
//!
//! # Map
//! - [`settings`] reads flags and environment; nothing else does.
//! - [`configuration`] reads the operator's configuration file, and again when it changes.
//! - [`startup`] turns settings into a running operator, or a client verb.
//! - [`api`] has the kinds that users write and read.
//! - [`observe`] folds watches into readings, and asks what is not in the cluster.
//! - [`endpoints`] has what it asks, with credentials; [`outbound`] sends the requests.
//! - [`look`] performs the live reads that a decision requests.
//! - [`acceptance`] says whether a policy can be used, and which permissions its ServiceAccount needs.
//! - [`workloads`] knows where each kind has the fields that an emergency changes.
//! - [`controller`] holds the two loops: policies open Incidents, Incidents respond.
//! - [`actuator`] reads targets live and writes to them.
//! - [`view`] is an Incident as people see it, as plain data.
//! - [`receiver`] takes alerts that Alertmanager sends.
//! - [`report`] turns that into Markdown.
//! - [`kubernetes`] connects to a cluster: clients, identities, lease, events, kinds.
//! - [`telemetry`] reports what the process does: logs, metrics, health.
//! - [`cli`] holds the client verbs.
//!
//! What to do is decided in the crate `firebreak_engine`, which knows no cluster and no clock.
//!
//! # Walls
//! Only `settings` reads flags and environment. Only `actuator` writes to targets, and only after it
//! asked [`kubernetes::lease::Leadership::leads`]. Only `record` writes a status. Every object of a
//! tenant is read and written with a client of [`kubernetes::impersonate`].

pub mod acceptance;
pub mod actuator;
pub mod api;
pub mod cli;
pub mod configuration;
pub mod controller;
pub mod endpoints;
pub mod kubernetes;
pub mod look;
pub mod observe;
pub mod outbound;
pub mod receiver;
pub mod report;
pub mod settings;
pub mod startup;
pub mod telemetry;
pub mod view;
pub mod workloads;
