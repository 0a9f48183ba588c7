//! Tests of what the other tests stand on.

mod cluster;
mod faults;
mod watches;
