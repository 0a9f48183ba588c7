//! Tests against a real control plane, with the real binary and its own rights.
//!
//! All tests share one control plane and run side by side; what each test has for itself
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
//! # Catalogue
//!
//! Claims about the whole, each tried against everything that could break it:
//!
//! - S1 `s1_gpu_loss`: GPU nodes are lost, workloads fall back to CPU, and everything is reverted exactly afterwards.
//! - S2 `s2_drift`: a value that someone else writes in the meantime is theirs, and everything else is reverted.
//! - S3 `s3_autoscaler`: limits of autoscalers are raised once, and reverted when no autoscaler needs them any more.
//! - S4 `s4_scheduler`: the scheduler of the training jobs fails, and their pods get another one.
//! - S5 `s5_crash`: the operator may be killed at any moment, or run twice: the end is the same.
//! - S6 `s6_answers`: an answer may be bad, late or lost: no second effect, and no undo is lost.
//! - S7 `s7_reach`: a policy reaches what its ServiceAccount may reach and what it names: no less and no more.
//! - S8 `s8_unknown`: a signal that cannot be read is Unknown: nothing opens and nothing closes because of it.
//! - S9 `s9_relapse`: an emergency that returns during the withdrawal is answered again, at most one wave at risk.
//! - S10 `s10_fates`: every decision of a person and every fate of a policy, in every phase.
//! - S10 `s10_namespace`: the namespace of a response is deleted in the middle.
//! - S10 `s10_uninstall`: the operator is uninstalled in the wrong order.
//! - S11 `s11_plan`: Observe and `plan` change nothing, and say what Enforce does.
//! - S12 `s12_malformed`: malformed input costs one condition or reason, and nothing else.
//! - S13 `s13_undo`: an object is reverted from its own record, without operator and Incident.
//! - S14 `s14_steady`: a steady state writes nothing.
//! - S15 `s15_rights`: the operator can do what `deploy/` grants, and nothing more.
//! - S16 `s16_every_action`: every action on every kind changes the right fields, or names why it changes none.
//! - S17 `s17_examples`: each shipped example does what the commands of its runbook intend.
//! - S18 `s18_kind_behavior`: what controllers of kinds do with a write: copy it to pods, overwrite it, roll it back.
//! - S19 `s19_guardrails`: guardrails hold while two operators are killed at any moment.
//! - S20 `s20_decisions`: nobody decides in the name of another person, and only those with the permission approve.
//! - S21 `s21_brake`: a pause and the brake stop a step in the middle.
//! - S22 `s22_command_line`: every verb against everything that can be wrong, also on a terminal.
//! - S23 `s23_newcomer`: the quick start works, typed as it is written.
//! - S24 `s24_endpoints`: signals that ask an endpoint are Unknown without a plain answer, and harm nothing else.
//! - S25 `s25_alerts`: an alert that is sent opens an Incident within a second, and nothing but its end resolves it.
//!
//! One part each:
//!
//! - `admission`: what admission stores in place of the value that was sent.
//! - `argo_cd`: which objects Argo CD applies, and what their Applications lack, before there is an emergency.
//! - `claims`: at most one open Incident acts for a policy.
//! - `cli`: the verbs, each in an emergency that goes well.
//! - `examples`: the API server accepts every shipped example, and its permissions suffice.
//! - `events`: Events that the scheduler writes open an Incident for as long as they count, and a restart changes no number.
//! - `expected`: how many nodes are expected when some are deleted, when a pool grows, and when a person says so.
//! - `flow_control`: every request of a response is served from the share of the API server that the chart keeps.
//! - `formats`: an operator does not lead over what a newer release has stored.
//! - `hints`: what is missing or misspelled is named, with what to do.
//! - `loans`: how a loan is held, handed on, shared and ended.
//! - `membership`: which objects a step changes, including those that join late.
//! - `memory_limit`: many Incidents and large objects stay within the memory limit of the chart.
//! - `observe`: mode Observe publishes a plan and changes nothing; the mode may change meanwhile.
//! - `opened_by_hand`: Incidents that people open for a policy.
//! - `owners_and_autoscalers`: objects that a step reaches through others.
//! - `placement`: what stays of a placement, and what cannot be known of it.
//! - `pods`: pods that find no node, crash and are killed, and what of it is known after a restart of the operator.
//! - `policy_recreated`: the policy is deleted and created again while its Incident is open.
//! - `policy_unavailable`: the policy becomes unusable while its Incident is open.
//! - `report_template`: the report has the form that the configuration gives it.
//! - `restarts`: each workload rolls once, whatever happens to the answer, and nothing restarts it again.
//! - `retention`: closed Incidents are kept for a while and then deleted.
//! - `room`: new pods that do not start: room is made, or whoever knows why is quoted.
//! - `running`: the process: health, metrics, logs, Events, its graceful shutdown.
//! - `schema`: what the API server rejects and prints by the shipped definitions.
//! - `steps`: the ladder: steps that fail, do not help, or find objects of others.
//! - `support_archive`: what an archive for others contains, and what it never contains.
//! - `traces`: one Incident is one trace, whoever leads meanwhile.
//! - `upgrade`: what the previous release has stored is read, continued and reverted.
//! - `withdrawal`: a person ends a response, and the same rule does not start it again.
//! - `without_a_policy`: Incidents that people open and that name no policy.
//!
//! They depend on: `drill` is an emergency that a test starts and ends, `harness` tests the harness.
//!
//! `FIREBREAK_TESTBED` names a built testbed; without it `testbed/build.sh` is asked.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod argo_cd;
mod claims;
mod cli;
mod drill;
mod events;
mod examples;
mod expected;
mod flow_control;
mod formats;
mod harness;
mod hints;
mod loans;
mod membership;
mod memory_limit;
mod observe;
mod opened_by_hand;
mod owners_and_autoscalers;
mod placement;
mod pods;
mod policy_recreated;
mod policy_unavailable;
mod report_template;
mod restarts;
mod retention;
mod room;
mod running;
mod s10_fates;
mod s10_namespace;
mod s10_uninstall;
mod s11_plan;
mod s12_malformed;
mod s13_undo;
mod s14_steady;
mod s15_rights;
mod s16_every_action;
mod s17_examples;
mod s18_kind_behavior;
mod s19_guardrails;
mod s1_gpu_loss;
mod s20_decisions;
mod s21_brake;
mod s22_command_line;
mod s23_newcomer;
mod s24_endpoints;
mod s25_alerts;
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
mod support_archive;
mod traces;
mod upgrade;
mod withdrawal;
mod without_a_policy;
