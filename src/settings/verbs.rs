//! The verbs and their arguments, as clap reads them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::duration;
use crate::api::SHIPPED_NAMESPACE;
use crate::kubernetes::impersonate::{is_dns_label, is_dns_subdomain};

/// What to do.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Run the operator
    Controller(ControllerArgs),
    /// Print the CRDs and admission policies to install
    #[command(
        after_help = "Examples:\n  firebreak crds | kubectl apply --server-side -f -\n  firebreak crds --namespace ops > firebreak.yaml"
    )]
    Crds(CrdsArgs),
    /// Check policies offline, and print the Role that they need
    #[command(
        after_help = "Examples:\n  firebreak check -f policy.yaml\n  firebreak check -f policies/*.yaml"
    )]
    Check(CheckArgs),
    /// Play stories of emergencies, and check what policies decide; needs no cluster
    #[command(
        after_help = "Examples:\n  firebreak test policies/\n  firebreak test stories/gpu-nodes-lost.yaml\n\nA story is YAML:\n\n  story: Half of the GPU nodes are lost, and the model moves to CPU\n  policyFrom: ../policy.yaml\n  object: {apiVersion: apps/v1, kind: Deployment, metadata: {namespace: serving}}\n  then:\n  - at: 0s\n    signals: {gpuNodes: {total: 8, ready: 4}}\n    objects: {chat: {spec: …, status: …}}\n  - at: 30s\n    expect: {severity: P0, changes: {chat: Applied}}\n\ndocs/stories.md describes every key."
    )]
    Test(TestArgs),
    /// Show what a policy would do to which object now, and why not; writes nothing
    #[command(
        after_help = "Examples:\n  firebreak plan gpu-cluster-failure -n llm-serving\n  firebreak plan -f policy.yaml"
    )]
    Plan(PlanArgs),
    /// Show incidents, or one with its steps and changes
    #[command(
        after_help = "Examples:\n  firebreak get -A\n  firebreak get gpu-outage -n llm-serving -o yaml"
    )]
    Get(GetArgs),
    /// Follow an incident until it ends
    #[command(after_help = "Example:\n  firebreak watch gpu-outage -n llm-serving")]
    Watch(IncidentArgs),
    /// Put everything back that an incident changed, and close it
    #[command(after_help = "Example:\n  firebreak withdraw gpu-outage -n llm-serving")]
    Withdraw(IncidentArgs),
    /// Put back what an object's own record says; needs neither controller nor incident
    #[command(
        after_help = "Examples:\n  firebreak undo deployment/router -n llm-serving\n  firebreak undo deployment/router --forget"
    )]
    Undo(UndoArgs),
    /// Print an incident's report as Markdown
    #[command(after_help = "Example:\n  firebreak report gpu-outage -n llm-serving > report.md")]
    Report(IncidentArgs),
}

impl Command {
    /// The file with the operator's configuration.
    #[must_use]
    pub fn config(&self) -> Option<&Path> {
        let args = match self {
            Self::Controller(args) => &args.config,
            Self::Check(args) => &args.config,
            Self::Plan(args) => &args.config,
            Self::Test(args) => &args.config,
            Self::Crds(_)
            | Self::Get(_)
            | Self::Watch(_)
            | Self::Withdraw(_)
            | Self::Undo(_)
            | Self::Report(_) => return None,
        };
        args.config.as_deref()
    }
}

/// `--config`.
#[derive(Args, Clone, Debug, Default, PartialEq)]
pub struct ConfigArgs {
    /// The operator's configuration, with workload profiles to add or replace
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `controller`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct ControllerArgs {
    /// Its configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The operator's own namespace: its lease, brake and configuration
    #[arg(long, env = "POD_NAMESPACE", hide_env_values = true, value_name = "NS")]
    #[arg(default_value = SHIPPED_NAMESPACE, value_parser = namespace)]
    pub namespace: String,
    /// Watch policies and incidents only in these namespaces [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NS,…", value_parser = namespace)]
    pub watch_namespaces: Vec<String>,
    /// Where to serve /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// How long a silent leader is waited for
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,
    /// Act without holding the lease; for a single process only
    #[arg(long)]
    pub no_leader_election: bool,
    /// The name in the lease: POD_NAME, or one that nobody else has.
    #[arg(skip)]
    pub identity: String,
}

/// `crds`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CrdsArgs {
    /// The operator's namespace: only its ServiceAccount may write the status of incidents and policies
    #[arg(short = 'n', long, value_name = "NS", default_value = SHIPPED_NAMESPACE, value_parser = namespace)]
    pub namespace: String,
}

/// `check`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct CheckArgs {
    /// Files to check; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// The operator's configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `test`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct TestArgs {
    /// Folders, searched with all below them, and files with stories
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
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

#[derive(Args, Clone, Debug, PartialEq)]
#[group(required = true, multiple = false)]
struct PlanSourceArgs {
    /// The policy in the cluster
    #[arg(value_parser = name)]
    policy: Option<String>,
    /// A policy in a file; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Where the policy to plan for is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanSource<'a> {
    /// In the cluster, under this name.
    Policy(&'a str),
    /// In this file.
    File(&'a std::path::Path),
}

impl PlanArgs {
    /// Where the policy is.
    ///
    /// `None` cannot come from the command line, which requires exactly one of the two.
    #[must_use]
    pub fn source(&self) -> Option<PlanSource<'_>> {
        let policy = self.source.policy.as_deref().map(PlanSource::Policy);
        policy.or(self.source.file.as_deref().map(PlanSource::File))
    }
}

/// `get`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct GetArgs {
    /// The incident [default: all]
    #[arg(value_parser = name)]
    pub incident: Option<String>,
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// In all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "incident"])]
    pub all_namespaces: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `watch`, `withdraw`, `report`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct IncidentArgs {
    /// The incident
    #[arg(value_parser = name)]
    pub incident: String,
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}

/// `undo`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct UndoArgs {
    /// The changed object, for example deployment/router or llmdeployments.inference.llm-d.io/chat
    #[arg(value_name = "KIND/NAME", value_parser = object_name)]
    pub object: ObjectName,
    /// Keep the object as it is and only drop the record
    #[arg(long)]
    pub forget: bool,
    /// Where.
    #[command(flatten)]
    pub namespace: NamespaceArgs,
}

/// `-n`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct NamespaceArgs {
    /// The namespace [default: that of the context]
    #[arg(short = 'n', long, value_name = "NS", value_parser = namespace)]
    pub namespace: Option<String>,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns
    Table,
    /// More columns
    Wide,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
}

/// `KIND/NAME` as kubectl writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    /// Kind, plural or short name, perhaps with the group behind a dot; lower case.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

// A name becomes part of a URL, so what the API server would refuse is refused here.

fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("not the name of a namespace".to_owned()) }
}

fn name(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err("not the name of an object".to_owned()) }
}

fn object_name(text: &str) -> Result<ObjectName, String> {
    let (kind, name) = text.split_once('/').ok_or("write it as KIND/NAME")?;
    let kind = kind.to_ascii_lowercase();
    if is_dns_subdomain(&kind) && is_dns_subdomain(name) {
        let name = name.to_owned();
        Ok(ObjectName { kind, name })
    } else {
        Err("write it as KIND/NAME".to_owned())
    }
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be between 1s and 1h".to_owned())
    }
}
