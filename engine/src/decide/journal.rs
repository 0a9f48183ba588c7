//! The bounds of the journal, so that no status is ever written that the schema rejects.

use super::Deciding;
use super::plans::Plans;
use crate::change::{Change, ChangeState, FieldChange};
use crate::reason::Reason;

/// The maximum number of changes in the journal of one Incident.
pub(super) const CHANGES: usize = 300;
/// The maximum total size in bytes.
const TOTAL: usize = 512 * 1024;
/// The maximum size of a planned entry in bytes.
const ENTRY: usize = 4096;
/// The growth of an entry while it is in progress: times, versions, health, fence.
const GROWTH: usize = 320;
/// How many bytes more than the maximum the journal may have for what a relapse applies again over longer values.
const AGAIN: usize = 64 * 1024;
/// The maximum number of fields of one change.
const FIELDS: usize = 64;
/// The maximum length of a path, and of a list of owners, in bytes.
const LONGEST: usize = 512;
/// The maximum number of started steps. Together with the steps of the policy they stay within the schema.
pub(super) const STEPS: usize = 32;

/// Why this change does not fit into one entry, in one word and for people.
pub(super) fn misfit(change: &Change) -> Option<(Reason, String)> {
    let too_long = |field: &&FieldChange| {
        field.path.to_string().len().max(field.owner.as_ref().map_or(0, String::len)) > LONGEST
    };
    if let Some(field) = change.fields().iter().find(too_long) {
        return Some((
            Reason::CannotRecord,
            format!("{}: path or owners are longer than {LONGEST} bytes", field.path),
        ));
    }
    let (size, fields) = (size(change), change.fields().len());
    if fields > FIELDS {
        return Some((
            Reason::EntryTooLarge,
            format!("{fields} fields would change; at most {FIELDS} are allowed"),
        ));
    }
    (size > ENTRY).then(|| {
        (
            Reason::EntryTooLarge,
            format!("its journal entry would be {size} bytes; at most {ENTRY} are allowed"),
        )
    })
}

fn size(change: &Change) -> usize {
    serde_json::to_string(change).map_or(usize::MAX, |text| text.len())
}

/// Whether nothing depends on the entry: it only says why nothing is done, which the next listing says again, or it
/// was an operation on behalf of another change.
fn is_spare(change: &Change) -> bool {
    match change.state {
        ChangeState::Planned | ChangeState::Skipped => change.fence().is_none() && !change.is_an_attempt(),
        ChangeState::Done => change.on_behalf_of().is_some(),
        ChangeState::Intended
        | ChangeState::Unclear
        | ChangeState::Applied
        | ChangeState::Verified
        | ChangeState::Reverting
        | ChangeState::Reverted
        | ChangeState::Ceded
        | ChangeState::Kept
        | ChangeState::Failed
        | ChangeState::Held => false,
    }
}

/// The entry of a change for which there is no room. How an earlier round of it ended stays, and so do its values.
fn refused(planned: Change, known: Option<&Change>, why: String) -> Change {
    let fields = known.map(|known| known.fields().to_vec()).unwrap_or_default();
    let mut refused = planned.with_fields(fields);
    match refused.state {
        ChangeState::Reverted => refused.explain(Some((Reason::JournalFull, why))),
        _ => refused.stand(ChangeState::Skipped, Reason::JournalFull, why),
    }
    refused
}

impl Deciding<'_> {
    /// Rejects the planned changes for which the journal has no room.
    pub(super) fn refuse_what_does_not_fit(&self, plans: &mut Plans) {
        let lasting = self.next.changes.iter().filter(|change| !is_spare(change));
        let (mut number, mut bytes) =
            lasting.fold((0, 0), |(number, bytes), change| (number + 1, bytes + size(change) + GROWTH));
        let full_size = bytes;
        for (change, target) in std::mem::take(&mut plans.changes) {
            let known = self.next.changes.iter().find(|known| known.id == change.id);
            // What is made again has a place already, also where entries that have grown make the journal overfull.
            let old = known.filter(|known| !is_spare(known)).map_or((0, 0), |old| (1, size(old) + GROWTH));
            let with_it = (number + 1 - old.0, bytes + size(&change) + GROWTH - old.1);
            let most = if old.0 > 0 { full_size.max(TOTAL) + AGAIN } else { TOTAL };
            if with_it.0 <= CHANGES.max(number) && with_it.1 <= most {
                (number, bytes) = with_it;
                plans.changes.push((change, target));
                continue;
            }
            let full = format!(
                "the journal is full ({number} changes, {} kB): give the step fewer targets",
                bytes / 1024
            );
            plans.refused.push(refused(change, known, full));
        }
    }

    /// Whether there is room for one more change.
    pub(super) fn has_room(&self) -> bool {
        let lasting = self.next.changes.iter().filter(|change| !is_spare(change));
        let (number, bytes) =
            lasting.fold((0, 0), |(number, bytes), change| (number + 1, bytes + size(change) + GROWTH));
        number < CHANGES && bytes + ENTRY <= TOTAL
    }

    /// Edits the entry at this position of the journal. Decisions inside the edit see the
    /// unedited entry.
    pub(super) fn edit(&mut self, index: usize, edit: impl FnOnce(&mut Self, &mut Change)) {
        let Some(mut change) = self.next.changes.get(index).cloned() else { return };
        edit(self, &mut change);
        // An entry that was added in the meantime may have moved it.
        if let Some(entry) = self.next.changes.iter_mut().find(|entry| entry.id == change.id) {
            *entry = change;
        }
    }

    /// Adds these changes. If there is no room, entries that only say why nothing is done are removed first.
    pub(super) fn journal(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match self.next.changes.iter_mut().find(|known| known.id == change.id) {
                Some(known) => *known = change,
                None => self.next.changes.push(change),
            }
        }
        let mut number = self.next.changes.len();
        let mut bytes: usize = self.next.changes.iter().map(|change| size(change) + GROWTH).sum();
        for index in (0..self.next.changes.len()).rev() {
            if number <= CHANGES && bytes <= TOTAL {
                break;
            }
            if is_spare(&self.next.changes[index]) {
                let dropped = self.next.changes.remove(index);
                (number, bytes) = (number - 1, bytes - size(&dropped) - GROWTH);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{Fixture, field, live};
    use super::*;
    use crate::change::Again;

    /// So many changes that a relapse is to make again over this value, and their plans over another one.
    fn again(number: usize, old: &Value, found: &Value) -> (Fixture, Plans) {
        let mut given = Fixture::pinned();
        let mut plans = Plans::default();
        for name in (0..number).map(|at| format!("m{at}")) {
            let path = "/spec/template/spec/schedulerName";
            given = given.change_with("one", &name, ChangeState::Reverted, |change| {
                *change = change.clone().with_fields(vec![field(path, old, &json!("one"))]);
                change.set_again(Again::Always);
            });
            let planned = given.facts.state.changes.last().unwrap().clone();
            plans.changes.push((planned.with_fields(vec![field(path, found, &json!("one"))]), live(&name)));
        }
        (given, plans)
    }

    #[test]
    fn what_is_made_again_has_a_place_already() {
        let (given, mut plans) = again(CHANGES, &json!("old"), &json!("new"));
        given.deciding().refuse_what_does_not_fit(&mut plans);
        assert_eq!((plans.changes.len(), plans.refused.len()), (CHANGES, 0));
    }

    #[test]
    fn entries_that_have_grown_keep_nothing_from_being_made_again() {
        let long = json!("x".repeat(3000));
        let (given, mut plans) = again(200, &long, &long);
        given.deciding().refuse_what_does_not_fit(&mut plans);
        assert_eq!((plans.changes.len(), plans.refused.len()), (200, 0));
    }

    #[test]
    fn an_entry_without_room_keeps_how_its_earlier_round_ended() {
        let (given, mut plans) = again(CHANGES, &json!("old"), &json!("x".repeat(3000)));
        given.deciding().refuse_what_does_not_fit(&mut plans);
        assert!((100..200).contains(&plans.changes.len()), "{} have room", plans.changes.len());
        let refused = plans.refused.last().unwrap();
        assert_eq!((refused.state, &refused.reason), (ChangeState::Reverted, &Some(Reason::JournalFull)));
        assert_eq!(refused.fields()[0].before, Some(json!("old")));
    }
}
