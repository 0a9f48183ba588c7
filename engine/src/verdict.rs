//! Truth with a third value, because what was not observed is neither true nor false.
//!
//! A signal, a rule, a check and an object's health each have a [`Verdict`]. The operators are
//! Kleene's: Unknown stands for "either", so an operator yields a truth exactly when both
//! readings of every Unknown would yield the same one. What Unknown *means* (it neither opens
//! nor closes, neither passes nor fails) is decided where verdicts are used, not here.

use std::fmt;
use std::ops::Not;

use serde::{Deserialize, Serialize};

/// True, False, or Unknown.
///
/// Ordered by truth, `False < Unknown < True`, which makes "and" the smaller and "or" the
/// larger of two verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Verdict {
    /// It was observed to be false.
    False,
    /// It is not known: data is missing, too old, or could not be evaluated.
    Unknown,
    /// It was observed to be true.
    True,
}

impl Verdict {
    /// False if either is False, else Unknown if either is Unknown.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// True if either is True, else Unknown if either is Unknown.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }

    /// The truth; none if it is Unknown.
    #[must_use]
    pub fn known(self) -> Option<bool> {
        match self {
            Self::False => Some(false),
            Self::Unknown => None,
            Self::True => Some(true),
        }
    }
}

/// The opposite. The opposite of Unknown is Unknown.
impl Not for Verdict {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::False => Self::True,
            Self::Unknown => Self::Unknown,
            Self::True => Self::False,
        }
    }
}

impl From<bool> for Verdict {
    fn from(truth: bool) -> Self {
        if truth { Self::True } else { Self::False }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::False => "False",
            Self::Unknown => "Unknown",
            Self::True => "True",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, False, True, Unknown};

    const ALL: [Verdict; 3] = [False, Unknown, True];

    /// The truths that a verdict can stand for.
    fn readings(verdict: Verdict) -> Vec<bool> {
        match verdict {
            False => vec![false],
            Unknown => vec![false, true],
            True => vec![true],
        }
    }

    /// The verdict of several possible outcomes.
    fn agreed(outcomes: impl IntoIterator<Item = bool>) -> Verdict {
        let outcomes: Vec<bool> = outcomes.into_iter().collect();
        match outcomes.iter().all(|outcome| *outcome == outcomes[0]) {
            true => outcomes[0].into(),
            false => Unknown,
        }
    }

    #[test]
    fn an_operator_gives_a_truth_exactly_when_all_readings_of_unknown_agree() {
        for a in ALL {
            assert_eq!(!a, agreed(readings(a).into_iter().map(|a| !a)));
            for b in ALL {
                let pairs = || {
                    let a = readings(a).into_iter();
                    a.flat_map(|a| readings(b).into_iter().map(move |b| (a, b)))
                };
                assert_eq!(a.and(b), agreed(pairs().map(|(a, b)| a && b)), "{a} and {b}");
                assert_eq!(a.or(b), agreed(pairs().map(|(a, b)| a || b)), "{a} or {b}");
            }
        }
    }

    #[test]
    fn the_laws_of_a_distributive_lattice_and_de_morgan_hold() {
        for a in ALL {
            assert_eq!(!!a, a);
            for b in ALL {
                assert_eq!(a.and(b), b.and(a));
                assert_eq!(a.or(b), b.or(a));
                assert_eq!(!a.and(b), (!a).or(!b));
                assert_eq!(a.or(a.and(b)), a);
                for c in ALL {
                    assert_eq!(a.and(b).and(c), a.and(b.and(c)));
                    assert_eq!(a.or(b).or(c), a.or(b.or(c)));
                    assert_eq!(a.and(b.or(c)), a.and(b).or(a.and(c)));
                }
            }
        }
    }

    #[test]
    fn only_unknown_has_no_truth() {
        assert_eq!(ALL.map(Verdict::known), [Some(false), None, Some(true)]);
        assert_eq!([false, true].map(Verdict::from), [False, True]);
    }

    #[test]
    fn it_reads_the_same_in_json_and_in_text() {
        for verdict in ALL {
            let json = serde_json::to_value(verdict).unwrap();
            assert_eq!(json, serde_json::json!(verdict.to_string()));
            assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
        }
        assert!(serde_json::from_str::<Verdict>("true").is_err());
    }
}
