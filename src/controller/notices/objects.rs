//! Events on the objects that a response changes. The team of an object runs `kubectl describe` on it, and may know nothing
//! of Incidents: each Event says what has happened to the object, and which command reverts it.
//!
//! They follow from two recorded states of the Incident, so an answer that was lost changes nothing: each turn of a
//! change is told once, by the process that records it.

use firebreak_engine::change::{Change, ChangeState};
use firebreak_engine::id::{IncidentId, TargetId};
use firebreak_engine::incident::IncidentState;
use firebreak_engine::reason::Reason;
use k8s_openapi::api::core::v1::ObjectReference;

use crate::api::names;
use crate::kubernetes::events::{EventType, Notice};

/// The paths of fields that one Event names.
const PATHS: usize = 5;

/// What the team of an object has to know.
struct Told {
    event_type: EventType,
    reason: &'static str,
    action: &'static str,
    note: String,
}

/// What has happened to the objects between two recorded states of the Incident.
pub(super) fn notices(incident: &IncidentId, before: &IncidentState, now: &IncidentState) -> Vec<Notice> {
    let told = |change: &Change| {
        let old = before.changes.iter().find(|old| old.id == change.id);
        let Told { event_type, reason, action, note } = turn(incident, old, change)?;
        // A pod that is deleted on behalf of an object is gone before anybody looks at it.
        let object = change.on_behalf_of().unwrap_or(&change.target);
        let (reason, action) = (reason.to_owned(), action.to_owned());
        Some(Notice { regarding: reference(object), event_type, reason, action, note })
    };
    now.changes.iter().filter_map(told).collect()
}

/// How far a change has come, as its object shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of it was seen on the object.
    None,
    InForce,
    Reverted,
    Ceded,
    Kept,
    /// In force without its record.
    Unrecorded,
    /// An operation was carried out.
    Done,
}

fn stage(change: &Change) -> Stage {
    match change.state {
        _ if change.is_in_force() => Stage::InForce,
        ChangeState::Reverted => Stage::Reverted,
        ChangeState::Ceded => Stage::Ceded,
        ChangeState::Kept => Stage::Kept,
        ChangeState::Done => Stage::Done,
        ChangeState::Failed if change.reason == Some(Reason::RecordNotKept) => Stage::Unrecorded,
        _ => Stage::None,
    }
}

/// For people: what becomes of the rest of the change, if someone else has set a part of its values.
fn rest_of(change: &Change, undo: &str) -> String {
    match change.fields().iter().any(|field| field.ceded_to.is_none()) {
        true => format!(". What else it changed stays until the response ends; to revert it now: `{undo}`"),
        false => String::new(),
    }
}

fn turn(incident: &IncidentId, old: Option<&Change>, change: &Change) -> Option<Told> {
    let by = format!("Incident {}/{}", incident.namespace, incident.name);
    let undo = change.target.undo_command();
    let (from, to) = (old.map_or(Stage::None, stage), stage(change));
    let normal = |reason, action, note| Some(Told { event_type: EventType::Normal, reason, action, note });
    let warning = |reason, action, note| Some(Told { event_type: EventType::Warning, reason, action, note });
    if from == to {
        let ceded = newly_ceded(old, change);
        let values = ceded.join(", ");
        return match ceded.as_slice() {
            [] => None,
            _ => normal(
                "FirebreakCeded",
                "Cede",
                format!(
                    "{by} does not revert values that someone else has set: {values}{}",
                    rest_of(change, &undo)
                ),
            ),
        };
    }
    match to {
        Stage::InForce => normal(
            "FirebreakApplied",
            "Apply",
            format!(
                "{by} changed this object in step {}: {}. To revert this object: `{undo}`. To revert the whole response: \
                 `{}`",
                change.step,
                paths(change),
                incident.withdraw_command()
            ),
        ),
        Stage::Reverted => normal(
            "FirebreakReverted",
            "Return",
            format!("the change of {by} on this object was reverted: {}", paths(change)),
        ),
        Stage::Ceded if matches!(change.reason, Some(Reason::Abandoned | Reason::NamespaceGone)) => warning(
            "FirebreakLetGo",
            "Abandon",
            format!(
                "{by} is gone and has not reverted its change; `{undo}` reverts it, by the annotation {}",
                names::UNDO
            ),
        ),
        Stage::Ceded => normal(
            "FirebreakCeded",
            "Cede",
            format!(
                "{by} does not revert its change of this object: {}",
                change.message.as_deref().unwrap_or_default()
            ),
        ),
        Stage::Kept => normal(
            "FirebreakKept",
            "Keep",
            format!("{by} has ended, and its values stay on this object: {}", paths(change)),
        ),
        Stage::Unrecorded => warning(
            "FirebreakNotRecorded",
            "Apply",
            format!("{by}: {}", change.message.as_deref().unwrap_or_default()),
        ),
        Stage::Done if change.on_behalf_of().is_some() => normal(
            "FirebreakDeletedPod",
            "Operate",
            format!(
                "{by} deleted pod {} of this object, which was not ready and would not have followed its template",
                change.target.name
            ),
        ),
        Stage::Done if change.operation_write().is_some() => normal(
            "FirebreakRestarted",
            "Operate",
            format!("{by} restarted this object, which cannot be undone; the value that restarted it stays"),
        ),
        Stage::Done | Stage::None => None,
    }
}

/// The fields that someone else has taken over since, and who.
fn newly_ceded(old: Option<&Change>, change: &Change) -> Vec<String> {
    let was_ceded = |path| {
        let mut fields = old.map(Change::fields).unwrap_or_default().iter();
        fields.any(|field| &field.path == path && field.ceded_to.is_some())
    };
    let ceded = change.fields().iter().filter(|field| field.ceded_to.is_some() && !was_ceded(&field.path));
    ceded.map(|field| format!("{} ({})", field.path, field.ceded_to.as_deref().unwrap_or_default())).collect()
}

fn paths(change: &Change) -> String {
    let fields = change.fields();
    let mut named: Vec<String> = fields.iter().take(PATHS).map(|field| field.path.to_string()).collect();
    if fields.len() > PATHS {
        named.push(format!("and {} more", fields.len() - PATHS));
    }
    named.join(", ")
}

fn reference(target: &TargetId) -> ObjectReference {
    ObjectReference {
        api_version: Some(target.api_version.clone()),
        kind: Some(target.kind.clone()),
        namespace: Some(target.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        name: Some(target.name.clone()),
        uid: Some(target.uid.clone()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use firebreak_engine::change::FieldChange;
    use firebreak_engine::id::ChangeId;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn change(state: ChangeState) -> Change {
        let path = "/spec/replicas".parse().unwrap();
        let (before, after) = (Some(json!(2)), Some(json!(4)));
        let field =
            FieldChange { path, before, after, created: None, owner: None, ceded_to: None, beside: None };
        let target = TargetId {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: "llm".to_owned(),
            name: "chat".to_owned(),
            uid: "u".to_owned(),
        };
        let mut change =
            Change::planned(ChangeId::of("i", "scale-out", "u"), "scale-out", target, vec![field]);
        change.state = state;
        change
    }

    fn told(before: Option<Change>, now: Change) -> Vec<(String, String)> {
        let incident =
            IncidentId { namespace: "llm".to_owned(), name: "outage".to_owned(), uid: "i".to_owned() };
        let state = |changes| IncidentState { changes, ..IncidentState::default() };
        let told = notices(&incident, &state(before.into_iter().collect()), &state(vec![now]));
        told.into_iter().map(|notice| (notice.reason, notice.note)).collect()
    }

    #[test]
    fn each_turn_of_a_change_is_told_once_to_the_team_of_its_object() {
        use ChangeState::{Applied, Ceded, Intended, Kept, Reverted, Reverting, Skipped, Unclear, Verified};
        for (before, now, reason) in [
            (None, Intended, None),
            (Some(Intended), Unclear, None),
            (Some(Unclear), Applied, Some("FirebreakApplied")),
            (Some(Applied), Applied, None),
            (Some(Applied), Verified, None),
            (Some(Verified), Reverting, None),
            (Some(Reverting), Reverted, Some("FirebreakReverted")),
            (Some(Reverted), Intended, None),
            (Some(Applied), Ceded, Some("FirebreakCeded")),
            (Some(Verified), Kept, Some("FirebreakKept")),
            (Some(Intended), Skipped, None),
        ] {
            let found = told(before.map(change), change(now));
            let reasons: Vec<&str> = found.iter().map(|(reason, _)| reason.as_str()).collect();
            assert_eq!(reasons, reason.into_iter().collect::<Vec<_>>(), "{before:?} to {now:?}");
        }
    }

    #[test]
    fn the_event_says_who_has_changed_what_and_how_to_revert_it() {
        let [(_, note)] =
            told(Some(change(ChangeState::Intended)), change(ChangeState::Applied)).try_into().unwrap();
        assert_eq!(
            note,
            "Incident llm/outage changed this object in step scale-out: /spec/replicas. To revert this object: `firebreak \
             undo deployment/chat -n llm`. To revert the whole response: `firebreak withdraw outage -n llm`"
        );
    }

    #[test]
    fn a_value_that_someone_else_has_set_meanwhile_is_told_with_the_writer() {
        let mut now = change(ChangeState::Applied);
        now.fields_mut()[0].ceded_to = Some("kubectl/Update".to_owned());
        let [(reason, note)] = told(Some(change(ChangeState::Applied)), now.clone()).try_into().unwrap();
        assert_eq!(reason, "FirebreakCeded");
        assert!(note.ends_with("/spec/replicas (kubectl/Update)"), "{note}");
        assert!(told(Some(now.clone()), now).is_empty());
    }

    #[test]
    fn what_is_left_behind_and_what_has_no_record_are_warnings_with_a_way_out() {
        let mut let_go = change(ChangeState::Applied);
        let_go.stand(ChangeState::Ceded, Reason::NamespaceGone, "");
        let [(reason, note)] = told(Some(change(ChangeState::Applied)), let_go).try_into().unwrap();
        assert!(
            reason == "FirebreakLetGo" && note.contains("firebreak undo deployment/chat -n llm"),
            "{note}"
        );
        let mut unrecorded = change(ChangeState::Intended);
        unrecorded.set_applied_at(Timestamp::UNIX_EPOCH);
        unrecorded.stand(ChangeState::Failed, Reason::RecordNotKept, "the values are in status.changes");
        let [(reason, note)] = told(Some(change(ChangeState::Intended)), unrecorded).try_into().unwrap();
        assert!(reason == "FirebreakNotRecorded" && note.contains("status.changes"), "{note}");
    }
}
