//! Objects that a signal cannot read or judge, for people.

use std::collections::BTreeMap;

/// People need an example, and a signal may select thousands of objects.
const EXAMPLES: usize = 16;

/// What is wrong with objects of one scope. The example stays the same as long as its object has the problem, because
/// the text stands in the status of policies.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// By the key of the object, of at most [`EXAMPLES`].
    of: BTreeMap<u128, String>,
    /// Of the first object that could not even be identified.
    nameless: Option<String>,
}

impl Problems {
    /// What is wrong with an object now; none: nothing, or it is gone.
    pub(super) fn set(&mut self, key: u128, problem: Option<String>) {
        match problem {
            Some(problem) if self.of.len() < EXAMPLES || self.of.contains_key(&key) => {
                self.of.insert(key, problem);
            }
            Some(_) => {}
            None => drop(self.of.remove(&key)),
        }
    }

    /// What is wrong with an object that could not be identified.
    pub(super) fn set_nameless(&mut self, problem: String) {
        self.nameless.get_or_insert(problem);
    }

    fn example(&self) -> Option<&str> {
        self.of.values().next().or(self.nameless.as_ref()).map(String::as_str)
    }
}

/// How many objects have a problem of one kind, and an example if one is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Doubt {
    count: usize,
    example: Option<String>,
}

impl Doubt {
    /// So many objects, of which some have these problems.
    pub(super) fn of(count: usize, problems: &Problems) -> Self {
        Self { count, example: (count > 0).then(|| problems.example().map(str::to_owned)).flatten() }
    }

    /// With the objects of another scope.
    pub(super) fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, example: self.example.or(other.example) }
    }

    /// As a sentence with this verb; none without objects.
    pub(super) fn told(&self, verb: &str) -> Option<String> {
        let example = self.example.as_ref().map(|it| format!(", for example {it}")).unwrap_or_default();
        (self.count > 0).then(|| format!("{} object(s) cannot be {verb}{example}", self.count))
    }
}

/// The objects of a signal about which something is not known, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Those that could not be read, so that no field counts them.
    pub uncounted: Option<String>,
    /// Those that count as `unknown`, because their health cannot be told, or of which the usage is not known.
    pub unjudged: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_stays_until_its_object_is_well_and_more_than_a_few_are_not_kept() {
        let mut problems = Problems::default();
        for key in (0..1000).rev() {
            problems.set(key, Some(format!("problem of {key}")));
        }
        assert_eq!(problems.of.len(), EXAMPLES);
        let first = problems.example().unwrap().to_owned();
        problems.set(5, Some("later".to_owned()));
        assert_eq!(problems.example(), Some(&*first));
        for key in 0..1000 {
            problems.set(key, None);
        }
        assert_eq!(Doubt::of(3, &problems).told("judged").unwrap(), "3 object(s) cannot be judged");
        problems.set_nameless("no uid".to_owned());
        let doubt = Doubt::of(1, &problems).and(Doubt::of(2, &Problems::default()));
        assert_eq!(doubt.told("read").unwrap(), "3 object(s) cannot be read, for example no uid");
        assert_eq!(Doubt::of(0, &problems).told("read"), None);
    }
}
