//! The format of a status, so that no release continues what a newer one has stored.
//!
//! A release reads a status into its own types and writes it as a whole, so it drops what only a newer one knows. Two
//! things prevent that: an operator does not lead once it has seen a newer format, and the API server rejects a status
//! whose format is older than the stored one, which also stops releases that know no format at all.

use serde_json::{Value, json};

/// The format that this release writes, and the newest one that it can continue. Raise it with every change after which
/// the previous release would lose or misread what is stored. A status without a format has format 1.
///
/// A field that is only shown, and that every listing derives again, does not raise it. The previous release drops
/// `nothingToDo` of a step without harm. Older definitions do not store it, and it is not written again for that alone.
pub const FORMAT: u16 = 3;

/// The rule of the schema of each status.
pub(super) fn never_older() -> Value {
    json!([{
        "rule": "!has(oldSelf.format) || (has(self.format) && self.format >= oldSelf.format)",
        "message": "a newer release of Firebreak wrote this status, and this release would lose a part of it: run the newer \
                    release",
    }])
}

/// Whether a status with this format cannot be continued by this release.
pub fn is_newer(format: Option<u16>) -> bool {
    format.is_some_and(|format| format > FORMAT)
}

/// The format in a status that does not decode. One that is no number of a format is newer than all.
pub fn of_undecodable(status: &Value) -> Option<u16> {
    let format = status.get("format")?;
    Some(format.as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_format_above_ours_is_newer() {
        let newer = [None, Some(1), Some(FORMAT), Some(FORMAT + 1)].map(is_newer);
        assert_eq!(newer, [false, false, false, true]);
    }

    #[test]
    fn the_format_is_found_beside_what_does_not_decode() {
        let format = |status: Value| of_undecodable(&status);
        assert_eq!(format(json!({"phase": 3})), None);
        assert_eq!(format(json!({"phase": 3, "format": 7})), Some(7));
        assert_eq!(format(json!({"format": "v3"})), Some(u16::MAX));
        assert_eq!(format(json!({"format": 70_000})), Some(u16::MAX));
        assert_eq!(format(Value::Null), None);
    }
}
