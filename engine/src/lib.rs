//! Decides what Firebreak does, and never acts.
