//! Tests with an earlier release of Firebreak: its binary on its definitions, on a real control plane.
//!
//! `make test-versions` runs them. `tests/live/upgrade` shows the same from what that release has stored, one response at a
//! time and in more detail. Here it runs itself, so what it does while and after this release leads is seen, too.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, unused_imports, reason = "a library for tests, of which these use a part")]
#[path = "../live/drill/mod.rs"]
mod drill;

#[path = "../live/upgrade/scenes.rs"]
mod scenes;

mod alternation;
mod definitions;
mod release;
mod upgrade;
