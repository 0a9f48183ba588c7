//! Tests of the harness that the other tests depend on.

mod cgroup;
mod cluster;
mod faults;
mod watches;
