//! Whole numbers that an action sets: replicas, limits, batch size and concurrency.

use firebreak_engine::facts::{self, Obstacle, Role, Slot, Slots};
use firebreak_engine::flag;
use firebreak_engine::path::FieldPath;
use firebreak_engine::value::whole;
use firebreak_engine::verdict::Verdict;
use serde_json::Value;

use super::{blocked, flags, slot};
use crate::workloads::profile::{Absent, Case, Means, Profile, Setting};

/// The number of replicas.
pub(super) fn replicas(profile: &Profile, object: &Value, found: &mut Slots) {
    if let Some(replicas) = &profile.replicas {
        let problem = problem(&replicas.spec, object, replicas.at_least, replicas.at_most);
        found.fields.push(slot(Role::Replicas, replicas.spec.clone(), problem));
    }
}

/// The highest number of replicas that an autoscaler may set.
pub(super) fn autoscaler_limit(profile: &Profile, object: &Value, found: &mut Slots) {
    if let Some(limit) = &profile.autoscaler_limit {
        let role = Role::AutoscalerLimit;
        if let Some(why) = Case::first(&limit.unused, object) {
            found.unused.push(Obstacle { role: role.clone(), why });
        }
        let is_set = limit.path.read(object).as_deref().and_then(whole).is_some_and(|number| number > 0);
        let unknown = limit.absent.as_ref().filter(|_| !is_set);
        if let Some(why) = unknown.and_then(|absent| Case::first(&absent.unknown, object)) {
            found.obstacles.push(Obstacle { role, why });
            return;
        }
        let problem = problem(&limit.path, object, limit.at_least, limit.at_most);
        let absent = limit.absent.as_ref().and_then(|absent| number_of(absent, object));
        let absent = absent.map(facts::Absent::Is);
        found.fields.push(Slot { absent, ..slot(role.clone(), limit.path.clone(), problem) });
        let there = limit.also.iter().filter(|path| path.node(object).is_some_and(|limit| !limit.is_null()));
        found.fields.extend(there.map(|path| {
            slot(role.clone(), path.clone(), out_of_bounds(path, object, limit.at_least, limit.at_most))
        }));
    }
}

/// What the limit of this object is while the field is absent or 0.
fn number_of(absent: &Absent, object: &Value) -> Option<i64> {
    let counts = absent.when.as_ref().is_none_or(|when| when.evaluate(object, None).verdict == Verdict::True);
    let other = absent.or_higher.as_ref().and_then(|path| path.read(object)).as_deref().and_then(whole);
    counts.then(|| other.unwrap_or_default().max(absent.number))
}

/// A number that a model server uses.
pub(super) fn setting(role: Role, profile: &Profile, object: &Value, found: &mut Slots) {
    let setting = if role == Role::BatchSize { &profile.batch_size } else { &profile.max_concurrency };
    let Some(setting) = setting else { return };
    if let Some(flag) = &setting.flag {
        match flags::find(flag, &profile.names.servers, object) {
            Ok(paths) => found.fields.extend(paths.into_iter().map(|path| {
                let problem = out_of_bounds(&path, object, setting.at_least, setting.at_most);
                let absent = default(setting, flags::container_of(&path, object));
                Slot { absent, ..slot(role.clone(), path, problem) }
            })),
            Err(why) => found.obstacles.push(Obstacle { role, why }),
        }
        return;
    }
    let Some(path) = &setting.path else { return };
    let lacks = |needed: &FieldPath| needed.node(object).is_none_or(Value::is_null);
    match setting.only_with.as_ref().filter(|needed| lacks(&needed.path)) {
        Some(needed) => found.obstacles.push(Obstacle { role, why: needed.otherwise.clone() }),
        None => {
            let problem = problem(path, object, setting.at_least, setting.at_most);
            let absent = default(setting, None);
            found.fields.push(Slot { absent, ..slot(role, path.clone(), problem) });
        }
    }
}

/// What counts while the number is absent. `container` is the one that gets it as a flag.
fn default(setting: &Setting, container: Option<&Value>) -> Option<facts::Absent> {
    let absent = setting.absent.as_ref()?;
    let number = match absent.means {
        Means::Unlimited => return Some(facts::Absent::Unlimited),
        Means::Exactly | Means::AtLeast => absent.number?,
    };
    let lists = container.map(flags::lists).unwrap_or_default();
    let mut number = number;
    for list in lists {
        for other in &absent.not_above {
            if flag::is_mentioned(list, other) {
                // A number that is not clear is not known.
                number = number.min(flag::read(list, other).as_deref().and_then(whole)?);
            }
        }
    }
    Some(if absent.means == Means::Exactly {
        facts::Absent::Is(number)
    } else {
        facts::Absent::AtLeast(number)
    })
}

fn problem(path: &FieldPath, object: &Value, at_least: i64, at_most: i64) -> Option<String> {
    blocked(path, object).or_else(|| out_of_bounds(path, object, at_least, at_most))
}

/// Every action rejects a value that is not a whole number.
fn out_of_bounds(path: &FieldPath, object: &Value, at_least: i64, at_most: i64) -> Option<String> {
    let number = path.read(object).as_deref().and_then(whole)?;
    let fits = (at_least..=at_most).contains(&number);
    (!fits).then(|| format!("is {number}, not from {at_least} to {at_most}"))
}
