//! `firebreak completion`: the completion script for a shell.

use super::screen::Screen;
use super::{Answer, Error};
use crate::settings::{self, CompletionArgs};

/// Prints the script for a shell.
pub fn run(screen: &Screen, args: CompletionArgs) -> Result<Answer, Error> {
    screen.text(&settings::completion(args.shell))?;
    Ok(Answer::Yes)
}
