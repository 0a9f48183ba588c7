//! Firebreak's one binary: the operator, and the verbs of the command line.

use std::io::Write;
use std::process::ExitCode;

use firebreak::settings::{Settings, Stop};
use mimalloc::MiMalloc;

/// Most of the work is decoding and encoding JSON, which allocates many small values (ADR 10).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match Settings::read() {
        Ok(settings) => firebreak::startup::run(settings),
        Err(Stop::Help(text)) => {
            // A reader that closed the pipe (`| head`) is not a failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Stop::Usage(text)) => {
            eprintln!("{}", text.trim_end());
            ExitCode::from(2)
        }
    }
}
