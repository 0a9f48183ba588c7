//! Which notices are equal, and what must be written for them. No client, no waiting.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{EventType, Notice, REPORTING_CONTROLLER};

/// Series that are remembered.
const MAX_SERIES: usize = 512;
/// A series ends when nothing was added for this long; the next notice starts a new Event.
const ENDS_AFTER: Duration = Duration::from_secs(360);
/// Counts of a series are written at most this often.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// The API's limits, in bytes.
const MAX_NOTE: usize = 1024;
const MAX_INSTANCE: usize = 128;

/// What must be written.
#[derive(Debug)]
pub(super) enum Write {
    Nothing,
    Create(Box<Event>),
    Count { event: Box<Event>, patch: Value },
}

/// What makes two notices equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    object: [String; 5],
    event_type: EventType,
    reason: String,
    action: String,
    note: String,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    count: i32,
    written: i32,
    added_at: Instant,
    written_at: Instant,
}

/// The Events of this process that may still be repeated.
#[derive(Debug)]
pub(super) struct Series {
    instance: String,
    entries: BTreeMap<Key, Entry>,
    named: u64,
}

impl Series {
    pub(super) fn new(mut instance: String) -> Self {
        instance.truncate(instance.floor_char_boundary(MAX_INSTANCE));
        Self { instance, entries: BTreeMap::new(), named: 0 }
    }

    /// Adds a notice. The first of its kind is written at once and so is the second, which shows
    /// that it repeats; further ones are counted and written together.
    pub(super) fn record(&mut self, notice: &Notice, now: Instant) -> Write {
        let note = cut(&notice.note);
        let key = key(notice, &note);
        match self.entries.get_mut(&key) {
            Some(entry) if now.duration_since(entry.added_at) < ENDS_AFTER => {
                entry.count = entry.count.saturating_add(1);
                entry.added_at = now;
                if entry.count == 2 || now.duration_since(entry.written_at) >= COUNT_EVERY {
                    entry.write_count(now)
                } else {
                    Write::Nothing
                }
            }
            Some(_) | None => {
                let event = self.event(notice, note);
                self.make_room(&key);
                let entry =
                    Entry { event: event.clone(), count: 1, written: 1, added_at: now, written_at: now };
                self.entries.insert(key, entry);
                Write::Create(Box::new(event))
            }
        }
    }

    /// The counts that are due, all of them at the end; forgets series that ended.
    pub(super) fn due(&mut self, now: Instant, last: bool) -> Vec<Write> {
        let mut writes = Vec::new();
        self.entries.retain(|_, entry| {
            let ended = now.duration_since(entry.added_at) >= ENDS_AFTER;
            let waited = now.duration_since(entry.written_at) >= COUNT_EVERY;
            if entry.count > entry.written && (ended || waited || last) {
                writes.push(entry.write_count(now));
            }
            !ended
        });
        writes
    }

    fn make_room(&mut self, key: &Key) {
        if self.entries.len() < MAX_SERIES || self.entries.contains_key(key) {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.added_at);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            self.entries.remove(&oldest);
        }
    }

    fn event(&mut self, notice: &Notice, note: String) -> Event {
        let now = Timestamp::now();
        self.named += 1;
        let object = notice.regarding.name.as_deref().unwrap_or_default();
        // The server requires the Event in the object's namespace, and for cluster-scoped objects in
        // `default`.
        let namespace = notice.regarding.namespace.as_deref().filter(|n| !n.is_empty());
        Event {
            metadata: ObjectMeta {
                name: Some(name(object, now, self.named)),
                namespace: Some(namespace.unwrap_or("default").to_owned()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(REPORTING_CONTROLLER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            type_: Some(notice.event_type.label().to_owned()),
            reason: Some(notice.reason.to_owned()),
            action: Some(notice.action.to_owned()),
            note: Some(note),
            regarding: Some(notice.regarding.clone()),
            ..Event::default()
        }
    }
}

impl Entry {
    fn write_count(&mut self, now: Instant) -> Write {
        self.written = self.count;
        self.written_at = now;
        let series = EventSeries { count: self.count, last_observed_time: MicroTime(Timestamp::now()) };
        let patch = json!({ "series": series });
        self.event.series = Some(series);
        Write::Count { event: Box::new(self.event.clone()), patch }
    }
}

fn key(notice: &Notice, note: &str) -> Key {
    let ObjectReference { api_version, field_path: _, kind, name, namespace, resource_version: _, uid } =
        &notice.regarding;
    Key {
        object: [api_version, kind, namespace, name, uid].map(|part| part.clone().unwrap_or_default()),
        event_type: notice.event_type,
        reason: notice.reason.clone(),
        action: notice.action.clone(),
        note: note.to_owned(),
    }
}

/// At most 1 kB, ending in … if it was cut.
fn cut(note: &str) -> String {
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(MAX_NOTE - '…'.len_utf8());
    format!("{}…", &note[..end])
}

/// The object's name and a unique suffix. Names of some kinds (`system:node`) are
/// not allowed for Events.
fn name(object: &str, now: Timestamp, number: u64) -> String {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let usable = !object.is_empty() && object.len() <= 200 && object.bytes().all(allowed);
    let prefix = if usable { object } else { "firebreak" };
    format!("{prefix}.{:x}{number:x}", now.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(note: &str) -> Notice {
        Notice {
            regarding: ObjectReference { name: Some("router".into()), ..ObjectReference::default() },
            event_type: EventType::Warning,
            reason: "Held".to_owned(),
            action: "Hold".to_owned(),
            note: note.to_owned(),
        }
    }

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let short = "x".repeat(1024);
        assert_eq!(cut(&short), short);
        let long = cut(&"ä".repeat(1000));
        assert!(long.len() <= 1024 && long.ends_with('…'), "{}", long.len());
    }

    #[test]
    fn an_object_name_that_events_may_not_have_is_replaced() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(name("router", now, 1), "router.01");
        assert_eq!(name("system:node", now, 2), "firebreak.02");
    }

    #[test]
    fn memory_is_bounded_whatever_the_notes_are() {
        let mut series = Series::new("pod-0".into());
        let now = Instant::now();
        for number in 0..MAX_SERIES * 2 {
            assert!(matches!(series.record(&notice(&number.to_string()), now), Write::Create(_)));
        }
        assert_eq!(series.entries.len(), MAX_SERIES);
    }

    #[test]
    fn a_series_that_was_quiet_for_long_starts_again() {
        let mut series = Series::new("pod-0".into());
        let now = Instant::now();
        series.record(&notice("n"), now);
        assert!(matches!(series.record(&notice("n"), now), Write::Count { .. }));
        assert!(matches!(series.record(&notice("n"), now), Write::Nothing));
        assert_eq!(series.due(now + COUNT_EVERY, false).len(), 1);
        assert_eq!(series.due(now + COUNT_EVERY, true).len(), 0);
        assert!(matches!(series.record(&notice("n"), now + ENDS_AFTER), Write::Create(_)));
        series.due(now + ENDS_AFTER * 2, false);
        assert!(series.entries.is_empty());
    }
}
