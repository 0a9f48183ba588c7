//! Firebreak, an operator for emergencies of ML serving.

pub mod api;
pub mod report;
