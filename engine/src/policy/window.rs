//! The times at which steps may start without approval, as users write them.

use serde::{Deserialize, Serialize};

/// A time of day on some days of the week, by the clock of a time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.from != self.to", "message": "from and to must differ; a whole day is from 00:00 to 24:00"}
])))]
pub struct WindowSpec {
    /// The time zone of the IANA database, such as `Europe/Berlin` or `UTC`.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 64), pattern(r"^[A-Za-z0-9_+/-]+$")))]
    pub zone: String,
    /// The days of the week on which the window opens. Defaults to every day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 7), extend("x-kubernetes-list-type" = "set")))]
    pub days: Vec<Day>,
    /// The time of day at which the window opens, such as `08:00`.
    #[cfg_attr(feature = "schema", schemars(length(max = 5), pattern(r"^([01][0-9]|2[0-3]):[0-5][0-9]$")))]
    pub from: String,
    /// The time of day at which it closes: up to `24:00`, or on the next day if it is before `from`.
    #[cfg_attr(
        feature = "schema",
        schemars(length(max = 5), pattern(r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"))
    )]
    pub to: String,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}
