//! Proves `decide`: against stories, against faults, and against its own mutants.

mod approvals;
mod faults;
mod journal;
mod mutants;
mod stories;
mod upgrade;
mod workload;
