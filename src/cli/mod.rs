//! The client verbs, one file per verb.
//!
//! A verb acts as the user of the kubeconfig and has no rules of its own: it evaluates rules, makes plans and
//! reverts objects with the same code as the operator. The result of a verb goes to standard output;
//! errors and explanations go to standard error.

mod ack;
mod approve;
mod brake;
mod check;
mod completion;
mod connection;
mod crds;
mod decision;
mod describe;
mod error;
mod expect;
mod follow;
mod get;
mod open;
mod operator;
mod plan;
mod readings;
mod report;
mod respond;
mod screen;
mod settle;
mod signals;
mod support;
mod test;
mod time;
mod tree;
mod undo;
mod watch;

pub use error::Error;
pub use screen::harmless;

use self::connection::Connection;
use self::screen::Screen;
use crate::api::Response;
use crate::configuration::Configuration;
use crate::endpoints::{EndpointSpec, Endpoints};
use crate::kubernetes::client::ClusterChoice;
use crate::settings::{Command, ConfigArgs, IncidentArgs, Settings};

/// The result of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Exit 0.
    Yes,
    /// The answer is no, and was printed; exit 1.
    No,
}

/// Runs a verb other than `controller`, with this configuration.
///
/// # Errors
/// When the work failed.
pub async fn run(settings: Settings, configuration: Configuration) -> Result<Answer, Error> {
    let Settings { cluster, logs: _, plain, command } = settings;
    let Configuration { profiles, endpoints, report } = configuration;
    let screen = Screen::new(plain);
    let open = async |operator_namespace: &str| {
        Connection::open(&cluster).await.map(|connection| connection.to(operator_namespace))
    };
    match command {
        Command::Controller(_) => Err(Error::failed(
            "`controller` is no client verb",
            "the binary runs it directly",
            "this is a bug, please report it",
        )),
        Command::Crds(args) => crds::run(&screen, &args),
        Command::Check(args) => {
            let endpoints = given(&args.config, endpoints);
            check::run(&screen, &cluster, &args, profiles, endpoints).await
        }
        Command::Test(args) => test::run(&screen, &args, profiles),
        Command::Plan(args) => {
            let endpoints = given(&args.config, endpoints);
            plan::run(&screen, &cluster, &args, profiles, endpoints).await
        }
        Command::Signals(args) => {
            let endpoints = given(&args.config, endpoints);
            signals::run(&screen, &open(&args.operator.operator_namespace).await?, &args, profiles, endpoints)
                .await
        }
        Command::Open(args) => {
            open::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Get(args) => get::run(&screen, &Connection::open(&cluster).await?, &args).await,
        Command::Describe(args) => {
            describe::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Watch(args) => {
            watch::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Approve(args) => {
            approve::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Settle(args) => {
            settle::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Expect(args) => {
            expect::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Ack(args) => ack::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await,
        Command::Pause(args) => respond(&screen, &cluster, &args, Response::Paused).await,
        Command::Resume(args) => respond(&screen, &cluster, &args, Response::Active).await,
        Command::Withdraw(args) => respond(&screen, &cluster, &args, Response::Withdrawn).await,
        Command::Keep(args) => respond(&screen, &cluster, &args, Response::Kept).await,
        Command::Undo(args) => undo::run(&screen, &Connection::open(&cluster).await?, &args).await,
        Command::Report(args) => {
            report::run(&screen, &Connection::open(&cluster).await?, &args, &report).await
        }
        Command::Brake(args) => brake::run(&screen, &open(&args.namespace).await?, &args).await,
        Command::Support(args) => {
            support::run(&screen, &open(&args.operator.operator_namespace).await?, &args).await
        }
        Command::Completion(args) => completion::run(&screen, args),
    }
}

/// The endpoints of the operator's configuration; none if it was not given.
fn given(config: &ConfigArgs, endpoints: Vec<EndpointSpec>) -> Option<Endpoints> {
    config.config.is_some().then(|| Endpoints::of(endpoints, &Endpoints::default()))
}

async fn respond(
    screen: &Screen,
    cluster: &ClusterChoice,
    args: &IncidentArgs,
    wanted: Response,
) -> Result<Answer, Error> {
    respond::run(
        screen,
        &Connection::open(cluster).await?.to(&args.operator.operator_namespace),
        args,
        wanted,
    )
    .await
}
