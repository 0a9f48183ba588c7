//! Firebreak, an operator for emergencies of ML serving.
