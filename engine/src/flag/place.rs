//! A flag that was removed from a list of arguments, as the undo record keeps it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_flag;

/// A flag that is removed, with all that puts it back exactly.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removed {
    /// Its words as they were written.
    pub(super) words: Vec<Value>,
    /// The index of the first one.
    pub(super) at: usize,
    /// The words before and behind it; null where the list begins or ends.
    pub(super) between: [Value; 2],
}

impl Removed {
    /// It, if the value is one.
    pub(super) fn of(value: &Value) -> Option<Self> {
        value.get("words").and_then(|_| Self::deserialize(value).ok())
    }

    /// The value that the flag had.
    pub(super) fn value(&self) -> Option<Value> {
        match self.words.as_slice() {
            [_, value] => Some(value.clone()),
            [word] => {
                Some(word.as_str()?.split_once('=').map_or(Value::Bool(true), |(_, value)| value.into()))
            }
            _ => None,
        }
    }

    /// Puts the words back into the list.
    pub(super) fn put_back(self, list: &mut Vec<Value>) {
        let at = self.place(list);
        list.splice(at..at, self.words);
    }

    /// Where it stood. If someone has changed the words around it since, next to the one that is still there, unless it
    /// would then stand between a flag and its value; else the end.
    fn place(&self, list: &[Value]) -> usize {
        let [before, behind] = &self.between;
        let follows = |at: usize| at.checked_sub(1).map_or(&Value::Null, |at| &list[at]) == before;
        let is_old = |at: usize| follows(at) && list.get(at).unwrap_or(&Value::Null) == behind;
        let splits_nothing = |at: usize| list.get(at).is_none_or(is_flag);
        if self.at <= list.len() && is_old(self.at) {
            return self.at;
        }
        let only = |is_next_to: &dyn Fn(usize) -> bool| {
            let mut places = (0..=list.len()).filter(|at| is_next_to(*at) && splits_nothing(*at));
            places.next().filter(|_| places.next().is_none())
        };
        let precedes = |at: usize| list.get(at) == Some(behind);
        only(&follows).or_else(|| only(&precedes)).unwrap_or(list.len())
    }
}
