//! Firebreak's one binary.
fn main() {}
