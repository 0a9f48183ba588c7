//! The parts of live tests: a cluster, a world for each test, operators behind
//! proxies that record and inject faults, nodes that fail, and an owner of models.
#![allow(dead_code, reason = "a library for tests, of which each uses a part")]

pub mod admission;
pub mod alertmanager;
pub mod cgroup;
pub mod collector;
pub mod definition;
pub mod endpoint;
pub mod examples;
pub mod flow_control;
pub mod guardian;
pub mod install;
pub mod keda;
pub mod lines;
pub mod manifest;
pub mod nodes;
pub mod object;
pub mod operator;
mod process;
pub mod proxy;
pub mod rights;
pub mod shell;
pub mod standin;
mod story;
pub mod testbed;
pub mod tools;
pub mod world;
