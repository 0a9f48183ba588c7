//! Tests against a real control plane, with the real binary and its own rights.
//!
//! All tests share one control plane and run side by side; what each has for itself
//! is its `World`. Tests never sleep: they wait for what they want to see.

#[path = "../support/mod.rs"]
mod support;

mod harness;
mod s1_gpu_loss;
