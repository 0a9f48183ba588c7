//! `firebreak test`: stories about policies, played with the operator's own
//! decisions and profiles on a server in memory. No cluster.
//!
//! The stories and the server are the engine's ([`firebreak_engine::story`]);
//! this module finds, reads and reports them.

mod find;
mod load;

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use firebreak_engine::facts::Target;
use firebreak_engine::policy::PolicySpec;
use firebreak_engine::rules::Step;
use firebreak_engine::story::world::{Runs, Translate};
use firebreak_engine::story::{Accept, Means, Story, play_with};
use serde_json::Value;

use super::screen::{Line, Screen, Style};
use super::{Answer, Error};
use crate::acceptance;
use crate::settings::TestArgs;
use crate::workloads::{self, Profiles};

/// Plays all stories. Yes if all of them pass.
pub fn run(screen: &Screen, args: &TestArgs, profiles: Profiles) -> Result<Answer, Error> {
    let profiles = Rc::new(profiles);
    let (mut played, mut wrong) = (0, 0);
    for found in find::stories(&args.paths)? {
        played += 1;
        let story = found.text.and_then(|text| load::story(&found.path, &text));
        let sentence = story.as_ref().map(|story| story.story.clone()).ok();
        let why = story.and_then(|story| play(&story, &profiles)).err();
        wrong += usize::from(why.is_some());
        screen.lines(&told(&found.path, sentence.as_deref(), why.as_deref()))?;
    }
    let stories = if played == 1 { "story" } else { "stories" };
    screen.lines(&[match wrong {
        0 => Line::styled(Style::Good, format!("{played} {stories} passed")),
        wrong => Line::styled(Style::Bad, format!("{wrong} of {played} {stories} failed")),
    }])?;
    Ok(if wrong == 0 { Answer::Yes } else { Answer::No })
}

/// The line of a story; below it, what is wrong.
fn told(path: &Path, sentence: Option<&str>, why: Option<&str>) -> Vec<Line> {
    let path = path.display();
    let line = match why {
        None => Line::styled(Style::Good, "PASS"),
        Some(_) => Line::styled(Style::Bad, "FAIL"),
    };
    match (sentence, why) {
        (Some(sentence), why) => {
            let why = why.map(|why| Line::of(format!("      {why}")));
            std::iter::once(line.and(format!("  {path}: {sentence}"))).chain(why).collect()
        }
        (None, why) => vec![line.and(format!("  {path}: {}", why.unwrap_or_default()))],
    }
}

/// Plays one story with the operator's own parsing of policies and objects.
fn play(story: &Story, profiles: &Rc<Profiles>) -> Result<(), String> {
    let accepting = Rc::clone(profiles);
    let accept: Accept = Rc::new(move |spec: &PolicySpec| acceptance::accept(spec, &accepting));
    let means = Means {
        translate: targets(Rc::clone(profiles)),
        runs: runs(Rc::clone(profiles)),
        accept,
        hears: Rc::new(|_, _, _, _| {}),
    };
    play_with(story, means).map_err(|why| {
        let sentence = format!("{}, ", story.story);
        why.strip_prefix(&sentence).map(str::to_owned).unwrap_or(why)
    })
}

/// What the profile of its kind finds in an object.
fn targets(profiles: Rc<Profiles>) -> Translate {
    Rc::new(move |object: &Arc<Value>, where_| {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let profile = profiles.find(text("apiVersion"), text("kind")).map(Arc::as_ref);
        workloads::target(profile, Arc::clone(object), where_, None, &BTreeSet::new())
            .unwrap_or_else(|why| unreachable!("the simulated server identifies every object: {why}"))
    })
}

/// The objects that run the pods of others speak for them.
fn runs(profiles: Rc<Profiles>) -> Runs {
    Rc::new(move |target: &mut Target, step: &Step, all: &[Arc<Value>]| {
        let is_there = |runner: &&Arc<Value>| {
            runner.pointer("/metadata/namespace").and_then(Value::as_str)
                == Some(target.id.namespace.as_str())
        };
        let runner = all.iter().filter(is_there).find(|runner| workloads::borrows(runner, &target.id));
        let text = |runner: &Value, key: &str| {
            runner.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let Some(runner) = runner.filter(|_| workloads::may_be_borrowed(step, target)) else { return };
        if let Some(profile) = profiles.find(&text(runner, "apiVersion"), &text(runner, "kind")) {
            workloads::speak_for(target, step, runner, profile);
        }
    })
}

#[cfg(test)]
mod tests;
