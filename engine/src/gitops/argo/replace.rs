//! Whether a sync replaces an object. With `Replace=true`, Argo CD sends the manifest of Git in place of the object: the
//! fields that it ignores are kept, but not the label and the annotation of a loan, and without them nothing is reverted.

use std::fmt;

use serde_json::Value;

use crate::undo::annotation;

/// The sync options of one object, separated by commas.
const OPTIONS: &str = "argocd.argoproj.io/sync-options";
const REPLACE: &str = "Replace=true";

/// What makes a sync replace an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaces {
    /// Its Application, for all of its objects.
    Application,
    /// The object itself, by an annotation.
    Object,
}

impl Replaces {
    /// What the object says.
    pub(super) fn of_object(object: &Value) -> Option<Self> {
        let mut options = annotation(object, OPTIONS)?.split(',').map(str::trim);
        options.any(|option| option == REPLACE).then_some(Self::Object)
    }

    /// What the options of an Application say.
    pub(super) fn of_options<'a>(mut options: impl Iterator<Item = &'a str>) -> Option<Self> {
        options.any(|option| option.trim() == REPLACE).then_some(Self::Application)
    }
}

/// What people do, and why.
impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => write!(f, "remove {REPLACE} from the syncOptions of the Application")?,
            Self::Object => write!(f, "remove {REPLACE} from the annotation {OPTIONS} of the object")?,
        }
        f.write_str(": with it, a sync drops the undo record, and what was changed stays so")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_option_is_found_among_others_and_only_if_it_is_on() {
        let of =
            |options: &str| Replaces::of_object(&json!({"metadata": {"annotations": {OPTIONS: options}}}));
        assert_eq!(of("Replace=true"), Some(Replaces::Object));
        assert_eq!(of("Prune=false, Replace=true"), Some(Replaces::Object));
        assert_eq!((of("Replace=false"), of("Force=true"), of("")), (None, None, None));
        assert_eq!(Replaces::of_object(&json!({"metadata": {}})), None);
    }
}
