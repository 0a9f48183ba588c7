//! The containers of an object, and where they may get flags that they do not have.

use firebreak_engine::facts::Container;
use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::{elsewhere, flags};
use crate::workloads::profile::{Flag, Profile};

/// The containers that may use accelerators, in the order of the object. A name may occur more than once.
pub(super) fn containers(profile: &Profile, object: &Value) -> Vec<Container> {
    let Some(accelerators) = &profile.accelerators else { return Vec::new() };
    let flag = profile.batch_size.as_ref().and_then(|setting| setting.flag.as_ref());
    let inline = accelerators.inline.iter().filter_map(|inline| {
        let container = inline.path.node(object).filter(|container| container.is_object())?;
        Some(container_at(inline.path.clone(), &inline.name, container, flag))
    });
    let listed = accelerators.containers.iter().flat_map(|list| {
        let containers = list.node(object).and_then(Value::as_array).into_iter().flatten();
        containers.filter_map(move |container| {
            let name = container.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())?;
            Some(container_at(element(list, name), name, container, flag))
        })
    });
    inline.chain(listed).collect()
}

fn element(list: &FieldPath, name: &str) -> FieldPath {
    list.with(Segment::Element { key: "name".to_owned(), value: name.to_owned() })
}

fn container_at(path: FieldPath, name: &str, container: &Value, flag: Option<&Flag>) -> Container {
    let lists = flags::lists(container);
    Container {
        name: name.to_owned(),
        path,
        new_flags: flags::new_flags(container),
        unread_variables: elsewhere::unread_variables(flag, container, &lists),
        unread_files: elsewhere::unread_files(flag, &lists),
    }
}
