//! One change to one object: the plan before, the write-ahead journal during,
//! and the row of the report after.
//!
//! ```text
//!            intend            applied            begin_return         returned
//!  Planned ─────────► Intended ───────► Applied ─────────────► Reverting ─────► Reverted | Ceded
//!  Skipped ─────────►    │  ▲             │ ▲ verified             │
//!                        ▼  │ (read)      ▼ │                      └─ object gone, not ours: Ceded
//!                      Unclear         Verified
//!                        │
//!                        ├─ fenced or dead: Failed | Skipped
//!                        └─ three unknown answers: Held
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{ChangeId, ResourceVersion, TargetId};
use crate::path::FieldPath;
use crate::pods::PodDeletion;
use crate::value::whole;

/// Where a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ChangeState {
    /// Would be done; nothing is (mode Observe).
    Planned,
    /// Recorded before it is sent; it may be sent at any moment.
    Intended,
    /// Sent, and the answer does not say whether it took effect.
    Unclear,
    /// In force; the object carries the undo record.
    Applied,
    /// In force, and its step was verified.
    Verified,
    /// Being put back.
    Reverting,
    /// Put back exactly.
    Reverted,
    /// Somebody else's value stands, or the object is gone: theirs.
    Ceded,
    /// Made permanent by a person.
    Kept,
    /// Not done, for the reason given.
    Skipped,
    /// Tried and given up; no late request can take effect any more.
    Failed,
    /// Nobody can tell whether it took effect; a person is needed.
    Held,
}

/// The reason of a change that a person has let go of: its record stays on the object.
pub const ABANDONED: &str = "Abandoned";
/// The reason of a change that was let go of because the namespace of its Incident goes away.
pub const NAMESPACE_GONE: &str = "NamespaceGone";

impl ChangeState {
    /// An intent whose effect is not known yet.
    pub fn is_open_intent(self) -> bool {
        matches!(self, Self::Intended | Self::Unclear | Self::Held)
    }

    /// The object carries our value.
    pub fn is_in_force(self) -> bool {
        matches!(self, Self::Applied | Self::Verified | Self::Reverting)
    }

    /// Something may still have to be put back.
    pub fn is_outstanding(self) -> bool {
        self.is_open_intent() || self.is_in_force()
    }
}

/// Whether a change is applied again after it was put back. What a person has undone never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Again {
    /// It is not.
    #[default]
    Never,
    /// It was put back in a wave; it may be if the emergency comes back.
    Possible,
    /// It went back because another target of its step failed: it may be when a person lets that start anew.
    AfterPause,
    /// The emergency came back: it is if the step wants the object.
    IfMatching,
    /// The withdrawal was taken back with it: it is.
    Always,
}

impl Again {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
    fn is_never(&self) -> bool {
        *self == Self::Never
    }
}

/// One change of one step to one object. One entry serves all its rounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Also the id of the loan in the undo record.
    pub id: ChangeId,
    /// The step.
    #[cfg_attr(feature = "schema", schemars(length(max = 40)))]
    pub step: String,
    /// The object.
    pub target: TargetId,
    /// Where the change stands.
    pub state: ChangeState,
    /// How often it was applied anew after it was put back; the first time is 1.
    #[serde(default)]
    pub round: u8,
    /// Sends that were refused or whose outcome stayed unknown, in this state.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u8,
    /// Intents that died because the object moved between read and write.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conflicts: u8,
    /// The highest value that the first intent allowed, for an action that multiplies: it binds all later ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<i64>,
    /// When the object joined the step; the step's timeout counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_at: Option<Timestamp>,
    /// When the newest intent was recorded, just before it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// Whether it is applied again after Firebreak has put it back.
    #[serde(default, skip_serializing_if = "Again::is_never")]
    pub again: Again,
    /// Not tried again before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// When it was known to be applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// When its step was first verified with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// Since when only traces of it are left on the object: field ownership and the fence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returned_at: Option<Timestamp>,
    /// The resourceVersion that the intended write carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ResourceVersion>,
    /// The fence that was set, or is about to be, so that no late request takes effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 128)))]
    pub fence: Option<String>,
    /// The pods of the object get the change one after the other: those that are stuck are deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_order: bool,
    /// Pods that are deleted, because they are not ready and would never get the change, or lose it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 8)))]
    pub pods: Vec<PodDeletion>,
    /// What changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(length(max = 64)))]
    pub fields: Vec<FieldChange>,
    /// Why it stands so, in one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 63)))]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 1024)))]
    pub message: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// One field of a change. Absent `before` or `after`: the field does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// Where in the object.
    pub path: FieldPath,
    /// The value that goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub before: Option<Value>,
    /// The value of the emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(extend("x-kubernetes-preserve-unknown-fields" = true)))]
    pub after: Option<Value>,
    /// The topmost map that the change makes; it goes when nothing else is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<FieldPath>,
    /// Who owned the field before, as `manager/operation`, several joined by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub owner: Option<String>,
    /// Whose value stands now, once that is somebody else's: the field is ceded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(length(max = 512)))]
    pub ceded_to: Option<String>,
}

impl Change {
    /// A change that nothing has been done about yet.
    pub fn planned(id: ChangeId, step: &str, target: TargetId, fields: Vec<FieldChange>) -> Self {
        Self {
            id,
            step: step.to_owned(),
            target,
            state: ChangeState::Planned,
            round: 0,
            tries: 0,
            conflicts: 0,
            ceiling: None,
            joined_at: None,
            sent_at: None,
            again: Again::Never,
            retry_at: None,
            applied_at: None,
            verified_at: None,
            returned_at: None,
            base: None,
            fence: None,
            in_order: false,
            pods: Vec::new(),
            fields,
            reason: None,
            message: None,
        }
    }

    /// The write that carries `base` is about to be sent. From Planned, Skipped
    /// or another open intent.
    pub fn intend(&mut self, base: ResourceVersion, now: Timestamp) {
        if !self.state.is_open_intent() {
            self.round = self.round.saturating_add(1);
            self.tries = 0;
            self.conflicts = 0;
            self.joined_at = Some(now);
            self.applied_at = None;
            self.verified_at = None;
            self.returned_at = None;
            self.fence = None;
            if self.again != Again::Always {
                self.again = Again::Never;
            }
        }
        self.base = Some(base);
        self.state = ChangeState::Intended;
        self.sent_at = Some(now);
        self.retry_at = None;
        self.explain(None);
    }

    /// What the first intent allows is the most that any later one may set.
    pub fn fix_ceiling(&mut self) {
        if self.ceiling.is_none() {
            self.ceiling = self.fields.iter().filter_map(|field| whole(field.after.as_ref()?)).max();
        }
    }

    /// The object carries our record.
    pub fn applied(&mut self, now: Timestamp) {
        self.state = ChangeState::Applied;
        self.again = Again::Never;
        self.applied_at = Some(now);
        self.tries = 0;
        self.retry_at = None;
        self.explain(None);
    }

    /// Every check of its step passed.
    pub fn verified(&mut self, now: Timestamp) {
        self.state = ChangeState::Verified;
        self.verified_at.get_or_insert(now);
    }

    /// The write that puts it back and carries `base` is about to be sent.
    pub fn begin_return(&mut self, base: ResourceVersion, now: Timestamp) {
        if self.state != ChangeState::Reverting {
            self.tries = 0;
            self.conflicts = 0;
        }
        self.state = ChangeState::Reverting;
        self.sending(base, now);
    }

    /// The record is off the object; what is left are traces.
    pub fn record_is_gone(&mut self, now: Timestamp) {
        if self.returned_at.is_none() {
            self.returned_at = Some(now);
            self.tries = 0;
            self.conflicts = 0;
            self.retry_at = None;
        }
    }

    /// A write that carries `base` and moves no state is about to be sent.
    pub fn sending(&mut self, base: ResourceVersion, now: Timestamp) {
        self.base = Some(base);
        self.sent_at = Some(now);
        self.retry_at = None;
        if self.state.is_outstanding() {
            self.explain(None); // else it says why it ended
        }
    }

    /// The loan has ended: Ceded if any field is somebody else's, else Reverted.
    pub fn returned(&mut self) {
        let ceded: Vec<String> = self
            .fields
            .iter()
            .filter_map(|field| {
                field.ceded_to.as_ref().map(|owner| format!("{} is {owner}'s now", field.path))
            })
            .collect();
        self.retry_at = None;
        self.fence = None;
        if ceded.is_empty() {
            self.state = ChangeState::Reverted;
            self.explain(None);
        } else {
            self.state = ChangeState::Ceded;
            self.explain(Some(("ValueOfAnother", ceded.join("; "))));
        }
    }

    /// The loan has become permanent: its record is off the object.
    pub fn kept(&mut self, reason: &str, why: &str) {
        self.fence = None;
        self.stand(ChangeState::Kept, reason, why);
    }

    /// The object is gone, and with it everything that was lent to it.
    pub fn object_gone(&mut self) {
        self.fence = None;
        self.stand(ChangeState::Ceded, "ObjectGone", "the object was deleted");
    }

    /// The change ends, or stands still, in `state` for this reason.
    pub fn stand(&mut self, state: ChangeState, reason: &str, message: impl Into<String>) {
        self.state = state;
        self.retry_at = None;
        self.explain(Some((reason, message.into())));
    }

    /// Says why it stands as it does, or that there is nothing to say.
    pub fn explain(&mut self, why: Option<(&str, String)>) {
        self.reason = why.as_ref().map(|(reason, _)| (*reason).to_owned());
        self.message = why.map(|(_, message)| cut(&message, 1024));
    }
}

/// The text, cut to at most `most` bytes at a character boundary.
pub fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
