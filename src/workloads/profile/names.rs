//! Names by which fields and programs are recognised.

use serde::Deserialize;

/// What counts as an accelerator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AcceleratorNames {
    /// Names of resources in limits and requests.
    pub resources: Vec<Pattern>,
    /// Labels that only nodes with accelerators have.
    pub placement_keys: Vec<Pattern>,
    /// Runtime classes that only nodes with accelerators have.
    pub runtime_classes: Vec<Pattern>,
}

/// A name or, with a `*` at the end, all names with this prefix.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    start: String,
    open: bool,
}

impl Pattern {
    /// Whether any of the patterns matches the name.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.iter().any(|pattern| {
            if pattern.open { name.starts_with(&pattern.start) } else { name == pattern.start }
        })
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let open = text.ends_with('*');
        let start = text.strip_suffix('*').unwrap_or(&text);
        if start.is_empty() || start.contains('*') {
            return Err(format!("{text:?} is not a name with at most one * at its end"));
        }
        Ok(Self { start: start.to_owned(), open })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_the_end_only() {
        for text in ["", "*", "a*b", "*a", "a**"] {
            assert!(Pattern::try_from(text.to_owned()).is_err(), "{text}");
        }
        let patterns = [
            Pattern::try_from("nvidia.com/gpu".to_owned()).unwrap(),
            Pattern::try_from("nvidia.com/mig-*".to_owned()).unwrap(),
        ];
        assert!(Pattern::any(&patterns, "nvidia.com/gpu"));
        assert!(Pattern::any(&patterns, "nvidia.com/mig-1g.5gb"));
        assert!(!Pattern::any(&patterns, "nvidia.com/gpu.shared"));
    }
}
