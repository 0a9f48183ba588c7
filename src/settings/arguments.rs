//! The arguments of the verbs, as clap reads them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use firebreak_engine::policy::Severity;

use super::alerts::AlertsArgs;
use super::values::{duration, lease_duration, name, namespace, object_name, plan_hash, severity, summary};
use crate::api::SHIPPED_NAMESPACE;
use crate::telemetry::traces::TraceChoice;

/// `--config`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ConfigArgs {
    /// The operator's configuration: workload profiles, and the endpoints that signals ask
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `controller`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ControllerArgs {
    /// Its configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The namespace of the operator, with its lease, brake and configuration
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true, value_name = "NS")]
    #[arg(default_value = SHIPPED_NAMESPACE, value_parser = namespace)]
    pub namespace: String,
    /// Watch policies and incidents only in these namespaces [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NS,…", value_parser = namespace)]
    pub watch_namespaces: Vec<String>,
    /// The address for /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The receiver of alerts.
    #[command(flatten)]
    pub alerts: AlertsArgs,
    /// How long to wait for a silent leader before taking over
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// Run without the lease; only for a single process
    #[arg(long)]
    pub no_leader_election: bool,
    /// The name in the lease: POD_NAME, or a unique name.
    #[arg(skip)]
    pub identity: String,
    /// Whether and where traces are sent, from the variables of OpenTelemetry.
    #[arg(skip)]
    pub traces: TraceChoice,
}

/// `crds`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CrdsArgs {
    /// The namespace of the operator, whose ServiceAccount alone may write the status of incidents and policies
    #[arg(short = 'n', long, value_name = "NS", default_value = SHIPPED_NAMESPACE, value_parser = namespace)]
    pub namespace: String,
}

/// `check`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CheckArgs {
    /// Files to check; - reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Also read the cluster, as you: whether Argo CD would restore what the steps change
    #[arg(long)]
    pub cluster: bool,
    /// The namespace of policies whose file names none [default: the namespace of the context]
    #[arg(short = 'n', long, value_name = "NS", value_parser = namespace, requires = "cluster")]
    pub namespace: Option<String>,
    /// The operator's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `test`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct TestArgs {
    /// Story files, and directories to search recursively
    #[arg(value_name = "DIR", required = true)]
    pub paths: Vec<PathBuf>,
    /// The operator's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `plan`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct PlanArgs {
    #[command(flatten)]
    source: PlanSourceArgs,
    /// The operator's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Args, Clone, Debug, PartialEq)]
#[group(required = true, multiple = false)]
struct PlanSourceArgs {
    /// The policy in the cluster
    #[arg(value_parser = name)]
    policy: Option<String>,
    /// A policy in a file; - reads standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The location of the policy to plan for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanSource<'a> {
    /// In the cluster, under this name.
    Policy(&'a str),
    /// In this file.
    File(&'a std::path::Path),
}

impl PlanArgs {
    /// The location of the policy.
    ///
    /// It is never `None` for a parsed command line, which requires exactly one of the two.
    #[must_use]
    pub fn source(&self) -> Option<PlanSource<'_>> {
        let policy = self.source.policy.as_deref().map(PlanSource::Policy);
        policy.or(self.source.file.as_deref().map(PlanSource::File))
    }
}

/// `signals`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct SignalsArgs {
    /// The policy
    #[arg(value_parser = name)]
    pub policy: String,
    /// Show the values as they change, until you press Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// The operator's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table, conflicts_with = "watch")]
    pub output: Output,
}

/// `get`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct GetArgs {
    /// The incident [default: all]
    #[arg(value_parser = name)]
    pub incident: Option<String>,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "incident"])]
    pub all_namespaces: bool,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// The verbs about one Incident.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct IncidentArgs {
    /// The incident
    #[arg(value_parser = name)]
    pub incident: String,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// `report`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ReportArgs {
    /// The incident
    #[arg(value_parser = name)]
    pub incident: String,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator's configuration, whose template is tried.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `open`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct OpenArgs {
    /// The policy that should respond
    #[arg(value_parser = name)]
    pub policy: String,
    /// Pin the severity, whatever the rules say [default: the rules decide]
    #[arg(long, value_name = "LEVEL", value_parser = severity())]
    pub severity: Option<Severity>,
    /// What you saw, for people
    #[arg(long, value_name = "TEXT", value_parser = summary)]
    pub summary: Option<String>,
    /// Follow the incident until it closes
    #[arg(short, long)]
    pub watch: bool,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
    /// Output format
    #[arg(short, long, value_enum, default_value_t = Output::Table, conflicts_with = "watch")]
    pub output: Output,
}

/// `approve`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ApproveArgs {
    /// The incident
    #[arg(value_parser = name)]
    pub incident: String,
    /// The step
    pub step: String,
    /// Approve only if the plan still has this hash, as `describe` shows it [default: the current plan]
    #[arg(long, value_name = "HASH", value_parser = plan_hash)]
    pub plan_hash: Option<String>,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// `settle`.
#[derive(Args, Clone, Debug, PartialEq)]
#[command(group = ArgGroup::new("outcome").required(true))]
pub struct SettleArgs {
    /// The incident
    #[arg(value_parser = name)]
    pub incident: String,
    /// The change, by its id
    pub change: String,
    /// The operation took effect
    #[arg(long, group = "outcome")]
    pub happened: bool,
    /// The operation did not take effect
    #[arg(long, group = "outcome")]
    pub did_not_happen: bool,
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// `expect`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ExpectArgs {
    /// The policy
    #[arg(value_parser = name)]
    pub policy: String,
    /// Its signal
    pub signal: String,
    /// How many objects
    #[arg(value_parser = clap::value_parser!(i64).range(0..=1_000_000))]
    pub number: i64,
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
}

/// `support`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct SupportArgs {
    /// Only the Incidents, policies and Events of this namespace [default: all that you may list]
    #[arg(short = 'n', long, value_name = "NS", value_parser = namespace)]
    pub namespace: Option<String>,
    /// The operator.
    #[command(flatten)]
    pub operator: OperatorArgs,
    /// The archive to write; must not exist [default: firebreak-support-yyyymmdd-hhmmss.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `brake`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct BrakeArgs {
    /// What to do with the brake.
    #[command(subcommand)]
    pub command: BrakeCommand,
    /// The namespace of the operator
    #[arg(short = 'n', long, global = true, value_name = "NS", value_parser = namespace)]
    #[arg(env = "FIREBREAK_OPERATOR_NAMESPACE", hide_env_values = true, default_value = SHIPPED_NAMESPACE)]
    pub namespace: String,
}

/// What to do with the brake.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum BrakeCommand {
    /// Engage the brake: no response starts another write
    #[command(after_help = "Examples:\n  firebreak brake on\n  firebreak brake on --withdraw-all")]
    On(BrakeOnArgs),
    /// Release the brake: responses continue
    #[command(after_help = "Example:\n  firebreak brake off")]
    Off,
    /// Show whether the brake is engaged, and why
    #[command(after_help = "Example:\n  firebreak brake status")]
    Status,
}

/// `brake on`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct BrakeOnArgs {
    /// Also withdraw every open incident in all namespaces, and wait until all changes are reverted
    #[arg(long)]
    pub withdraw_all: bool,
    /// How long to wait for all incidents to close
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    #[arg(requires = "withdraw_all")]
    pub timeout: Duration,
    /// Withdraw only in these namespaces; use the value of the operator's --watch-namespaces [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NS,…", value_parser = namespace)]
    #[arg(requires = "withdraw_all")]
    pub watch_namespaces: Vec<String>,
}

/// `completion`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// A shell that can complete the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

/// `undo`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct UndoArgs {
    /// The changed object, for example deployment/router or llmdeployments.inference.llm-d.io/chat
    #[arg(value_name = "KIND/NAME", value_parser = object_name)]
    pub object: ObjectName,
    /// Drop the record and keep the current values
    #[arg(long)]
    pub forget: bool,
    /// The namespace.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}

/// `--operator-namespace`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct OperatorArgs {
    /// The namespace of the operator, with its lease and brake
    #[arg(long, env = "FIREBREAK_OPERATOR_NAMESPACE", hide_env_values = true, value_name = "NS")]
    #[arg(default_value = SHIPPED_NAMESPACE, value_parser = namespace)]
    pub operator_namespace: String,
}

/// `-n`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct NamespaceArgs {
    /// The namespace [default: the namespace of the context]
    #[arg(short = 'n', long, value_name = "NS", value_parser = namespace)]
    pub namespace: Option<String>,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns
    Table,
    /// More columns: REASON, ACKNOWLEDGED and MESSAGE; in a tree, every field
    Wide,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
}

/// `KIND/NAME` as kubectl writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Kind, plural or short name, optionally followed by a dot and the group; lower case.
    pub kind: String,
    /// The object's name.
    pub name: String,
}
