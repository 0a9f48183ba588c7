//! The request to the process: the only reader of flags and environment.
//!
//! Every other part gets its settings as arguments, so that a test can pass others. Values are
//! checked here once and, where that is cheap, carried in types that cannot hold an invalid one.

mod alerts;
mod arguments;
mod traces;
mod values;
mod verbs;

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser};
use firebreak_engine::change::cut;

pub use alerts::AlertsArgs;
pub use arguments::{
    ApproveArgs, BrakeArgs, BrakeCommand, BrakeOnArgs, CheckArgs, CompletionArgs, ConfigArgs, ControllerArgs,
    CrdsArgs, ExpectArgs, GetArgs, IncidentArgs, NamespaceArgs, ObjectName, OpenArgs, OperatorArgs, Output,
    PlanArgs, PlanSource, ReportArgs, SettleArgs, Shell, SignalsArgs, SupportArgs, TestArgs, UndoArgs,
};
pub use verbs::Command;

use crate::kubernetes::client::ClusterChoice;
use crate::telemetry::logs::LogFormat;

/// All settings from the command line and the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The cluster to use.
    pub cluster: ClusterChoice,
    /// How to log.
    pub logs: LogSettings,
    /// Neither colour nor redrawing, even on a terminal: `NO_COLOR` is set, or the terminal supports only plain text.
    pub plain: bool,
    /// What to do.
    pub command: Command,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// If absent: text on a terminal, otherwise JSON.
    pub format: Option<LogFormat>,
    /// What to log, in the syntax of `RUST_LOG`.
    pub filter: String,
}

/// The command line asks for help, or is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The requested text; exit 0.
    Help(String),
    /// What is wrong and what to do next; exit 2.
    Usage(String),
}

/// Applies emergency changes to ML serving workloads, and reverts them.
///
/// Also runs as `kubectl firebreak` when installed as kubectl-firebreak.
#[derive(Parser)]
#[command(name = "firebreak", version, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 success, 1 the answer is no or the work failed, 2 usage error.")]
struct CommandLine {
    #[command(flatten)]
    everywhere: Everywhere,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct Everywhere {
    /// The kubeconfig file to use [default: the files in KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<std::path::PathBuf>,
    /// The kubeconfig context to use [default: the current one]
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The format of log lines [default: text for verbs and on a terminal, otherwise json]
    #[arg(long, global = true, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What to log: a level, or a filter such as info,kube=debug [default: info for controller, otherwise warn]
    #[arg(long, global = true, env = "RUST_LOG", hide_env_values = true, value_name = "FILTER")]
    log_level: Option<String>,
}

/// Settings from the environment that are not defaults of flags.
#[derive(Debug, Default)]
struct Environment {
    kubeconfig: Option<OsString>,
    pod_name: Option<String>,
    no_color: Option<OsString>,
    term: Option<OsString>,
    /// The variables of OpenTelemetry.
    opentelemetry: Vec<(String, String)>,
}

impl Settings {
    /// Reads the command line and the environment of this process.
    ///
    /// # Errors
    /// When help is requested, or when the command line is invalid.
    pub fn read() -> Result<Self, Stop> {
        let environment = Environment {
            kubeconfig: std::env::var_os("KUBECONFIG"),
            pod_name: std::env::var("POD_NAME").ok(),
            no_color: std::env::var_os("NO_COLOR"),
            term: std::env::var_os("TERM"),
            opentelemetry: traces::variables(|name| std::env::var_os(name)),
        };
        Self::parse(std::env::args_os().collect(), environment)
    }

    fn parse(args: Vec<OsString>, environment: Environment) -> Result<Self, Stop> {
        let program = program(args.first());
        let called = called(program, &args);
        let parsed = command_line(program)
            .try_get_matches_from(args)
            .and_then(|matches| CommandLine::from_arg_matches(&matches))
            .map_err(|error| stop(&error, &called))?;
        let Everywhere { kubeconfig, context, log_format, log_level } = parsed.everywhere;
        let mut command = parsed.command;
        // A verb reports in one line itself what kube would also log.
        let (mut usual_level, mut usual_format) =
            ("warn,kube_client=off,kube_runtime=off", Some(LogFormat::Text));
        if let Command::Controller(controller) = &mut command {
            controller.identity = identity(environment.pod_name);
            controller.traces = traces::choice(&environment.opentelemetry, &controller.identity);
            (usual_level, usual_format) = ("info", None);
        }
        let plain = environment.no_color.is_some_and(|value| !value.is_empty())
            || environment.term.is_some_and(|term| term == "dumb");
        let named = kubeconfig.map(|file| vec![file]);
        let from_environment = || {
            let list = environment.kubeconfig.unwrap_or_default();
            let files = std::env::split_paths(&list).filter(|file| !file.as_os_str().is_empty());
            files.collect()
        };
        Ok(Self {
            cluster: ClusterChoice { kubeconfigs: named.unwrap_or_else(from_environment), context },
            logs: LogSettings {
                format: log_format.or(usual_format),
                filter: log_level.unwrap_or_else(|| usual_level.to_owned()),
            },
            plain,
            command,
        })
    }
}

/// The definition of the command line, under the name by which the program was called.
fn command_line(program: &'static str) -> clap::Command {
    fn named(command: clap::Command, program: &str) -> clap::Command {
        let examples = command.get_after_help().map(|text| {
            text.to_string()
                .replace("  firebreak ", &format!("  {program} "))
                .replace("`firebreak ", &format!("`{program} "))
        });
        let command = command.mut_subcommands(|verb| named(verb, program));
        match examples {
            Some(examples) => command.after_help(examples),
            None => command,
        }
    }
    named(CommandLine::command().bin_name(program), program)
}

/// The script that completes the command line in a shell.
#[must_use]
pub fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    let mut command = CommandLine::command();
    let name = command.get_name().to_owned();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// A Pod's name belongs to one process at a time. Without one, a unique name.
fn identity(pod_name: Option<String>) -> String {
    pod_name
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("firebreak-{:016x}", fastrand::u64(..)))
}

fn program(first: Option<&OsString>) -> &'static str {
    let stem = first.and_then(|first| Path::new(first).file_stem());
    if stem.is_some_and(|stem| stem == "kubectl-firebreak") { "kubectl firebreak" } else { "firebreak" }
}

/// The program and its verb as they were called, for errors for which clap does not say where they occurred.
fn called(program: &str, args: &[OsString]) -> String {
    let command = CommandLine::command();
    let verb = args.iter().skip(1).find_map(|arg| command.find_subcommand(arg));
    verb.map_or_else(|| program.to_owned(), |verb| format!("{program} {}", verb.get_name()))
}

fn stop(error: &clap::Error, program: &str) -> Stop {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Stop::Help(error.to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Usage(error.to_string()),
        _ => Stop::Usage(one_line(&without_long_value(error), program)),
    }
}

/// A text that was rejected because it is too long is not printed in full.
fn without_long_value(error: &clap::Error) -> String {
    let text = error.to_string();
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if !value.is_empty() => text.replace(value, &cut(value, 100)),
        _ => text,
    }
}

/// clap explains an error over several lines. Everything but the usage goes into one, and the usage
/// becomes the command that shows it.
fn one_line(text: &str, program: &str) -> String {
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: "));
    // The usage line names the verb only when clap got that far: its words in lower case.
    let words = usage.unwrap_or(program).split_whitespace();
    let command: Vec<&str> =
        words.take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())).collect();
    let said: Vec<String> = text
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .take_while(|said| !said.starts_with("Usage: ") && !said.starts_with("For more"))
        .filter(|said| !said.is_empty())
        .collect();
    let said = said.join("; ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    format!("firebreak: {said}; see `{} --help`", command.join(" "))
}

#[cfg(test)]
mod tests;
