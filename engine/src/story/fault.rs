//! What can happen to a write.

use serde::Deserialize;
use serde_json::{Value, json};

use super::server::merge;
use super::world::World;
use crate::effect::{Effect, Write};
use crate::facts::Outcome;
use crate::undo;

/// What happens to one or more writes. Exactly one of `answer`, `does` and `stores` is set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Fault {
    /// The server answers with this code and does nothing.
    #[serde(default)]
    pub answer: Option<u16>,
    /// Something else goes wrong.
    #[serde(default)]
    pub does: Option<Mishap>,
    /// A webhook merges this into what is stored.
    #[serde(default)]
    pub stores: Option<Value>,
    /// Only writes of this type: `apply`, `amend`, `return`, `fence`, `hand-back`, `delete-pod` or `restart`.
    #[serde(default)]
    pub to: Option<String>,
    /// Only writes to the object of this name.
    #[serde(default)]
    pub of: Option<String>,
    /// How many writes. Default 1.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// What else can go wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Mishap {
    /// It takes effect, and the answer is lost.
    LosesAnswer,
    /// It does not arrive, and nobody knows.
    LosesRequest,
    /// A webhook removes our annotations.
    StripsRecord,
}

impl Fault {
    pub(super) fn is_for(&self, effect: &Effect) -> bool {
        self.to.as_ref().is_none_or(|to| to == effect.act.name())
            && self.of.as_ref().is_none_or(|of| *of == effect.target.name)
    }

    pub(super) fn befall(&self, world: &mut World, effect: &Effect) -> Outcome {
        let lost = || Outcome::Unclear { why: "the connection broke".to_owned() };
        match (self.answer, self.does) {
            (Some(409), _) => return Outcome::Conflict,
            (Some(429), _) => return Outcome::Throttled { after: None },
            (Some(code @ 400..500), _) => {
                return Outcome::Refused { code, why: "as told".to_owned(), fields: Vec::new() };
            }
            (Some(_), _) | (None, Some(Mishap::LosesRequest)) => return lost(),
            (None, Some(Mishap::LosesAnswer)) => {
                world.perform(effect);
                return lost();
            }
            (None, Some(Mishap::StripsRecord) | None) => {}
        }
        let Write::Patch(patch) = &effect.write else { return world.perform(effect) };
        let mut body = patch.body().clone();
        let strips = json!({"metadata": {"annotations": {undo::UNDO: null}}});
        let added = if self.does.is_some() { Some(&strips) } else { self.stores.as_ref() };
        if let Some(added) = added {
            merge(&mut body, added);
        }
        world.patch(effect, &body)
    }
}
