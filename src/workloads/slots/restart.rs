//! What is written to restart the pods of an object.

use firebreak_engine::facts::{Role, Slots};
use serde_json::Value;

use super::{blocked, slot};
use crate::workloads::profile::Profile;

/// The fields that get a new value.
pub(super) fn restart(profile: &Profile, object: &Value, found: &mut Slots) {
    let Some(restart) = &profile.restart else { return };
    found.fields.extend(restart.fields(object).into_iter().map(|path| {
        let problem = blocked(&path, object);
        slot(Role::Restart, path, problem)
    }));
}
