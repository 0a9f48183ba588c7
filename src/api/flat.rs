//! Reads an object whose members belong to two types.
//!
//! `#[serde(flatten)]` writes such an object, but reads it by copying all of its values into a tree first. A status is
//! read several times for each write, so here each member goes to its type directly.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The members that do not belong to the other type.
pub(super) trait OwnMembers: Default {
    /// Reads the next value if the member is one of these; false leaves it to the other type.
    fn read<'de, A: MapAccess<'de>>(&mut self, member: &str, map: &mut A) -> Result<bool, A::Error>;
}

/// Reads both types.
pub(super) fn read<'de, D, Own, Other>(input: D) -> Result<(Own, Other), D::Error>
where
    D: Deserializer<'de>,
    Own: OwnMembers,
    Other: Deserialize<'de>,
{
    input.deserialize_map(Flat(PhantomData))
}

struct Flat<Own, Other>(PhantomData<(Own, Other)>);

impl<'de, Own: OwnMembers, Other: Deserialize<'de>> Visitor<'de> for Flat<Own, Other> {
    type Value = (Own, Other);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let mut own = Own::default();
        let others = Others { map, own: &mut own };
        let other = Other::deserialize(MapAccessDeserializer::new(others))?;
        Ok((own, other))
    }
}

/// The members of the other type. Those that come between them are read on the way.
struct Others<'a, A, Own> {
    map: A,
    own: &'a mut Own,
}

impl<'de, A: MapAccess<'de>, Own: OwnMembers> MapAccess<'de> for Others<'_, A, Own> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(member) = self.map.next_key::<String>()? {
            if !self.own.read(&member, &mut self.map)? {
                return seed.deserialize(member.into_deserializer()).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
