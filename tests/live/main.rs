//! Tests against a real control plane, with the real binary and its own rights.
//!
//! All tests share one control plane and run side by side; what each has for itself
//! is its `World`. Tests never sleep: they wait for what they want to see. The shape
//! of a test:
//!
//! ```ignore
//! let world = World::new("short-name").await;         // namespaces, ServiceAccount; deleted on drop
//! world.grant(&world.a, &[rule]).await;               // what firebreak-responder may do
//! let nodes = world.gpu_nodes(4).await;               // labelled and tainted for this world alone
//! let _stand_in = world.stand_in();                   // cares for LLMDeployments
//! world.apply("flux", YAML).await;                    // ${a} ${b} ${pool} are filled in
//! let operator = world.operator().start().await;      // the binary behind its proxy
//! operator.proxy.on(Rule::nth(3, Call::is_write, Fault::LoseReply));
//! nodes.fail().await;
//! let incident = world.incident_of(&world.policy("gpu-loss")).await;
//! incident.wait_for_condition("Mitigated", "True").await;
//! ```
//!
//! A test that fails prints the object that it waited for, the Incidents and policies of
//! its world, the operator's last calls and its log.
//!
//! `FIREBREAK_TESTBED` names a built testbed; without it `testbed/build.sh` is asked.

#[path = "../support/mod.rs"]
mod support;

mod claims;
mod cli;
mod drill;
mod examples;
mod harness;
mod loans;
mod membership;
mod observe;
mod opened_by_hand;
mod policy_unavailable;
mod reach;
mod report_template;
mod retention;
mod running;
mod s10_fates;
mod s10_namespace;
mod s10_uninstall;
mod s11_plan;
mod s12_malformed;
mod s13_undo;
mod s14_steady;
mod s15_rights;
mod s16_kinds;
mod s17_examples;
mod s18_kinds;
mod s19_guardrails;
mod s1_gpu_loss;
mod s20_decisions;
mod s21_brake;
mod s22_command_line;
mod s23_newcomer;
mod s2_drift;
mod s3_autoscaler;
mod s4_scheduler;
mod s5_crash;
mod s6_answers;
mod s7_reach;
mod s8_unknown;
mod s9_relapse;
mod schema;
mod steps;
mod withdrawal;
mod without_a_policy;
