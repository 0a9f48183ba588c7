//! Tests of the harness that the other tests depend on.

mod cluster;
mod faults;
mod watches;
