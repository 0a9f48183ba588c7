//! Proves `decide` and `decide_policy`: against stories, against faults, and against its own mutants.

mod approvals;
mod claims;
mod dice;
mod expected;
mod faults;
mod journal;
mod mutants;
mod reasons;
mod stories;
mod upgrade;
mod workload;
