//! Paths that lead through every element of a list: `/spec/groups/[name=*]/template`.
//!
//! A profile is written for a kind, and the elements of a list are those of one object, so the paths are
//! written out for each object. An element that has no name of its own cannot be addressed.

use std::borrow::Cow;
use std::collections::BTreeSet;

use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::{Pin, Profile, Setting};

/// The name that stands for every element.
const ANY: &str = "*";

impl Profile {
    /// This profile with a path for each element of this object.
    ///
    /// # Errors
    /// For people: a list in the object has an element that cannot be addressed.
    pub fn spread(&self, object: &Value) -> Result<Cow<'_, Self>, String> {
        let mut spread = Cow::Borrowed(self);
        if !self.paths().into_iter().any(has_any) {
            return Ok(spread);
        }
        let profile = spread.to_mut();
        if let Some(accelerators) = &mut profile.accelerators {
            all(&mut accelerators.resources, object)?;
            all(&mut accelerators.containers, object)?;
            all(&mut accelerators.beside, object)?;
            all_pins(&mut accelerators.claims, object)?;
        }
        all(&mut profile.placement.node_selector, object)?;
        all(&mut profile.placement.required_node_affinity, object)?;
        all(&mut profile.placement.runtime_class_name, object)?;
        all_pins(&mut profile.placement.pins, object)?;
        all(&mut profile.scheduler, object)?;
        for setting in [&mut profile.batch_size, &mut profile.max_concurrency] {
            if let Some(Setting { flag: Some(flag), .. }) = setting {
                all(&mut flag.containers, object)?;
            }
        }
        Ok(spread)
    }

    /// The paths that may lead through every element of a list.
    fn paths(&self) -> Vec<&FieldPath> {
        let accelerators = self.accelerators.iter().flat_map(|accelerators| {
            let claims = accelerators.claims.iter().map(|claim| &claim.path);
            accelerators
                .resources
                .iter()
                .chain(&accelerators.containers)
                .chain(&accelerators.beside)
                .chain(claims)
        });
        let placement = &self.placement;
        let flags = [&self.batch_size, &self.max_concurrency].into_iter().flatten();
        accelerators
            .chain(&placement.node_selector)
            .chain(&placement.required_node_affinity)
            .chain(&placement.runtime_class_name)
            .chain(placement.pins.iter().map(|pin| &pin.path))
            .chain(&self.scheduler)
            .chain(flags.filter_map(|setting| setting.flag.as_ref()).flat_map(|flag| &flag.containers))
            .collect()
    }
}

/// Whether the path leads through every element of a list.
pub(super) fn has_any(path: &FieldPath) -> bool {
    path.segments().iter().any(is_any)
}

fn is_any(segment: &Segment) -> bool {
    matches!(segment, Segment::Element { value, .. } if value == ANY)
}

fn all(paths: &mut Vec<FieldPath>, object: &Value) -> Result<(), String> {
    let each: Vec<Vec<FieldPath>> =
        paths.iter().map(|path| each(path, object)).collect::<Result<_, String>>()?;
    *paths = each.into_iter().flatten().collect();
    Ok(())
}

fn all_pins(pins: &mut Vec<Pin>, object: &Value) -> Result<(), String> {
    let mut spread = Vec::new();
    for pin in pins.iter() {
        let paths = each(&pin.path, object)?;
        spread.extend(paths.into_iter().map(|path| Pin { path, because: pin.because.clone() }));
    }
    *pins = spread;
    Ok(())
}

/// The path for each element that it leads through.
fn each(path: &FieldPath, object: &Value) -> Result<Vec<FieldPath>, String> {
    let segments = path.segments();
    let found = segments.iter().enumerate().find_map(|(at, segment)| match segment {
        Segment::Element { key, value } if value == ANY => Some((at, key)),
        Segment::Element { .. } | Segment::Key(_) | Segment::Flag(_) => None,
    });
    let Some((at, key)) = found else { return Ok(vec![path.clone()]) };
    let Ok(list) = FieldPath::new(segments[..at].to_vec()) else { return Ok(Vec::new()) };
    let mut names = BTreeSet::new();
    let mut paths = Vec::new();
    for element in list.node(object).and_then(Value::as_array).into_iter().flatten() {
        let name = element.get(key).and_then(Value::as_str).filter(|name| !["", ANY].contains(name));
        let name = name.filter(|name| names.insert(*name));
        let name = name.ok_or_else(|| format!("{list} has an element without a unique {key}"))?;
        let element = Segment::Element { key: key.clone(), value: name.to_owned() };
        let way = segments[..at].iter().cloned().chain([element]).chain(segments[at + 1..].iter().cloned());
        // The path is as valid as the one that it was made of.
        let path = FieldPath::new(way.collect()).map_err(|error| error.to_string())?;
        paths.extend(each(&path, object)?);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn each_of(path: &str, object: &Value) -> Result<Vec<String>, String> {
        let paths = each(&path.parse().unwrap(), object)?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_path_is_written_out_for_each_element_on_its_way() {
        let object = json!({"spec": {"groups": [
            {"name": "a", "parts": [{"id": "1"}, {"id": "2"}]}, {"name": "b", "parts": [{"id": "3"}]}, {"name": "c"},
        ]}});
        let groups = each_of("/spec/groups/[name=*]/template", &object).unwrap();
        let name = |name: &str| format!("/spec/groups/[name={name}]/template");
        assert_eq!(groups, [name("a"), name("b"), name("c")]);
        let parts = each_of("/spec/groups/[name=*]/parts/[id=*]/x", &object).unwrap();
        let part = |name: &str, id: &str| format!("/spec/groups/[name={name}]/parts/[id={id}]/x");
        assert_eq!(parts, [part("a", "1"), part("a", "2"), part("b", "3")]);
        assert_eq!(each_of("/spec/plain", &object).unwrap(), ["/spec/plain"]);
        for other in [json!({}), json!({"spec": {"groups": "none"}}), json!({"spec": {"groups": []}})] {
            assert_eq!(each_of("/spec/groups/[name=*]/x", &other).unwrap(), Vec::<String>::new(), "{other}");
        }
    }

    #[test]
    fn an_element_without_a_name_of_its_own_cannot_be_addressed() {
        for groups in [
            json!([{"name": "a"}, {"name": "a"}]),
            json!([{"name": "a"}, {}]),
            json!([{"name": ""}]),
            json!([{"name": "*"}]),
            json!([{"name": 3}]),
            json!(["a"]),
        ] {
            let why = each_of("/spec/groups/[name=*]/x", &json!({"spec": {"groups": groups}})).unwrap_err();
            assert_eq!(why, "/spec/groups has an element without a unique name", "{groups}");
        }
    }
}
