//! Tests with what takes minutes to build, run by `make test-real`: the real operators and tools of others, a file for
//! each of them, and the image.
//!
//! `make test` has stand-ins for these operators, because a real one takes minutes to build. Here it is shown that
//! the real one and Firebreak get along, and so that the stand-in does what matters. The tests are written like those
//! of `tests/live`; [`server`] starts the operator of a test.
//!
//! To add one: a line in `testbed/build.sh` and in the `Makefile`, and a file here. It never skips: an operator that
//! is not built fails its tests.

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code, unused_imports, reason = "a library for tests, of which these use a part")]
#[path = "../live/drill/mod.rs"]
mod drill;

#[path = "../../olm/bundle.rs"]
mod bundle;

mod alertmanager;
mod chart;
mod image;
mod keda;
mod metrics;
mod prometheus;
mod release;
mod server;
mod site;
mod survival;
