//! The containers of an object, and where they may get flags that they do not have.

use firebreak_engine::facts::{Container, Part, Runs};
use firebreak_engine::path::{FieldPath, Segment};
use serde_json::Value;

use super::program::{Start, start};
use super::{elsewhere, flags};
use crate::workloads::profile::{Flag, Profile, ServerNames};

/// The containers that may use accelerators, in the order of the object. A name may occur more than once.
pub(super) fn containers(profile: &Profile, object: &Value) -> Vec<Container> {
    let Some(accelerators) = &profile.accelerators else { return Vec::new() };
    let inline = accelerators.inline.iter().filter_map(|inline| {
        let container = inline.path.node(object).filter(|container| container.is_object())?;
        Some(container_at(profile, inline.path.clone(), &inline.name, Part::Server, container))
    });
    let listed = |lists: &[FieldPath], part: Part| {
        lists.iter().flat_map(|list| in_list(profile, list, part, object)).collect::<Vec<_>>()
    };
    let beside = listed(&accelerators.beside, Part::Beside);
    inline.chain(listed(&accelerators.containers, Part::Server)).chain(beside).collect()
}

fn in_list(profile: &Profile, list: &FieldPath, part: Part, object: &Value) -> Vec<Container> {
    let containers = list.node(object).and_then(Value::as_array).into_iter().flatten();
    let named = containers.filter_map(|container| {
        let name = container.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())?;
        Some(container_at(profile, element(list, name), name, part, container))
    });
    named.collect()
}

fn element(list: &FieldPath, name: &str) -> FieldPath {
    list.with(Segment::Element { key: "name".to_owned(), value: name.to_owned() })
}

fn container_at(profile: &Profile, path: FieldPath, name: &str, part: Part, container: &Value) -> Container {
    let flag: Option<&Flag> = profile.batch_size.as_ref().and_then(|setting| setting.flag.as_ref());
    let lists = flags::lists(container);
    Container {
        name: name.to_owned(),
        part,
        path,
        new_flags: flags::new_flags(container),
        unread_variables: elsewhere::unread_variables(flag, container, &lists),
        unread_files: elsewhere::unread_files(flag, &lists),
        runs: runs(&profile.names.servers, container),
    }
}

/// Whether it runs a model server: a program that is one, or an image of one whose program is not replaced.
fn runs(servers: &ServerNames, container: &Value) -> Runs {
    let is_server = match start(&servers.programs, container) {
        Start::Program => true,
        Start::OfImage => flags::has_image(&servers.images, container),
        Start::InText | Start::Shell | Start::Other => false,
    };
    if is_server { Runs::ModelServer } else { Runs::Unknown }
}
