//! `make demo`: GPU nodes die, models fall back to CPU, the nodes come back, and
//! all values are reverted exactly.
//!
//! It is also a check: if anything does not happen as told, the exit status is 1.

mod cluster;
mod follow;
#[path = "../tests/support/guardian.rs"]
mod guardian;
mod line;
mod models;
mod narrator;
mod recording;
#[path = "../tests/support/standin.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod standin;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use firebreak_engine::phase::Phase;
use tokio::signal::unix::{SignalKind, signal};

use self::cluster::Cluster;
use self::follow::Follower;
use self::narrator::Narrator;

/// What went wrong, for a person.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The path of the policy in `examples/llm-d`.
const NAMESPACE: &str = "llm-serving";

/// Far longer than any part of the demo takes on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows Firebreak at work on its own control plane.
#[derive(Parser)]
struct Flags {
    /// The directory that testbed/build.sh printed.
    #[arg(long)]
    testbed: PathBuf,
    /// Leave everything up at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Write docs/demo.svg, the recording in the README. Otherwise that must be a recording of this demo.
    #[arg(long)]
    record: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let tell = Narrator::new();
    match run(&flags, &tell).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell.failure(&why.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo, and removes everything, however it ends.
async fn run(flags: &Flags, tell: &Narrator) -> Result<()> {
    let mut cluster = Cluster::new(&flags.testbed)?;
    let told = tokio::select! {
        told = story(&mut cluster, tell) => told,
        () = interrupted() => return Err("interrupted".into()),
    };
    if told.is_err() {
        tell.log(&cluster.operator_log());
    }
    let told = told.and_then(|()| {
        let told = tell.told();
        if flags.record { recording::write(&told) } else { recording::check(&told) }
    });
    if flags.keep && cluster.is_up() {
        tell.text(&cluster.how_to_look_around());
        interrupted().await;
    }
    told
}

/// Returns at Ctrl-C or another signal to stop.
async fn interrupted() {
    let hear = |kind| signal(kind).expect("signals can be heard");
    let mut interrupt = hear(SignalKind::interrupt());
    let mut terminate = hear(SignalKind::terminate());
    let mut hangup = hear(SignalKind::hangup());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn story(cluster: &mut Cluster, tell: &Narrator) -> Result<()> {
    tell.title("Firebreak: GPU nodes die, models fall back to CPU, everything is reverted");
    tell.text("Real: Kubernetes (etcd, API server, controllers, scheduler) and Firebreak.");
    tell.text("Simulated: nodes and pods. A stand-in: the operator that makes pods of LLMDeployments.");

    tell.chapter("A cluster with Firebreak");
    cluster.start().await?;
    tell.event("started", "a control plane, 3 nodes without GPU, 4 nodes with 8 GPUs each");
    let client = cluster.client().await?;
    cluster.apply("-f", "examples/llm-d/stand-in/crd.yaml").await?;
    cluster.start_stand_in(&client);
    cluster.apply("-k", "deploy/crds").await?;
    cluster.apply("-k", "demo/operator").await?;
    cluster.start_operator().await?;
    tell.event("installed", "Firebreak from deploy/, with the rights of its ServiceAccount and no others");
    cluster.apply("-f", "demo/workloads.yaml").await?;
    let before = models::until_ready(&client).await?;
    tell.event("deployed", "four models in two namespaces, two with the same name");
    cluster.apply("-k", "demo/policy").await?;
    tell.event("applied", "examples/llm-d/gpu-cluster-failure.yaml, with short times from demo/policy");
    let mut firebreak = Follower::new(&client, tell);
    firebreak.until_ready().await?;
    tell.table(&models::table(&client, &before).await?);

    tell.chapter("The GPU nodes die");
    cluster.testbed("nodes-down").await?;
    tell.event("broken", "four machines fall silent; they are given up after 8 s (usually 50 s)");
    firebreak.until_phase(Phase::Monitoring).await?;
    let fallen = models::until_ready(&client).await?;
    tell.event("serving", "on CPU; each changed model carries its own undo record as an annotation");
    tell.table(&models::table(&client, &fallen).await?);
    for (before, fallen) in models::pairs(&before, &fallen)? {
        before.check_fallback(fallen)?;
    }

    tell.chapter("The GPU nodes come back");
    cluster.testbed("nodes-up").await?;
    tell.event("repaired", "four machines answer again");
    firebreak.until_phase(Phase::Resolved).await?;
    let after = models::until_ready(&client).await?;
    tell.event("serving", "on GPUs again");
    tell.table(&models::table(&client, &after).await?);

    tell.chapter("Is everything as it was? Specs, labels, annotations and owners of fields:");
    let mut differences = 0;
    for (before, after) in models::pairs(&before, &after)? {
        let difference = before.difference(after);
        differences += difference.len();
        tell.verdict(&before.name(), &difference);
    }
    if differences > 0 {
        return Err(format!("{differences} fields are not as they were").into());
    }

    tell.chapter("The report that is left for people");
    let report = firebreak.report().await?;
    tell.beginning_of(&report);
    if let Some(missing) = before.iter().find(|model| model.uses_gpu() && !report.contains(&model.name())) {
        return Err(format!("{} is not in the report", missing.name()).into());
    }
    tell.end();
    Ok(())
}
