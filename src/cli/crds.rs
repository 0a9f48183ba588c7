//! `firebreak crds`: what to install before the operator.

use super::screen::Screen;
use super::{Answer, Error};
use crate::api;
use crate::settings::CrdsArgs;

/// Prints the definitions of our kinds and the admission policies.
pub fn run(screen: &Screen, args: &CrdsArgs) -> Result<Answer, Error> {
    screen.text(&api::manifests(&args.namespace))?;
    Ok(Answer::Yes)
}
