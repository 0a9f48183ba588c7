//! Log lines on stderr, as text for people or as JSON for collectors.
//!
//! Stdout is reserved for the results of client verbs. Format and level are decided in
//! [`crate::settings`]; this module only installs them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line, coloured on a terminal.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The filter does not parse.
    #[error(
        "the log level {filter:?} is not valid; use error, warn, info, debug, trace or a filter such as \
            info,kube=debug"
    )]
    Filter {
        /// The requested filter.
        filter: String,
    },
    /// Something else in this process already logs.
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] TryInitError),
}

/// Installs the process-wide log output.
///
/// Without `format`, it is text on a terminal and JSON elsewhere. `filter` has the syntax of
/// `RUST_LOG`.
///
/// # Errors
/// When the filter does not parse, or when a subscriber was installed before.
pub fn start(format: Option<LogFormat>, filter: &str) -> Result<(), LogsError> {
    let terminal = std::io::stderr().is_terminal();
    let parsed = EnvFilter::try_new(filter).map_err(|_| LogsError::Filter { filter: filter.to_owned() })?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(terminal);
    let started = match format.unwrap_or_else(|| default_format(terminal)) {
        LogFormat::Text => lines.finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    started.map_err(LogsError::AlreadySet)
}

fn default_format(terminal: bool) -> LogFormat {
    if terminal { LogFormat::Text } else { LogFormat::Json }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_text_and_a_collector_gets_json() {
        assert_eq!(default_format(true), LogFormat::Text);
        assert_eq!(default_format(false), LogFormat::Json);
    }

    #[test]
    fn a_filter_that_does_not_parse_is_refused_before_anything_is_installed() {
        let error = start(Some(LogFormat::Text), "firebreak=loudest").unwrap_err();
        assert!(matches!(error, LogsError::Filter { .. }), "{error}");
    }
}
