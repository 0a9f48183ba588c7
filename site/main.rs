//! What `make site` runs: the preprocessor of mdBook that is named in `book.toml`, and the check of what mdBook has built.

mod built;
mod chapters;
#[path = "../tests/support/markdown.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod markdown;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What went wrong, for a person.
type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Without a command: reads a book from mdBook, and writes it with links that work on the site.
#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Answers mdBook by the exit status: links are the same for every renderer.
    Supports { renderer: String },
    /// Checks that each link on the pages of the site leads somewhere.
    Check { site: PathBuf },
}

fn main() -> ExitCode {
    let done = match Flags::parse().command {
        None => preprocess(),
        Some(Command::Supports { renderer: _ }) => Ok(()),
        Some(Command::Check { site }) => check(&site),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// mdBook sends its context and the book, and expects the book.
fn preprocess() -> Result<()> {
    let (_, mut book): (serde_json::Value, serde_json::Value) = serde_json::from_reader(io::stdin())?;
    chapters::link(&mut book)?;
    Ok(serde_json::to_writer(io::stdout(), &book)?)
}

fn check(site: &Path) -> Result<()> {
    let broken = built::broken_links(site)?;
    if broken.is_empty() {
        return Ok(());
    }
    Err(format!("links of the site that lead nowhere:\n  {}", broken.join("\n  ")).into())
}
