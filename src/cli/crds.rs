//! `firebreak crds`: what to install before the operator.

use super::screen::Screen;
use super::{Answer, Error};
use crate::api;

/// Prints the definitions of our kinds.
pub fn run(screen: &Screen) -> Result<Answer, Error> {
    screen.text(&api::manifests())?;
    Ok(Answer::Yes)
}
