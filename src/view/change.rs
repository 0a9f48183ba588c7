//! A change and its fields.

use firebreak_engine::change::{Change, ChangeState, FieldChange, cut};
use firebreak_engine::id::ChangeId;
use firebreak_engine::reason::Reason;
use firebreak_engine::seal;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// The longest value that is shown, in bytes.
const LONGEST_VALUE: usize = 200;

/// One change to one object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    /// Its id.
    #[serde(skip)]
    pub id: ChangeId,
    /// The step.
    pub step: String,
    /// The object, as its kind, namespace and name, and for an operation what it does to the object.
    pub object: String,
    /// The additional data of an operation.
    pub operation: Option<OperationView>,
    /// The command that reverts it without the operator, while something may have to be reverted.
    pub undo: Option<String>,
    /// Its state.
    pub state: ChangeState,
    /// The reason, in one word.
    pub reason: Option<String>,
    /// The reason in plain words.
    pub message: Option<String>,
    /// Its fields.
    pub fields: Vec<FieldView>,
}

/// The additional data of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationView {
    /// The object that needs it, if it is another one than its own.
    pub on_behalf_of: Option<String>,
    /// When it was last sent.
    pub sent_at: Option<Timestamp>,
    /// How many requests were sent.
    pub requests: u8,
    /// What it has written and leaves on the object, as `path = value`, with `perhaps` before it if its outcome is not
    /// known; empty if it has written nothing.
    pub leaves: Vec<String>,
    /// Its outcome, or its state until then.
    pub ending: String,
}

/// One field of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldView {
    /// The path of the field in the object.
    pub path: String,
    /// The value before as JSON, cut if it is long; none: the field did not exist.
    pub before: Option<String>,
    /// The value of the emergency as JSON, cut if it is long; none: the field does not exist.
    pub after: Option<String>,
    /// The previous owner.
    pub owner: Option<String>,
    /// The owner of the current value, if it is someone else's.
    pub ceded_to: Option<String>,
    /// Its outcome, or its state until then.
    pub ending: String,
    /// Why it was not reverted, as far as that is known.
    pub not_reverted: Option<String>,
}

impl ChangeView {
    /// A change of an Incident as people see it.
    pub(super) fn of(change: &Change, is_closed: bool) -> Self {
        let field = |field| FieldView {
            ending: ending(change, field),
            not_reverted: not_reverted(change, field, is_closed),
            ..FieldView::of(field)
        };
        Self {
            id: change.id.clone(),
            step: change.step.clone(),
            object: change.subject(),
            operation: OperationView::of(change),
            undo: change.is_outstanding().then(|| change.target.undo_command()),
            state: change.state,
            reason: change.reason.as_ref().map(ToString::to_string),
            message: change.message.clone(),
            fields: change.fields().iter().map(field).collect(),
        }
    }
}

impl OperationView {
    fn of(change: &Change) -> Option<Self> {
        let operation = change.as_operation()?;
        Some(Self {
            on_behalf_of: operation.on_behalf_of.as_ref().map(ToString::to_string),
            sent_at: change.sent_at,
            requests: change.tries,
            leaves: leaves(change),
            ending: operation_ending(change),
        })
    }
}

/// What the operation has written to its object, or may have written. It stays there.
fn leaves(change: &Change) -> Vec<String> {
    let may = match change.state {
        ChangeState::Done => "",
        ChangeState::Unclear => "perhaps ",
        // Nothing was sent, or nothing that was sent took effect; or the answer comes in a moment.
        ChangeState::Planned
        | ChangeState::Intended
        | ChangeState::Skipped
        | ChangeState::Failed
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Held => return Vec::new(),
    };
    let written = change.operation_write().and_then(|write| Some((write, write.value.as_ref()?)));
    let Some((write, value)) = written else { return Vec::new() };
    write.paths.iter().map(|path| format!("{may}{path} = {value}")).collect()
}

impl FieldView {
    /// A field that belongs to no change of an Incident, as people see it.
    pub fn of(field: &FieldChange) -> Self {
        // The undo record of an object has values that must not be shown.
        let field = &seal::sealed(field.clone());
        Self {
            path: field.path.to_string(),
            before: field.before.as_ref().map(json),
            after: field.after.as_ref().map(json),
            owner: field.owner.clone(),
            ceded_to: field.ceded_to.clone(),
            ending: String::new(),
            not_reverted: None,
        }
    }
}

/// A value as JSON, so that the text `"4"` and the number `4` differ. A long one is cut.
pub fn json(value: &Value) -> String {
    cut(&value.to_string(), LONGEST_VALUE)
}

fn why(reason: Option<&str>, message: Option<&str>) -> Option<String> {
    match (reason, message) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (one, other) => one.or(other).map(str::to_owned),
    }
}

/// The outcome of an operation, or its state until then.
fn operation_ending(change: &Change) -> String {
    let ending = match change.state {
        ChangeState::Planned => "planned only, not done",
        ChangeState::Intended => "sent, outcome not known yet",
        ChangeState::Unclear => "outcome not known",
        ChangeState::Done => "done",
        ChangeState::Skipped => "not done",
        ChangeState::Failed => "failed, not done",
        ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Held => "in a state that no operation has",
    };
    match why(change.reason.as_ref().map(Reason::name), change.message.as_deref()) {
        Some(why) => format!("{ending}: {why}"),
        None => ending.to_owned(),
    }
}

/// The outcome of a field, or its state until then.
fn ending(change: &Change, field: &FieldChange) -> String {
    let rounds = if change.round > 1 { format!(" (applied {} times)", change.round) } else { String::new() };
    let ending = match change.state {
        ChangeState::Planned => "planned only, not done",
        ChangeState::Intended => "about to be applied",
        ChangeState::Unclear => "sent, outcome not known yet",
        ChangeState::Applied => "in force",
        ChangeState::Verified => "in force, verified",
        ChangeState::Reverting => "being reverted",
        ChangeState::Reverted => "reverted",
        ChangeState::Ceded => match &field.ceded_to {
            Some(owner) => return format!("ceded to {owner}, whose value stays{rounds}"),
            None if change.fields().iter().any(|other| other.ceded_to.is_some()) => "reverted",
            None => "left alone",
        },
        ChangeState::Kept => "kept for good",
        ChangeState::Done => "done",
        ChangeState::Skipped => "not done",
        ChangeState::Failed => "given up, not in force",
        ChangeState::Held => "outcome not known",
    };
    format!("{ending}{rounds}")
}

/// Why a field was not reverted.
fn not_reverted(change: &Change, field: &FieldChange, is_closed: bool) -> Option<String> {
    let is_whole = match change.state {
        ChangeState::Ceded => change.fields().iter().all(|field| field.ceded_to.is_none()),
        ChangeState::Kept | ChangeState::Held => true,
        ChangeState::Intended
        | ChangeState::Unclear
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting => is_closed,
        // A reverted change may still have something to report: why an attempt to apply it again was given up.
        ChangeState::Reverted => change.message.is_some(),
        ChangeState::Planned | ChangeState::Skipped | ChangeState::Failed | ChangeState::Done => return None,
    };
    if field.ceded_to.is_some() {
        return Some(ending(change, field));
    }
    let why = || why(change.reason.as_ref().map(Reason::name), change.message.as_deref());
    is_whole.then(|| why().unwrap_or_else(|| ending(change, field)))
}
