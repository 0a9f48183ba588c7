//! Plays the stories in `tests/stories`.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use firebreak_engine::change::Delivery;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::{Fault, Rules};
use firebreak_engine::story::{Means, Story, play_with};
use serde_json::Value;

use crate::workload::translate;

fn read(path: &Path) -> Result<Value, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Steps with these names rehearse an operation with this delivery instead of their action.
fn rehearsing(spec: &PolicySpec) -> Result<Rules, Vec<Fault>> {
    let mut spec = spec.clone();
    for step in &mut spec.steps {
        step.rehearse = match step.name.as_str() {
            "at-most-once" => Some(Delivery::AtMostOnce),
            "keyed" => Some(Delivery::Keyed),
            _ => None,
        };
    }
    Rules::parse(&spec)
}

#[test]
fn every_story_goes_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut paths: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let stories: Vec<_> = paths.iter().filter(|path| !path.ends_with("outage.yaml")).collect();
    let wanted = std::env::var("FIREBREAK_STORY").unwrap_or_default();
    let mut wrong = Vec::new();
    for path in stories.iter().filter(|path| path.to_string_lossy().contains(&wanted)) {
        let file = path.file_name().unwrap().to_string_lossy();
        let story = read(path).and_then(|text| Story::new(text, |name| read(&dir.join(name))));
        let means = || Means {
            translate: translate(),
            runs: Rc::new(|_, _, _| {}),
            accept: Rc::new(rehearsing),
            hears: Rc::new(|_, _, _, _| {}),
        };
        let played = story.and_then(|story| play_with(&story, means()));
        if let Err(why) = played {
            wrong.push(format!("{file}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} stories:\n{}", wrong.len(), stories.len(), wrong.join("\n"));
    assert!(stories.len() >= 20, "where are the stories?");
}
