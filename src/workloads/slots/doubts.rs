//! What may keep a change from having the effect that it is for: a server that runs on accelerators only, a container that
//! gets devices without requesting them, a queue that admits pods.

use std::collections::BTreeSet;

use firebreak_engine::action::{VISIBLE_DEVICES, shows_no_device};
use firebreak_engine::facts::{About, Container, Doubt, Part};
use firebreak_engine::flag;
use firebreak_engine::value::is_zero;
use serde_json::Value;

use super::accelerators::RESOURCE_MAPS;
use super::placement::runtime_classes;
use super::{devices, flags};
use crate::workloads::profile::{Case, Pattern, Profile, ServerNames};

/// The label with the queue of Kueue.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";

/// The doubts about changes of the object.
pub(super) fn doubts(profile: &Profile, object: &Value, containers: &[Container]) -> Vec<Doubt> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for at in containers.iter().filter(|at| seen.insert(&at.path)) {
        let Some(container) = at.path.node(object) else { continue };
        if requests_accelerators(profile, container) {
            found.extend(of_container(profile, at, container, containers));
        }
    }
    found.extend(runtime_class(profile, object));
    found.extend(other_devices(profile, object));
    found.extend(queue(object));
    found.extend(new_pods(profile, object));
    found.extend(programs(profile, object));
    found
}

/// What the profile says about programs that may ask for accelerators where the object does not show it.
fn programs<'a>(profile: &'a Profile, object: &'a Value) -> impl Iterator<Item = Doubt> + use<'a> {
    let warnings =
        profile.accelerators.iter().flat_map(|accelerators| Case::all(&accelerators.warnings, object));
    warnings.map(|why| Doubt { about: About::Program, why })
}

/// The doubts about one of the containers. The step cannot name a container beside the server if the server has one of
/// the same name.
fn of_container(profile: &Profile, at: &Container, container: &Value, all: &[Container]) -> Vec<Doubt> {
    let of_server = |other: &Container| other.part == Part::Server && other.name == at.name;
    let is_hidden = at.part == Part::Beside && all.iter().any(of_server);
    let name = if is_hidden { at.path.to_string() } else { at.name.clone() };
    let servers = &profile.names.servers;
    let doubts = image(servers, &name, container).into_iter().chain(flags_of(servers, &name, container));
    let rename = |doubt: Doubt| match is_hidden {
        true => Doubt { why: format!("{}, after it has a name of its own", doubt.why), ..doubt },
        false => doubt,
    };
    doubts.chain(visible_devices(&name, container)).map(rename).collect()
}

/// What the profile says about how the object gets new pods.
fn new_pods<'a>(profile: &'a Profile, object: &'a Value) -> impl Iterator<Item = Doubt> + use<'a> {
    let cases = Case::all(&profile.warnings, object);
    cases.map(|why| Doubt { about: About::NewPods, why })
}

fn requests_accelerators(profile: &Profile, container: &Value) -> bool {
    let Some(resources) = container.get("resources") else { return false };
    let amounts = RESOURCE_MAPS.iter().filter_map(|map| resources.get(map)?.as_object()).flatten();
    amounts
        .into_iter()
        .any(|(name, amount)| !is_zero(Some(amount)) && Pattern::any(&profile.names.resources, name))
}

fn image(names: &ServerNames, name: &str, container: &Value) -> Option<Doubt> {
    let image = container.get("image").and_then(Value::as_str)?;
    let last = flags::base_name(image.split('@').next().unwrap_or_default());
    let is_word = |c: char| !c.is_ascii_alphanumeric();
    let has = |patterns: &[Pattern]| last.split(is_word).any(|word| Pattern::any(patterns, word));
    let known = flags::has_image(&names.images, container) || is_of(&names.repositories, image);
    (known || has(&names.image_words)).then_some(()).filter(|()| !has(&names.other_words))?;
    Some(Doubt {
        about: About::Image(name.to_owned()),
        why: format!(
            "the image of container {name} ({last}) looks as if it runs on accelerators only, so it may not start; set an \
             image in containers of the step"
        ),
    })
}

/// Whether the whole name of the image, or of the one that a mirror has, is one of these.
fn is_of(repositories: &[Pattern], image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    // A colon in front of a slash is the port of a registry.
    let tag = name.rfind(':').filter(|at| !name[*at..].contains('/'));
    let name = &name[..tag.unwrap_or(name.len())];
    let of_mirrors = name.match_indices('/').map(|(at, _)| &name[at + 1..]);
    of_mirrors.chain([name]).any(|name| Pattern::any(repositories, name))
}

fn flags_of(names: &ServerNames, name: &str, container: &Value) -> Vec<Doubt> {
    let lists = flags::lists(container);
    let texts: Vec<Vec<Value>> = lists.iter().flat_map(|list| list.iter()).filter_map(words_of).collect();
    let asks = |list: &[Value], flag: &str, values: &[Pattern]| {
        let value = flag::read(list, flag);
        value.is_some_and(|value| value.as_str().is_some_and(|value| Pattern::any(values, value)))
    };
    let doubt = |flag: &String, what_to_do: &str| Doubt {
        about: About::Flag { container: name.to_owned(), flag: flag.clone() },
        why: format!("{flag} of container {name} asks for an accelerator, so it may not start; {what_to_do}"),
    };
    let found = names.flags.iter().filter_map(|(flag, values)| {
        if lists.iter().any(|list| asks(list, flag, values)) {
            return Some(doubt(flag, "set or remove the flag in containers of the step"));
        }
        let in_text = texts.iter().any(|text| asks(text, flag, values));
        in_text.then(|| {
            doubt(flag, "it is inside a text such as a shell command, so write the arguments as a list first")
        })
    });
    found.collect()
}

/// The words of an element that is a text, such as the script of a shell.
fn words_of(element: &Value) -> Option<Vec<Value>> {
    let text = element.as_str().filter(|text| text.contains(char::is_whitespace))?;
    let marks = |c: char| matches!(c, '"' | '\'' | ';' | '&' | '|' | '(' | ')' | '\\');
    let words = text.split_whitespace().map(|word| word.trim_matches(marks)).filter(|word| !word.is_empty());
    Some(words.map(Value::from).collect())
}

/// The value of the variable is not told.
fn visible_devices(name: &str, container: &Value) -> Option<Doubt> {
    let mut entries = container.get("env").and_then(Value::as_array)?.iter();
    // The last entry of a name counts.
    let entry = entries.rfind(|entry| entry.get("name").and_then(Value::as_str) == Some(VISIBLE_DEVICES))?;
    let is_elsewhere = entry.get("valueFrom").is_some_and(|from| !from.is_null());
    let value = entry.get("value").and_then(Value::as_str).unwrap_or_default();
    (is_elsewhere || !shows_no_device(value)).then(|| Doubt {
        about: About::VisibleDevices(name.to_owned()),
        why: format!(
            "container {name} sets {VISIBLE_DEVICES}, so on a node where the runtime of NVIDIA is the default it sees \
             devices that it does not request; set the variable to void in containers of the step"
        ),
    })
}

/// Images for CUDA ask the runtime for all devices, whatever the container requests.
fn runtime_class(profile: &Profile, object: &Value) -> Option<Doubt> {
    let path = runtime_classes(profile, object).into_iter().next()?.path;
    Some(Doubt {
        about: About::RuntimeClass,
        why: format!(
            "{path} stays, because placement is Keep: it may give devices to containers that request none, and only nodes \
             with accelerators may have it"
        ),
    })
}

/// New pods wait for a node that has what stays.
fn other_devices(profile: &Profile, object: &Value) -> Option<Doubt> {
    let names = &profile.names;
    let stays = devices::that_stay(profile.accelerators.as_ref()?, &devices::zeroed(names), object);
    let told: Vec<String> = stays.iter().map(devices::Stays::told).collect();
    (!told.is_empty()).then(|| Doubt {
        about: About::Devices,
        why: format!(
            "new pods still request {}, so they wait for a node that has it; if only nodes with accelerators do, remove it by \
             hand",
            told.join(", ")
        ),
    })
}

fn queue(object: &Value) -> Option<Doubt> {
    let labels = ["/metadata/labels", "/spec/template/metadata/labels"];
    let queue = labels.iter().find_map(|labels| object.pointer(labels)?.get(QUEUE)?.as_str())?;
    Some(Doubt {
        about: About::Queue,
        why: format!(
            "Kueue admits its pods (label {QUEUE}: {queue}): new pods wait until their quota admits them, whichever \
             scheduler they name, and may be accounted as before; look at `kubectl get workloads.kueue.x-k8s.io`"
        ),
    })
}

#[cfg(test)]
#[path = "doubts_tests.rs"]
mod tests;
