//! The checks of the values of arguments. A name becomes part of a URL, so what the API server would reject is rejected here.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use firebreak_engine::period::{NotAPeriod, Period};
use firebreak_engine::policy::Severity;

use super::arguments::ObjectName;
use crate::kubernetes::impersonate::{is_dns_label, is_dns_subdomain};

pub(super) fn namespace(text: &str) -> Result<String, String> {
    if is_dns_label(text) { Ok(text.to_owned()) } else { Err("not a valid namespace name".to_owned()) }
}

pub(super) fn name(text: &str) -> Result<String, String> {
    if is_dns_subdomain(text) { Ok(text.to_owned()) } else { Err("not a valid object name".to_owned()) }
}

pub(super) fn object_name(text: &str) -> Result<ObjectName, String> {
    let (kind, name) = text.split_once('/').ok_or("write it as KIND/NAME")?;
    let kind = kind.to_ascii_lowercase();
    if is_dns_subdomain(&kind) && is_dns_subdomain(name) {
        let name = name.to_owned();
        Ok(ObjectName { kind, name })
    } else {
        Err("write it as KIND/NAME".to_owned())
    }
}

pub(super) fn severity() -> impl TypedValueParser<Value = Severity> {
    PossibleValuesParser::new(["P0", "P1", "P2", "P3"]).try_map(|name| {
        let levels = [Severity::P0, Severity::P1, Severity::P2, Severity::P3];
        levels.into_iter().find(|level| level.to_string() == name).ok_or("not a level")
    })
}

/// The API server would reject a longer summary.
pub(super) fn summary(text: &str) -> Result<String, String> {
    if text.chars().count() <= 1024 {
        Ok(text.to_owned())
    } else {
        Err("longer than 1024 characters".to_owned())
    }
}

pub(super) fn plan_hash(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        Ok(text.to_owned())
    } else {
        Err("a plan hash is sha256: followed by 64 hexadecimal digits".to_owned())
    }
}

/// Durations are written like those of a policy.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let period: Period = text.parse().map_err(|error: NotAPeriod| error.to_string())?;
    Ok(period.length().unsigned_abs())
}

pub(super) fn lease_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be between 1s and 1h".to_owned())
    }
}
