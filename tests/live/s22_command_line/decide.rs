//! A person's round trip with a real operator.
