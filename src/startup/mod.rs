//! From settings to a running operator, and to its graceful shutdown.
//!
//! # Flow
//! Configuration, client, telemetry, lease, events, controller. At SIGTERM or SIGINT, or when a part ends
//! unexpectedly: no new work; work in flight may finish; the last Events; the Lease is released.
//!
//! # Guarantees
//! The Lease is released only after everything that acts has ended. If that takes too long it is left to
//! expire, because a write might still be in progress.

mod shutdown;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use jiff::Timestamp;
use shutdown::{DRAIN, Ends, Parts, Signals};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli;
use crate::configuration::{
    self, Configuration, ConfigurationError, EndpointsInForce, Follower, ProfilesInForce, TemplateInForce,
};
use crate::controller::queue::Queue;
use crate::controller::refusal::Refusal;
use crate::controller::{self, backlog};
use crate::endpoints::Endpoints;
use crate::kubernetes::client::{self, ClusterChoice, ConnectError};
use crate::kubernetes::discovery::Discovery;
use crate::kubernetes::events::Events;
use crate::kubernetes::impersonate::Impersonation;
use crate::kubernetes::lease::{self, Election, Leadership, LeaseTimes};
use crate::receiver::{self, Desk, Listening, RequestCounter};
use crate::settings::{AlertsArgs, Command, ControllerArgs, Settings};
use crate::telemetry::health::{self, Health};
use crate::telemetry::logs;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::process;
use crate::telemetry::traces::counter::{self, SpanCounter};
use crate::telemetry::traces::endpoint::Endpoint;
use crate::telemetry::traces::exporter::{Exporter, exporter};
use crate::telemetry::traces::{TraceChoice, Traces};

/// Does what the settings say, and returns the exit status of the process.
#[must_use]
pub fn run(settings: Settings) -> ExitCode {
    if let Err(error) = logs::start(settings.logs.format, &settings.logs.filter) {
        complain(&error);
        return ExitCode::from(2);
    }
    let (configuration, follower) = match configured(&settings.command) {
        Ok(configuration) => configuration,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match settings.command {
            Command::Controller(args) => {
                match operate(&settings.cluster, args, configuration, follower).await {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(failure) => {
                        tracing::error!("{failure}");
                        failure.exit_code()
                    }
                }
            }
            Command::Crds(_)
            | Command::Check(_)
            | Command::Test(_)
            | Command::Plan(_)
            | Command::Signals(_)
            | Command::Open(_)
            | Command::Get(_)
            | Command::Describe(_)
            | Command::Watch(_)
            | Command::Approve(_)
            | Command::Settle(_)
            | Command::Expect(_)
            | Command::Ack(_)
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Withdraw(_)
            | Command::Keep(_)
            | Command::Undo(_)
            | Command::Report(_)
            | Command::Brake(_)
            | Command::Support(_)
            | Command::Completion(_) => match cli::run(settings, configuration).await {
                Ok(cli::Answer::Yes) => ExitCode::SUCCESS,
                Ok(cli::Answer::No) => ExitCode::FAILURE,
                Err(error) => {
                    complain(&error);
                    match error {
                        cli::Error::Usage(_) => ExitCode::from(2),
                        cli::Error::Connect(_)
                        | cli::Error::Failed { .. }
                        | cli::Error::Said(_)
                        | cli::Error::Output(_) => ExitCode::FAILURE,
                    }
                }
            },
        }
    })
}

/// One line on stderr, whatever the text of the error.
fn complain(error: &dyn std::error::Error) {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    eprintln!("firebreak: {}", cli::harmless(&lines.join(" ")));
}

/// The configuration in force, and the task that follows its file; an invalid file is a usage error.
fn configured(command: &Command) -> Result<(Configuration, Option<Follower>), ConfigurationError> {
    match command.config() {
        None => Ok((Configuration::built_in()?, None)),
        Some(file) => {
            Follower::start(file.to_owned()).map(|(configuration, follower)| (configuration, Some(follower)))
        }
    }
}

/// One thread, because the work waits for the API server, and waking another thread costs more than it gains (ADR 10).
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Why the operator could not start, or ended unexpectedly.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot listen on {address}: {source}; choose another --listen")]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot listen on {address}: {source}; choose another --alerts-listen")]
    ListenForAlerts { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot register metrics: {0}; this is a bug, please report it")]
    Metrics(#[from] prometheus::Error),
    #[error("cannot listen for signals: {0}")]
    Signals(#[source] io::Error),
    #[error("{0} ended unexpectedly; see the log")]
    Part(&'static str),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("work in flight did not finish within {} s; leaving the lease to expire", DRAIN.as_secs())]
    NotDrained,
    #[error("stopped at once by a second signal; leaving the lease to expire")]
    SecondSignal,
}

impl Failure {
    /// Its own for what no restart mends, so that it can be told from a crash in the status of the Pod.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Refused(_) => ExitCode::from(3),
            Self::Connect(_)
            | Self::Listen { .. }
            | Self::ListenForAlerts { .. }
            | Self::Metrics(_)
            | Self::Signals(_)
            | Self::Part(_)
            | Self::NotDrained
            | Self::SecondSignal => ExitCode::FAILURE,
        }
    }
}

async fn operate(
    cluster: &ClusterChoice,
    args: ControllerArgs,
    configuration: Configuration,
    follower: Option<Follower>,
) -> Result<(), Failure> {
    // First, so that a signal during startup is not lost.
    let mut signals = Signals::install().map_err(Failure::Signals)?;
    let metrics = Arc::new(Metrics::new()?);
    let client = client::connect(cluster, Arc::clone(&metrics)).await?;
    let ends = Ends::default();

    let (election, leadership) = if args.no_leader_election {
        (None, Leadership::without_election())
    } else {
        let times = LeaseTimes::lasting(args.lease_duration);
        let (election, leadership) =
            Election::new(client.clone(), &args.namespace, lease::NAME, args.identity.clone(), times);
        (Some(election), leadership)
    };
    let health = Health::new(leadership.clone());
    let queue = Arc::new(Queue::default());
    health.show(&metrics)?;
    process::show(&metrics, Timestamp::now())?;
    backlog::show(&metrics, Arc::clone(&queue), leadership.clone())?;
    let served = health::serve(args.listen, Arc::clone(&metrics), health.clone(), ends.server.clone());
    let (_, server) = served.await.map_err(|source| Failure::Listen { address: args.listen, source })?;
    let (desk, deliveries) = receiver::channel();
    let desk = Desk::new(client.clone(), leadership.clone(), RequestCounter::show(&metrics)?, desk);
    let receiver = receiver(&args.alerts, desk, ends.work.clone())?;
    let (events, writer) = Events::new(client.clone(), args.identity.clone());
    let (traces, exporter) = traces(args.traces, &metrics).await?.unzip();

    let server = tokio::spawn(server);
    let writer = tokio::spawn(writer.run(ends.events.clone()));
    let exporter = exporter.map(|exporter| exporter.start(ends.events.clone()));
    let shown = tokio::spawn(show_leadership(leadership.clone(), Arc::clone(&metrics)));
    let stop = ends.election.clone();
    let surveyed = CancellationToken::new();
    let seen = surveyed.clone();
    let election = tokio::spawn(async move {
        let Some(election) = election else { return stop.cancelled().await };
        if stop.run_until_cancelled(seen.cancelled()).await.is_some() {
            election.run(stop).await;
        }
    });
    let (profiles_moved, profiles) = ProfilesInForce::new(configuration.profiles);
    let (report_moved, report) = TemplateInForce::new(configuration.report);
    let endpoints = Endpoints::of(configuration.endpoints, &Endpoints::default());
    let (endpoints_moved, endpoints) = EndpointsInForce::new(endpoints);
    let parts =
        configuration::Parts { profiles: profiles_moved, endpoints: endpoints_moved, report: report_moved };
    let following = follower.map(|follower| tokio::spawn(follower.run(parts, Arc::clone(&metrics))));
    let tasks = TaskTracker::new();
    let context = controller::Context {
        impersonation: Impersonation::new(client.clone()),
        discovery: Discovery::new(client.clone()),
        profiles,
        endpoints,
        report,
        client,
        events,
        leadership,
        health,
        metrics,
        traces: traces.unwrap_or_default(),
        identity: args.identity,
        namespace: args.namespace,
        watch_namespaces: args.watch_namespaces,
        stop: ends.work.clone(),
        refusal: Arc::default(),
        surveyed,
        tasks: tasks.clone(),
    };
    let controller = tokio::spawn(controller::run(context, queue, deliveries));
    let parts = Parts { controller, tasks, receiver, election, writer, exporter, server, ends };
    let result = parts.supervise(&mut signals).await;
    shown.abort();
    following.iter().for_each(JoinHandle::abort);
    result
}

/// The task that receives alerts until `stop`; without an address it receives none.
fn receiver(args: &AlertsArgs, desk: Desk, stop: CancellationToken) -> Result<JoinHandle<()>, Failure> {
    let Some(address) = args.listen else { return Ok(tokio::spawn(stop.cancelled_owned())) };
    let listening = Listening::bind(address, args.tls())
        .map_err(|source| Failure::ListenForAlerts { address, source })?;
    Ok(tokio::spawn(listening.serve(Arc::new(desk), stop)))
}

/// Takes note of ended parts of responses, and the task that sends them; none if no endpoint is set, or if it cannot be
/// used. That is no reason not to start: responses do not need traces.
async fn traces(
    choice: TraceChoice,
    metrics: &Metrics,
) -> Result<Option<(Traces, Exporter)>, prometheus::Error> {
    let counter = SpanCounter::show(metrics)?;
    let enabled = counter::show_enabled(metrics)?;
    let settings = match choice {
        TraceChoice::Off => return Ok(None),
        TraceChoice::Wrong(why) => return Ok(without_traces(&why)),
        TraceChoice::To(settings) => settings,
    };
    let (resource, doubts) = (settings.resource.clone(), settings.doubts.clone());
    let endpoint = match Endpoint::new(*settings).await {
        Ok(endpoint) => endpoint,
        Err(error) => return Ok(without_traces(&error.to_string())),
    };
    doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
    enabled.set(1);
    let (queue, exporter) = exporter(endpoint, resource, counter);
    Ok(Some((Traces::to(queue), exporter)))
}

fn without_traces(why: &str) -> Option<(Traces, Exporter)> {
    tracing::warn!(why, "no traces are sent; responses do not need them");
    None
}

/// Mirrors the leadership into its metric.
async fn show_leadership(mut leadership: Leadership, metrics: Arc<Metrics>) {
    loop {
        metrics.leading(lease::NAME, leadership.leads());
        leadership.changed().await;
    }
}
